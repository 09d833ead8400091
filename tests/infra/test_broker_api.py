"""The topology against real brokers of both supported versions: what is put there, what is kept, what is refused."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pika
import pytest
from pika.exceptions import ChannelClosedByBroker

from catalog import CATALOG, Catalog, Exchange, resolve
from catalog.broker import Capabilities
from infra.broker import announced
from infra.broker_api import Api, Refused, Unreachable, live_of, put, remove
from infra.topology import Object, Topology, topology, user_of
from tests.brokers import LiveBroker, eventually
from tools.servers import free_ports

pytestmark = [pytest.mark.servers, pytest.mark.broker, pytest.mark.slow]

CLASSIC, QUORUM = {"x-queue-type": "classic"}, {"x-queue-type": "quorum"}
PASSWORD = "for-this-test"
# Names of its own: the broker serves other tests as well.
NAMES = {f"{queue.setting}.queue": f"infra.{queue.name}" for queue in CATALOG.queues}
CATALOG_HERE: Catalog = replace(resolve(CATALOG, NAMES), exchange=Exchange(name="infra_events"))
LOGGING, RISK = CATALOG.service("logging"), CATALOG.service("risk-analytics")


def built(broker: LiveBroker) -> Topology:
    return topology(CATALOG_HERE, Capabilities.of(broker.version))


def put_all(broker: LiveBroker) -> None:
    for entry in built(broker).objects:
        put(broker.api, entry.path, entry.body, PASSWORD if entry.owner else "")


@pytest.fixture
def provisioned(any_broker: LiveBroker) -> Iterator[LiveBroker]:
    """A broker that holds the topology, and nothing of it afterwards."""
    put_all(any_broker)
    yield any_broker
    for entry in reversed(built(any_broker).objects):
        any_broker.api.delete(entry.path)


def missing_or_different(broker: LiveBroker) -> dict[str, Any]:
    def live(entry: Object) -> dict[str, Any]:
        found = live_of(broker.api, entry.path) or {}
        return {key: found.get(key) for key in entry.body}

    return {entry.name: live(entry) for entry in built(broker).objects if entry.body != live(entry)}


@contextmanager
def channel_of(broker: LiveBroker, service: str) -> Iterator[Any]:
    url = broker.url.replace(f"{broker.api.user}:{broker.api.password}", f"{user_of(service, 1)}:{PASSWORD}")
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        yield channel


def refused(broker: LiveBroker, service: str, method: str, **arguments: Any) -> str:
    """The broker's words when it closes the channel over what it does not allow."""
    with channel_of(broker, service) as channel, pytest.raises(ChannelClosedByBroker) as closed:
        getattr(channel, method)(**arguments)
    return str(closed.value.reply_text).split(" in vhost")[0]


def test_every_object_is_there_as_wanted_and_putting_it_again_changes_nothing(provisioned: LiveBroker) -> None:
    assert {} == missing_or_different(provisioned)

    put_all(provisioned)

    assert {} == missing_or_different(provisioned)


def test_the_policy_in_effect_is_the_one_we_set(provisioned: LiveBroker) -> None:
    """Not only is the policy stored: the queue obeys it. The broker shows it some seconds late."""
    wanted = {
        policy.path.rpartition("/")[2]: (policy.path.rpartition("/")[2], policy.body["definition"])
        for policy in built(provisioned).policies
    }

    def effective() -> dict[str, Any]:
        queues = provisioned.api.get("queues/%2F")
        return {
            queue["name"]: (queue.get("policy"), queue.get("effective_policy_definition"))
            for queue in queues
            if queue["name"] in wanted
        }

    eventually(lambda: wanted == effective(), 20)


def test_a_dead_letter_survives_being_read_again_and_again(provisioned: LiveBroker) -> None:
    """30 returns are more than the broker's own limit of 20, after which a letter would be lost."""
    queue = CATALOG_HERE.queues[1]
    channel = provisioned.channel()
    channel.basic_publish("infra_events.dead", queue.name, b"letter", pika.BasicProperties(delivery_mode=2), True)

    for _ in range(30):
        method, _, _ = eventually(lambda: (got := channel.basic_get(queue.dead))[0] and got)
        channel.basic_reject(method.delivery_tag, requeue=True)

    assert b"letter" == eventually(lambda: channel.basic_get(queue.dead, auto_ack=True)[2])
    channel.connection.close()


