"""Stack `local` through the real CLI: what a preview names, what a change touches, what drift is seen and mended."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import pika
import pytest
import requests

from catalog import CATALOG
from catalog.broker import Capabilities
from infra.broker_api import Api
from infra.supervision import ask, wait_for_end
from infra.topology import topology
from tests.brokers import LiveBroker, eventually
from tests.infra.stack import Stack, free_offset, kill
from tests.oncall.sites import oncall
from tests.stacks import Step
from tools.servers import answers

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(300)]

OBJECTS = {entry.name for entry in topology(CATALOG, Capabilities.of("4.3")).objects}
CONSUMERS = {f"{service.name}-{index}" for service in CATALOG.services for index in range(service.replicas)}
SERVICES = [service.name for service in CATALOG.services]
SERVERS = {"epmd", "rabbitmq", "cosmos", "azurite", "prometheus", "alertmanager"}
CONTAINERS = {f"{'blobs' if store.kind == 'blob' else 'cosmos'}/{store.name}" for store in CATALOG.stores}
OF_A_USER = ("password", "user", "permissions", "topic-permissions")
USAGE = CATALOG.queue_of("usage")


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    """A stack of which nothing runs yet."""
    folder = tmp_path_factory.mktemp("stack")
    return Stack.made(folder, **{"local.port_offset": str(free_offset())})


@pytest.fixture(scope="module")
def stack(fresh: Stack) -> Iterator[Stack]:
    """The same stack, running; each test leaves it equal to its settings."""
    try:
        fresh.up()
        yield fresh
    finally:
        kill(*fresh.all_pids())


def broker_of(stack: Stack) -> LiveBroker:
    found = stack.endpoints
    management = found["management"]
    return LiveBroker(
        "4.3", found["amqp"], Api(management["url"], found["amqp"], management["user"], management["password"])
    )


def prometheus(stack: Stack, query: str) -> dict[str, float]:
    """{instance: value} of a query now."""
    answer = requests.get(f"{stack.endpoints['prometheus']}/api/v1/query", {"query": query}, timeout=10).json()
    return {sample["metric"]["instance"]: float(sample["value"][1]) for sample in answer["data"]["result"]}


@contextmanager
def changed(stack: Stack, config: dict[str, str]) -> Iterator[None]:
    stack.set(config)
    yield
    stack.unset(*config)


def leave_letter(broker: LiveBroker, body: bytes) -> None:
    """Put a dead letter where nobody consumes, durably."""
    channel = broker.channel()
    channel.basic_publish("", USAGE.dead, body, pika.BasicProperties(delivery_mode=2), mandatory=True)
    channel.connection.close()


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


def beside_files(stack: Stack, done: Iterable[Step]) -> dict[str, str]:
    """What is done to processes and at the broker; files that show settings follow every change."""
    found = {step.name: step.doing for step in done}
    assert "endpoints.json" in found
    return {name: doing for name, doing in found.items() if not (stack.home / name).is_file()}


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
        assert expected == beside_files(stack, stack.plan())


def test_a_change_touches_what_it_concerns_while_the_rest_goes_on(stack: Stack) -> None:
    """A second replica, another limit, a renamed queue: the old one goes if it is empty and stays if it is not."""
    broker, before = broker_of(stack), stack.pids()
    leave_letter(broker, b"letter")

    config = {"replicas.logging": "2", "rabbitmq.usage.queue": "usage", "rabbitmq.data_lake.drain_within": "21m"}
    with changed(stack, config):
        assert RENAMED | {"logging-1": "create"} == beside_files(stack, stack.up())
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

    done = beside_files(stack, finished)

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
    users = {row["name"] for row in broker_of(stack).api.get("users")}
    assert {"admin", *(f"{service}-2" for service in SERVICES)} == users
    for queue in CATALOG.queues:
        assert 1 == broker_of(stack).consumers(queue.name)


def test_a_key_that_is_taken_away_goes_before_its_service_changes(stack: Stack) -> None:
    """The next version of a service may not know it any more; another prefetch is for its consumers only."""
    taken = "binding/analytics_service/ml.prediction.completed"
    stack.set({"rabbitmq.bindings": "embedding.generated,llm.inference.completed", "rabbitmq.usage.prefetch": "20"})

    finished = stack.up()

    done = beside_files(stack, finished)

    assert {taken: "delete", "retired-bindings": "update", "analytics-service-0": "update"} == done
    steps = order(finished)
    assert steps.index("update retired-bindings") < steps.index("update analytics-service-0")
    bound = broker_of(stack).api.get("bindings/%2F/e/coder_events/q/analytics_service")
    assert ["embedding.generated", "llm.inference.completed"] == sorted(row["routing_key"] for row in bound)


def test_what_hands_change_is_named_by_a_preview_and_by_oncall_drift_and_mended(stack: Stack) -> None:
    """What was changed at the broker and of the processes, each by its name."""
    api, file, reader = broker_of(stack).api, stack.home / "endpoints.json", f"{USAGE.service}-2"
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
    api.put("users/logging-2", {"password": "guessed", "tags": []})
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
        "user/logging-2": "update",
        "logging-0": "create",
    } == stack.preview()

    api.delete(extra)
    stack.up()

    assert 0 == oncall(file, "drift").code
    assert policy == api.get(path)
    assert answers(f"{stack.endpoints['services']['logging'][0]}/health/ready")


def test_a_policy_that_hides_ours_is_named_and_stops_a_preview(stack: Stack) -> None:
    """Of two policies that match, the broker takes the one with the higher priority."""
    api, file = broker_of(stack).api, stack.home / "endpoints.json"
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
    broker, (config, expected) = broker_of(stack), CHANGES["binding"]
    stack.set(config)
    assert expected == beside_files(stack, stack.up())
    leave_letter(broker, b"letter")
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
    leave_letter(broker_of(stack), b"letter")
    supervisor, *left = stack.all_pids()
    kill(supervisor)

    assert CONSUMERS | SERVERS | {"supervisord"} <= {step.name for step in stack.up()}

    assert (CONSUMERS | SERVERS) == set(stack.pids())
    assert set() == {supervisor, *left} & set(stack.all_pids())
    assert [b"letter"] == [body for _, body in broker_of(stack).take(USAGE.dead)]


def test_destroy_ends_every_process_and_leaves_the_data(stack: Stack) -> None:
    """A letter written before is there after the next `up`, with new passwords and all."""
    leave_letter(broker_of(stack), b"kept")
    pids, password = stack.all_pids(), stack.endpoints["management"]["password"]

    said = stack.destroy()

    assert f"queue {USAGE.dead} is left in place: it holds 1 messages and has 0 consumers" in said
    assert [] == wait_for_end(pids, 1)
    assert [] == [file for file in stack.home.rglob("*") if file.is_file() and password.encode() in file.read_bytes()]

    stack.up()

    assert password != stack.endpoints["management"]["password"]
    assert [b"kept"] == [body for _, body in broker_of(stack).take(USAGE.dead)]
