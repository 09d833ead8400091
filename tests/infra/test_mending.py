"""Stack `local` through the real CLI: what hands and crashes did to it is seen and mended, and nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from catalog import CATALOG
from infra.supervision import ask, wait_for_end
from tests.brokers import eventually
from tests.infra.stack import CONSUMERS, SERVERS, USAGE, Stack, kill
from tests.oncall.sites import oncall
from tools.servers import answers

pytestmark = [pytest.mark.servers, pytest.mark.slow]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A running stack; each test leaves it equal to its settings."""
    with Stack.made(tmp_path_factory.mktemp("stack")).running() as running:
        yield running


def test_what_hands_change_is_named_by_a_preview_and_by_oncall_drift_and_mended(stack: Stack) -> None:
    """What was changed at the broker and of the processes, each by its name."""
    api, file, reader = stack.broker.api, stack.home / "endpoints.json", f"{USAGE.service}-1"
    quiet = oncall(file, "drift")
    assert (0, True) == (quiet.code, quiet.out.startswith("No drift")), quiet
    binding, path = "bindings/%2F/e/coder_events/q/logging_data_lake/risk.evaluated", "policies/%2F/logging_data_lake"
    extra = f"bindings/%2F/e/{CATALOG.exchange.name}/q/{USAGE.name}/opportunity.won"
    policy, rights = api.get(path), api.get(f"permissions/%2F/{reader}")
    api.delete(binding)
    api.delete(f"queues/%2F/{USAGE.dead}")
    api.post(extra.rpartition("/")[0], {"routing_key": "opportunity.won"})
    api.put(path, {**policy, "definition": {"delivery-limit": 3}})
    api.put(f"permissions/%2F/{reader}", {**rights, "read": ".*"})
    api.put("users/logging-1", {"password": "guessed", "tags": []})
    ask(stack.home, "stopProcess", "logging-0")

    drifted = oncall(file, "drift", "--json")

    assert 1 == drifted.code
    assert {
        ("binding", "logging_data_lake/risk.evaluated", "missing"),
        ("queue", USAGE.dead, "missing"),
        ("binding", f"{USAGE.dead}/{USAGE.name}", "missing"),
        ("binding", f"{USAGE.name}/opportunity.won", "extra"),
        ("policy", "logging_data_lake", "different"),
        ("permissions", reader, "wider"),
    } == {(row["kind"], row["name"], row["fault"]) for row in drifted.data["drift"]}
    assert {
        "binding/logging_data_lake/risk.evaluated": "create",
        f"queue/{USAGE.dead}": "create",
        f"binding/{USAGE.dead}/{USAGE.name}": "create",
        "policy/logging_data_lake": "update",
        f"permissions/{reader}": "update",
        "user/logging-1": "update",
        "logging-0": "create",
    } == stack.preview()

    api.delete(extra)
    stack.up()

    assert 0 == oncall(file, "drift").code
    assert policy == api.get(path)
    assert answers(f"{stack.endpoints['services']['logging'][0]}/health/ready")


def test_a_policy_that_hides_ours_is_named_and_stops_a_preview(stack: Stack) -> None:
    """Of two policies that match, the broker takes the one with the higher priority."""
    api, file = stack.broker.api, stack.home / "endpoints.json"
    hiding = {"pattern": f"^{USAGE.name}$", "priority": 50, "apply-to": "all", "definition": {"max-length": 9}}
    api.put("policies/%2F/platform", hiding)

    rows = oncall(file, "drift", "--json").data["drift"]
    said = stack.run("preview", "--stack", "local", fails=True)

    api.delete("policies/%2F/platform")
    assert ("policy", USAGE.name, "hidden") in {(row["kind"], row["name"], row["fault"]) for row in rows}
    assert f"policy platform (pattern ^{USAGE.name}$, priority 50) hides ours of queue {USAGE.name}" in said


def test_a_consumer_that_is_killed_comes_back_by_itself(stack: Stack) -> None:
    """The supervisor mends a crash at once, so that a refresh finds nothing to do."""
    killed = stack.pids()["logging-0"]
    kill(killed)

    eventually(lambda: stack.pids()["logging-0"] not in (0, killed), 10)
    eventually(lambda: answers(f"{stack.endpoints['services']['logging'][0]}/health/ready"), 20)
    assert {} == stack.preview()


def test_a_machine_that_was_switched_off_is_mended(stack: Stack) -> None:
    """Everything runs again, nothing twice, no letter is gone; a key that was taken back meanwhile is unbound."""
    broker, config = stack.broker, {"rabbitmq.data_lake.bindings": "risk.evaluated,ml.prediction.completed"}
    stack.set(config)
    assert "binding/logging_data_lake/ml.prediction.completed" in {step.name for step in stack.up()}
    stack.leave_letter(b"letter")
    pids = stack.all_pids()
    kill(*pids)
    stack.unset(*config)

    assert CONSUMERS | SERVERS | {"supervisord"} <= {step.name for step in stack.up()}

    assert (CONSUMERS | SERVERS) == set(stack.pids())
    assert set() == set(pids) & set(stack.all_pids())
    bound = broker.api.get("bindings/%2F/e/coder_events/q/logging_data_lake")
    assert ["risk.evaluated"] == [binding["routing_key"] for binding in bound]
    assert [b"letter"] == [body for _, body in broker.take(USAGE.dead)]
    assert {} == stack.preview()


def test_a_supervisor_that_was_killed_is_mended(stack: Stack) -> None:
    """Those it has left behind end, so that nothing runs twice, and no letter is gone."""
    stack.leave_letter(b"letter")
    supervisor, *left = stack.all_pids()
    kill(supervisor)

    assert CONSUMERS | SERVERS | {"supervisord"} <= {step.name for step in stack.up()}

    assert (CONSUMERS | SERVERS) == set(stack.pids())
    assert set() == {supervisor, *left} & set(stack.all_pids())
    assert [b"letter"] == [body for _, body in stack.broker.take(USAGE.dead)]


def test_destroy_ends_every_process_and_leaves_the_data(stack: Stack) -> None:
    """A letter written before is there after the next `up`, with new passwords and all."""
    stack.leave_letter(b"kept")
    pids, password = stack.all_pids(), stack.endpoints["management"]["password"]

    said = stack.destroy()

    assert f"queue {USAGE.dead} is left in place: it holds 1 messages and has 0 consumers" in said
    assert [] == wait_for_end(pids, 1)
    assert [] == [file for file in stack.home.rglob("*") if file.is_file() and password.encode() in file.read_bytes()]

    stack.up()

    assert password != stack.endpoints["management"]["password"]
    assert [b"kept"] == [body for _, body in stack.broker.take(USAGE.dead)]