def test_a_service_reads_its_own_queues_only(provisioned: LiveBroker) -> None:
    own, foreign = CATALOG_HERE.queues_of(LOGGING.name)[0], CATALOG_HERE.queues_of(RISK.name)[0]

    with channel_of(provisioned, LOGGING.name) as channel:
        assert (None, None, None) == channel.basic_get(own.name)
    for name in (foreign.name, own.dead):
        assert f"ACCESS_REFUSED - read access to queue '{name}'" == refused(
            provisioned, LOGGING.name, "basic_get", queue=name
        )


def test_a_service_publishes_dead_letters_and_its_own_keys_only(provisioned: LiveBroker) -> None:
    """Risk-analytics may say that a job is done; no service may say that a risk was evaluated."""
    exchange, queue = CATALOG_HERE.exchange, CATALOG_HERE.queues_of(LOGGING.name)[0]

    with channel_of(provisioned, LOGGING.name) as channel:
        channel.basic_publish(exchange.dead, queue.name, b"x", mandatory=True)
    with channel_of(provisioned, RISK.name) as channel:
        channel.basic_publish(exchange.name, RISK.publishes[0], b"x")

    foreign = {"routing_key": "risk.evaluated", "body": b"x"}
    assert f"ACCESS_REFUSED - write access to exchange '{exchange.name}'" == refused(
        provisioned, LOGGING.name, "basic_publish", exchange=exchange.name, **foreign
    )
    assert f"ACCESS_REFUSED - write access to topic 'risk.evaluated' in exchange '{exchange.name}'" == refused(
        provisioned, RISK.name, "basic_publish", exchange=exchange.name, **foreign
    )
    assert "ACCESS_REFUSED - write access to exchange 'amq.default'" == refused(
        provisioned, RISK.name, "basic_publish", exchange="", **foreign
    )


def test_a_service_configures_nothing(provisioned: LiveBroker) -> None:
    assert "ACCESS_REFUSED - configure access to queue 'mine'" == refused(
        provisioned, LOGGING.name, "queue_declare", queue="mine"
    )


def test_a_queue_that_holds_messages_is_left_in_place(
    provisioned: LiveBroker, capsys: pytest.CaptureFixture[str]
) -> None:
    """An empty queue goes, a full one stays and says so."""
    full, empty = CATALOG_HERE.queues[1], CATALOG_HERE.queues[2]
    provisioned.publish(full, [b"x", b"y"])
    path = f"queues/%2F/{full.name}"

    remove(provisioned.api, path)
    remove(provisioned.api, f"queues/%2F/{empty.name}")

    assert (
        f"queue {full.name} is left in place: it holds 2 messages and has 0 consumers;"
        " empty it, then delete it in the management page\n"
    ) == capsys.readouterr().err
    assert 2 == provisioned.ready(full.name)
    assert None is provisioned.api.get(f"queues/%2F/{empty.name}")


