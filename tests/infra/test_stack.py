"""Stack `local` through the real CLI: what a preview names, and what a change touches."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import pytest
import requests

from catalog import CATALOG
from catalog.broker import Capabilities
from infra.topology import topology
from tests.brokers import eventually
from tests.infra.stack import CONSUMERS, SERVERS, USAGE, Stack
from tests.stacks import Step

pytestmark = [pytest.mark.servers, pytest.mark.slow]

OBJECTS = {entry.name for entry in topology(CATALOG, Capabilities.of("4.3")).objects}
SERVICES = [service.name for service in CATALOG.services]
CONTAINERS = {f"{'blobs' if store.kind == 'blob' else 'cosmos'}/{store.name}" for store in CATALOG.stores}
OF_A_USER = ("password", "user", "permissions", "topic-permissions")


def prometheus(stack: Stack, query: str) -> dict[str, float]:
    """{instance: value} of a query now."""
    answer = requests.get(f"{stack.endpoints['prometheus']}/api/v1/query", {"query": query}, timeout=10).json()
    return {sample["metric"]["instance"]: float(sample["value"][1]) for sample in answer["data"]["result"]}


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    """A stack of which nothing runs yet."""
    return Stack.made(tmp_path_factory.mktemp("stack"))


@pytest.fixture(scope="module")
def stack(fresh: Stack) -> Iterator[Stack]:
    """The same stack, running; each test leaves it equal to its settings."""
    with fresh.running():
        yield fresh


@contextmanager
def changed(stack: Stack, config: dict[str, str]) -> Iterator[None]:
    stack.set(config)
    yield
    stack.unset(*config)


def test_a_preview_names_everything_before_anything_exists(fresh: Stack) -> None:
    """Nothing has to run for it, and nothing is started by it."""
    named = fresh.preview()

    assert {"create"} == set(named.values())
    assert (OBJECTS | CONSUMERS | SERVERS | CONTAINERS | {"supervisord", "broker"}) <= set(named)
    assert not fresh.home.exists()


def in_use(port: int, program: str) -> str:
    whom = f"(`ss -ltnp 'sport = :{port}'` tells by whom)"
    return f"  port {port}, which {program} wants, is in use by another program {whom}"


def test_a_port_in_use_is_told_before_anything_starts(fresh: Stack) -> None:
    """The message names every such port, who wants it, and what to do."""
    amqp, logging = 5672 + fresh.offset, CATALOG.service("logging").port + fresh.offset
    with socket.create_server(("127.0.0.1", amqp)), socket.create_server(("127.0.0.1", logging)):
        assert [
            "The stack cannot start:",
            in_use(amqp, "rabbitmq"),
            in_use(logging, "logging-0"),
            "  stop it, or move this stack: pulumi config set local.port_offset 100",
        ] == fresh.problem()
    assert not fresh.home.exists()


def test_wrong_settings_are_told_without_a_traceback(fresh: Stack) -> None:
    with changed(fresh, {"rabbitmq.data_lake.prefetch": "0", "replicas.loging": "2"}):
        assert [
            "Pulumi.local.yaml has 2 problems:",
            "  replicas.loging is no setting: did you mean replicas.logging?",
            "  rabbitmq.data_lake.prefetch is 0: it is 1 to 300",
        ] == fresh.problem()


def test_up_brings_everything_and_a_second_one_changes_nothing(stack: Stack) -> None:
    """All answers, every event has a way into its queue, and Prometheus sees each process."""
    for urls in stack.endpoints["services"].values():
        for url in urls:
            assert 200 == requests.get(f"{url}/health/ready", timeout=5).status_code
    assert (CONSUMERS | SERVERS) == set(stack.pids())
    eventually(lambda: len(CONSUMERS) + 1 == sum(prometheus(stack, "up").values()), 30)

    assert [] == stack.up()


def test_only_its_owner_can_read_what_holds_passwords(stack: Stack) -> None:
    """Neither the state nor a preview has a password in plain text; files are for their owner only."""
    password = stack.endpoints["management"]["password"]
    with changed(stack, {"rabbitmq.data_lake.prefetch": "20"}):
        shown = stack.run("preview", "--stack", "local", "--diff")
    state = [file for file in (stack.folder / "state").rglob("*") if file.is_file()]
    holders = [file for file in stack.home.rglob("*") if file.is_file() and password.encode() in file.read_bytes()]

    assert "20" in shown
    assert password not in shown
    assert state
    assert [] == [file for file in state if password.encode() in file.read_bytes()]
    assert 0o700 == stack.home.stat().st_mode & 0o777
    assert stack.home / "endpoints.json" in holders
    assert {0o600} == {file.stat().st_mode & 0o777 for file in holders}


RENAMED = {
    "analytics-service-0": "update",
    "permissions/analytics-service-1": "update",
    "retired-bindings": "update",
    **{name.replace(USAGE.name, "usage"): "create" for name in OBJECTS if USAGE.name in name},
    **{name: "delete" for name in OBJECTS if USAGE.name in name},
}
CHANGES = {
    "prefetch": ({"rabbitmq.data_lake.prefetch": "20"}, {"logging-0": "update"}),
    "replicas": ({"replicas.logging": "2"}, {"logging-1": "create"}),
    "binding": (
        {"rabbitmq.data_lake.bindings": "risk.evaluated,ml.prediction.completed"},
        {"binding/logging_data_lake/ml.prediction.completed": "create", "retired-bindings": "update"},
    ),
    "queue name": ({"rabbitmq.usage.queue": "usage"}, RENAMED),
}


@pytest.mark.parametrize(("config", "expected"), CHANGES.values(), ids=CHANGES)
def test_a_preview_names_what_a_change_concerns_and_nothing_else(
    stack: Stack, config: dict[str, str], expected: dict[str, str]
) -> None:
    """Processes and broker objects change only where the setting says so."""
    with changed(stack, config):
        assert expected == stack.beside_files(stack.plan())


def test_a_change_touches_what_it_concerns_while_the_rest_goes_on(stack: Stack) -> None:
    """A second replica, another limit, a renamed queue: the old one goes if it is empty and stays if it is not."""
    broker, before = stack.broker, stack.pids()
    stack.leave_letter(b"letter")

    config = {"replicas.logging": "2", "rabbitmq.usage.queue": "usage", "rabbitmq.data_lake.drain_within": "21m"}
    with changed(stack, config):
        assert RENAMED | {"logging-1": "create"} == stack.beside_files(stack.up())
        after = stack.pids()

        assert f"queue {USAGE.dead} is left in place: it holds 1 messages and has 0 consumers" in stack.said[-1]
        assert 1 == broker.ready(USAGE.dead)
        assert None is broker.api.get(f"queues/%2F/{USAGE.name}")
        assert 1 == broker.consumers("usage")
        assert {"logging-1"} == set(after) - set(before)
        assert {"analytics-service-0"} == {name for name in before if before[name] != after[name]}
        assert " > 1260" in str(requests.get(f"{stack.endpoints['prometheus']}/api/v1/rules", timeout=10).json())
        eventually(lambda: 2 == sum(prometheus(stack, 'up{job="logging"}').values()), 30)
    stack.up()

    assert set(before) == set(stack.pids())
    assert [b"letter"] == [body for _, body in broker.take(USAGE.dead)]


def order(done: Iterable[Step]) -> list[str]:
    """One step after the other: "update logging-0"."""
    return [f"{step.doing} {step.name}" for step in done]


def test_new_credentials_come_before_their_users_change_and_old_ones_go_after(stack: Stack) -> None:
    """Both users may log in while processes change, and only the new one afterwards; nothing else is touched."""
    stack.set({"credentials.generation": "2"})

    finished = stack.up()

    done = stack.beside_files(finished)

    new = {service: {f"{kind}/{service}-2" for kind in OF_A_USER} for service in SERVICES}
    old = {service: {f"{kind}/{service}-1" for kind in OF_A_USER} for service in SERVICES}
    assert dict.fromkeys(CONSUMERS, "update") == {name: doing for name, doing in done.items() if doing == "update"}
    assert set().union(*new.values()) == {name for name, doing in done.items() if doing == "create"}
    assert set().union(*old.values()) == {name for name, doing in done.items() if doing == "delete"}
    steps = order(finished)
    for service in SERVICES:
        created = [steps.index(f"create {name}") for name in new[service]]
        deleted = [steps.index(f"delete {name}") for name in old[service]]
        assert max(created) < steps.index(f"update {service}-0") < min(deleted)
    users = {row["name"] for row in stack.broker.api.get("users")}
    assert {"admin", *(f"{service}-2" for service in SERVICES)} == users
    for queue in CATALOG.queues:
        assert 1 == stack.broker.consumers(queue.name)


def test_a_key_that_is_taken_away_goes_before_its_service_changes(stack: Stack) -> None:
    """The next version of a service may not know it any more; another prefetch is for its consumers only."""
    taken = "binding/analytics_service/ml.prediction.completed"
    stack.set({"rabbitmq.bindings": "embedding.generated,llm.inference.completed", "rabbitmq.usage.prefetch": "20"})

    finished = stack.up()

    done = stack.beside_files(finished)

    assert {taken: "delete", "retired-bindings": "update", "analytics-service-0": "update"} == done
    steps = order(finished)
    assert steps.index("update retired-bindings") < steps.index("update analytics-service-0")
    bound = stack.broker.api.get("bindings/%2F/e/coder_events/q/analytics_service")
    assert ["embedding.generated", "llm.inference.completed"] == sorted(row["routing_key"] for row in bound)
