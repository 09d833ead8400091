"""The first look, against real servers: what is told, what needs a person, and what is told without Prometheus."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.brokers import eventually
from tests.samples import body_of
from tools import servers

pytestmark = [pytest.mark.servers, pytest.mark.broker]

OnCall = Callable[..., Any]


def test_queues_show_depth_rates_consumers_and_dead_letters(oncall: OnCall, stack: Any) -> None:
    """Depths come from the broker, rates from Prometheus, and each fault is one sentence with the next command."""
    lake = stack.catalog.queue_of("lake")
    stack.broker.publish(lake, [body_of("risk.evaluated", id=str(n)) for n in range(3)])
    stack.bury(lake, body_of("risk.evaluated", id="a"), "no_tenant")

    def settled() -> Any:
        found = oncall("status", "--json")
        row = next(row for row in found.data["queues"] if row["name"] == lake.name)
        return (found, row) if (row["ready"], row["dead"]) == (3, 1) else None

    answer, row = eventually(settled, 20)

    assert (0, 0, 1234) == (row["in_hand"], row["consumers"], row["oldest"])
    assert pytest.approx([40, 8], rel=0.3) == [row["arrivals"], row["settled"]]
    assert 1 == answer.code
    assert f"1 dead letter(s) of {lake.name} wait: `oncall dead list {lake.name}`" in answer.data["needs"]
    assert f"nobody consumes {lake.name}: `oncall explain QueueWithoutConsumer {lake.name}`" in answer.data["needs"]


def test_a_paused_queue_is_told_as_such(oncall: OnCall, stack: Any) -> None:
    """How many processes pause it, and what ends that; not that nobody consumes it, which would mislead."""
    audit = stack.catalog.queue_of("audit")

    data = oncall("status", "--json").data

    assert [2] == [row["paused"] for row in data["queues"] if row["name"] == audit.name]
    why = "its sink is down, or somebody said so; `oncall resume logging` ends the latter"
    assert [f"2 process(es) pause {audit.name}: {why}"] == [
        need for need in data["needs"] if audit.name in need and "fires" not in need and "replicas" not in need
    ]


def test_a_consumer_is_seen(oncall: OnCall, stack: Any) -> None:
    """Within the 5 s in which the broker gathers its statistics."""
    lake = stack.catalog.queue_of("lake")
    channel = stack.broker.channel()
    channel.basic_consume(lake.name, lambda *_: None)

    def seen() -> bool:
        rows = oncall("status", "--json").data["queues"]
        return [1] == [row["consumers"] for row in rows if row["name"] == lake.name]

    try:
        eventually(seen)
    finally:
        channel.connection.close()


def test_services_show_replicas_ready_wanted_and_required(oncall: OnCall, stack: Any) -> None:
    """A replica that is not ready is told in its own words."""
    queues = [queue.name for queue in stack.catalog.queues_of("logging")]

    answer = eventually(lambda: (found := oncall("status", "--json")).data["services"][1]["required"] and found, 20)

    rows = {row["name"]: (row["up"], row["wanted"], row["required"]) for row in answer.data["services"]}
    assert (0, 1, stack.catalog.service("logging").most_replicas) == rows["logging"]
    assert (1, 1) == rows["analytics-service"][:2]
    reasons = "; ".join(f"{name}: not connected yet" for name in queues)
    assert f"logging has 0 of 1 replicas ready ({reasons})" in answer.data["needs"]


def test_alerts_that_fire_are_told_and_silenced_ones_need_nobody(oncall: OnCall, stack: Any) -> None:
    """The failed run fires; once somebody silences it, it is still shown but needs nobody."""
    job = stack.catalog.jobs[0].name
    need = f"JobFailed fires: `oncall explain JobFailed {job}`"
    eventually(lambda: need in oncall("status", "--json").data["needs"], 30)

    with silenced(stack, "JobFailed"):

        def quiet() -> Any:
            data = oncall("status", "--json").data
            shown = {alert["name"]: alert["state"] for alert in data["alerts"]}
            return shown.get("JobFailed") == "silenced" and need not in data["needs"]

        eventually(quiet, 30)


@contextmanager
def silenced(stack: Any, alert: str) -> Iterator[None]:
    """A silence in Alertmanager, taken back at the end."""
    url = json.loads(stack.file.read_text())["alertmanager"]
    silence = {
        "matchers": [{"name": "alertname", "value": alert, "isRegex": False, "isEqual": True}],
        "startsAt": "2020-01-01T00:00:00Z",
        "endsAt": "2099-01-01T00:00:00Z",
        "createdBy": "test",
        "comment": "test",
    }
    made = requests.post(f"{url}/api/v2/silences", json=silence, timeout=5).json()["silenceID"]
    yield
    requests.delete(f"{url}/api/v2/silence/{made}", timeout=5)


@pytest.fixture
def nowhere() -> str:
    """An address at which nothing listens."""
    return f"http://127.0.0.1:{servers.free_ports(1)[0]}"


def test_without_prometheus_the_rest_is_shown(oncall: OnCall, elsewhere: Callable[..., Path], nowhere: str) -> None:
    """Depths, consumers, replicas and alerts do not need Prometheus; that it is silent needs a person."""
    answer = oncall("status", "--json", endpoints=elsewhere(prometheus=nowhere))

    assert 1 == answer.code
    assert [
        f"Prometheus at {nowhere} does not answer (connection refused): is it running? `make up` starts what is down"
    ] == answer.data["troubles"]
    assert {(True, None)} == {(row["ready"] is not None, row["arrivals"]) for row in answer.data["queues"]}
    assert 3 == len(answer.data["services"])


def test_without_alertmanager_prometheus_tells_what_fires(
    oncall: OnCall, elsewhere: Callable[..., Path], nowhere: str
) -> None:
    """Nobody is paged then, so it is told twice: what fires, and that Alertmanager is silent."""
    file = elsewhere(alertmanager=nowhere)

    answer = eventually(lambda: (found := oncall("status", "--json", endpoints=file)).data["alerts"] and found, 30)

    assert "JobFailed" in {alert["name"] for alert in answer.data["alerts"]}
    assert [f"Alertmanager at {nowhere} does not answer"] == [
        trouble.partition(" (")[0] for trouble in answer.data["troubles"]
    ]


def test_without_the_ledger_the_rest_is_shown(oncall: OnCall, elsewhere: Callable[..., Path], nowhere: str) -> None:
    """The last runs are left out, and the message names the ledger and its address."""
    account = {"endpoint": nowhere.replace("http", "https"), "key": "bm9uZQ==", "database": "castiel"}

    answer = oncall("status", "--json", endpoints=elsewhere(cosmos=account))

    assert (1, []) == (answer.code, answer.data["jobs"])
    assert [True] == [
        trouble.startswith(f"ledger castiel/batch_job_runs at {account['endpoint']} does not answer")
        for trouble in answer.data["troubles"]
    ]


def test_a_queue_that_is_missing_is_named(oncall: OnCall, elsewhere: Callable[..., Path]) -> None:
    """A queue of the catalog that the broker does not have is a fault, not a row of zeros."""
    file = elsewhere(overrides={"rabbitmq.usage.queue": "nobody_made_this"})

    answer = oncall("status", "--json", endpoints=file)

    assert any(need.startswith("queue nobody_made_this does not exist on broker") for need in answer.data["needs"])


def test_the_page_is_plain_text_without_a_terminal(oncall: OnCall, stack: Any) -> None:
    """No colour codes in a pipe, and no name is cut off."""
    answer = oncall("status")

    assert "\x1b" not in answer.out
    for queue in stack.catalog.queues:
        assert queue.name in answer.out
    assert "Needs a person" in answer.out