def test_a_queue_whose_events_wait_between_two_tries_is_left_in_place(
    provisioned: LiveBroker, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was returned a moment ago is neither ready nor in hand where the broker delays it, and is not lost."""
    queue = CATALOG_HERE.queues[1]
    provisioned.publish(queue, [b"x"])
    channel = provisioned.channel()
    method, _, _ = channel.basic_get(queue.name)
    channel.basic_reject(method.delivery_tag, requeue=True)
    channel.connection.close()

    remove(provisioned.api, f"queues/%2F/{queue.name}")

    assert f"queue {queue.name} is left in place: it holds 1 messages" in capsys.readouterr().err


def test_a_queue_with_a_consumer_is_left_in_place(provisioned: LiveBroker, capsys: pytest.CaptureFixture[str]) -> None:
    queue = CATALOG_HERE.queues[1]
    channel = provisioned.channel()
    channel.basic_consume(queue.name, sys.stderr.write)

    remove(provisioned.api, f"queues/%2F/{queue.name}")

    assert "holds 0 messages and has 1 consumers" in capsys.readouterr().err
    channel.connection.close()


@pytest.mark.parametrize(
    ("path", "there", "wanted", "said"),
    [
        (
            "queues/%2F/infra.classic",
            {"durable": True, "auto_delete": False, "arguments": CLASSIC},
            {"durable": True, "auto_delete": False, "arguments": QUORUM},
            f"queue infra.classic exists with other properties (arguments is {CLASSIC}, wanted {QUORUM})",
        ),
        (
            "exchanges/%2F/infra.fanout",
            {"type": "fanout", "durable": True, "auto_delete": False},
            {"type": "topic", "durable": True, "auto_delete": False},
            "exchange infra.fanout exists with other properties (type is 'fanout', wanted 'topic')",
        ),
    ],
    ids=["queue", "exchange"],
)
def test_what_a_broker_never_changes_is_refused_with_the_way_out(
    broker: LiveBroker, path: str, there: dict[str, Any], wanted: dict[str, Any], said: str
) -> None:
    broker.api.put(path, there)

    with pytest.raises(Refused) as refusal:
        put(broker.api, path, wanted, "")

    assert (
        f"{said} and a broker never changes them: either give this stack another name for it,"
        " or stop its users, empty it, delete it in the management page, and run again"
    ) == str(refusal.value)
    broker.api.delete(path)


def test_a_platform_policy_that_hides_ours_is_named(provisioned: LiveBroker) -> None:
    """Silent while it is weaker; refused as soon as it would take our limits away."""
    mine = built(provisioned).policies[0]
    platform = {"pattern": "^infra", "definition": {"max-length": 10**6}, "apply-to": "all", "priority": 9}
    provisioned.api.put("policies/%2F/platform", platform)
    put(provisioned.api, mine.path, mine.body, "")

    provisioned.api.put("policies/%2F/platform", {**platform, "priority": 11})

    for attempt in (
        lambda: put(provisioned.api, mine.path, mine.body, ""),
        lambda: live_of(provisioned.api, mine.path),
    ):
        with pytest.raises(Refused) as refusal:
            attempt()
        assert (
            "policy platform (pattern ^infra, priority 11) hides ours of queue infra.bi_batch_jobs (priority 10),"
            " and with it the delivery limit and the dead letters: give it a priority below 10"
            " or a pattern that leaves infra.bi_batch_jobs out"
        ) == str(refusal.value)
    provisioned.api.delete("policies/%2F/platform")


def test_a_wrong_password_is_told_apart_from_a_broker_that_is_away(broker: LiveBroker) -> None:
    with pytest.raises(Refused) as refusal:
        replace(broker.api, password="wrong").get("overview")
    assert (
        f"RabbitMQ at {broker.api.url} refuses the password of user 'admin': its data folder is of another time"
        " or somebody changed the password; set it back, or let `make clean` remove the data and start anew"
    ) == str(refusal.value)

    (nobody,) = free_ports(1)
    with pytest.raises(Unreachable) as absence:
        Api(f"http://127.0.0.1:{nobody}", "", "admin", "any").get("overview")
    assert (f"RabbitMQ's management API at http://127.0.0.1:{nobody} does not answer: is the broker running?") == str(
        absence.value
    )


def test_a_broker_that_can_do_other_things_than_the_stack_expects_is_refused(any_broker: LiveBroker) -> None:
    """The topology was made for one version: policies of another would be refused one by one, or miss their delays."""
    other = {"4.3": "4.0", "4.0": "4.3"}[any_broker.version]
    full = any_broker.api.get("overview")["rabbitmq_version"]

    assert full == announced(any_broker.api, any_broker.version)
    with pytest.raises(Refused) as refusal:
        announced(any_broker.api, other)
    assert (
        f"RabbitMQ at {any_broker.api.url} announces version {full}, the stack is made for {other}:"
        f" pulumi config set broker.version {any_broker.version}"
    ) == str(refusal.value)


def test_a_binding_to_an_absent_queue_is_refused(broker: LiveBroker) -> None:
    """An answer 404 to a write is a fault, not an object that is not there."""
    path = "bindings/%2F/e/amq.topic/q/infra.absent/a.key"

    with pytest.raises(Refused, match=r"answers 404 to POST bindings/%2F/e/amq\.topic/q/infra\.absent"):
        put(broker.api, path, {"routing_key": "a.key", "arguments": {}}, "")
