"""A live broker against the topology: silent when all is there, and each difference named with its next step."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import pika
import pytest

from catalog import CATALOG, Catalog, Exchange, resolve
from catalog.broker import Capabilities
from infra.broker_api import put
from infra.differences import MEND, findings
from infra.live import Live
from infra.topology import Topology, topology
from tests.brokers import LiveBroker, eventually

pytestmark = [pytest.mark.servers, pytest.mark.broker, pytest.mark.slow]

# Names of its own: the broker serves other tests as well.
NAMES = {f"{queue.setting}.queue": f"drift.{queue.name}" for queue in CATALOG.queues}
HERE: Catalog = replace(resolve(CATALOG, NAMES), exchange=Exchange(name="drift_events"))
USAGE, LAKE = HERE.queue_of("usage"), HERE.queue_of("lake")


def wanted(broker: LiveBroker) -> Topology:
    return topology(HERE, Capabilities.of(broker.version), autoscaled=True)


@pytest.fixture
def provisioned(any_broker: LiveBroker) -> Iterator[LiveBroker]:
    """A broker that holds the topology, and nothing of it afterwards."""
    for entry in wanted(any_broker).objects:
        put(any_broker.api, entry.path, entry.body, "for-this-test" if entry.owner else "")
    yield any_broker
    for entry in reversed(wanted(any_broker).objects):
        any_broker.api.delete(entry.path)


def told(broker: LiveBroker) -> list[str]:
    return [str(finding) for finding in findings(Live.of(broker.api.get), wanted(broker))]


def test_nothing_is_told_of_a_broker_that_holds_the_topology(provisioned: LiveBroker) -> None:
    assert [] == told(provisioned)


def test_everything_is_told_of_an_empty_broker(any_broker: LiveBroker) -> None:
    """Each object once; the rights of a user that does not exist go without saying."""
    objects = wanted(any_broker)
    made = [entry for entry in objects.objects if entry not in objects.permissions]

    found = findings(Live.of(any_broker.api.get), objects)

    assert {entry.name for entry in made} == {f"{finding.kind}/{finding.name}" for finding in found}
    assert {"missing"} == {finding.fault for finding in found}
    assert len(made) == len(found)


CLASSIC = {"durable": True, "auto_delete": False, "arguments": {"x-queue-type": "classic"}}
PLATFORM = {"pattern": "^drift.*usage|service$", "definition": {"max-length": 5}, "apply-to": "all"}
SHORT = {"definition": {"max-length": 5}}
NOBODY = {"configure": "", "write": "", "read": ".*"}


def instead(broker: LiveBroker, path: str, body: dict[str, Any]) -> None:
    """What a broker never changes, made anew."""
    broker.api.delete(path)
    broker.api.put(path, body)


def exchange_gone(broker: LiveBroker) -> None:
    """Deleted with the rights to its keys, as a newer broker does by itself."""
    broker.api.delete("exchanges/%2F/drift_events")
    for service in HERE.services:
        broker.api.delete(f"topic-permissions/%2F/{service.name}-1")


def bindings_gone(exchange: str, bound: Iterable[tuple[str, str]]) -> list[str]:
    return [f"binding {queue}/{key} from {exchange} does not exist: {MEND}" for queue, key in bound]


SHARED_GONE = [
    *bindings_gone("drift_events", ((queue.name, key) for queue in HERE.queues for key in queue.keys)),
    *(
        f"topic permissions {service.name}-1 do not exist for exchange drift_events,"
        f" so that every key is allowed: {MEND}"
        for service in HERE.services
    ),
]
CHANGES: Mapping[str, tuple[Callable[[LiveBroker], None], list[str]]] = {
    "exchange of another type": (
        lambda broker: (
            exchange_gone(broker) or broker.api.put("exchanges/%2F/drift_events", {"type": "fanout", "durable": True})
        ),
        [
            ("exchange drift_events has type fanout instead of topic:"
            " a broker never changes an exchange: ask its owner which name is meant"),
            *SHARED_GONE,
        ],
    ),
    "shared exchange deleted": (
        exchange_gone,
        [
            ("exchange drift_events does not exist:"
            " its owner creates it; where that is us: pulumi config set exchange.manage on"),
            *SHARED_GONE,
        ],
    ),
    "queue of another type": (
        lambda broker: instead(broker, f"queues/%2F/{USAGE.name}", CLASSIC),
        [
            (f"queue {USAGE.name} has arguments {{'x-queue-type': 'classic'}} instead of {{'x-queue-type': 'quorum'}}:"
            f" a broker never changes a queue: `oncall migrate {USAGE.name}` moves its events to a new one"),
            *bindings_gone("drift_events", ((USAGE.name, key) for key in USAGE.keys)),
        ],
    ),
    "queue deleted": (
        lambda broker: broker.api.delete(f"queues/%2F/{USAGE.dead}"),
        [
            f"queue {USAGE.dead} does not exist: {MEND}",
            *bindings_gone("drift_events.dead", [(USAGE.dead, USAGE.name)]),
        ],
    ),
    "policy deleted": (
        lambda broker: broker.api.delete(f"policies/%2F/{USAGE.name}"),
        [f"policy {USAGE.name} does not exist: {MEND}"],
    ),
    "policy changed": (
        lambda broker: broker.api.put(
            f"policies/%2F/{USAGE.dead}",
            {"pattern": f"^{USAGE.dead}$", "apply-to": "quorum_queues", "priority": 10, **SHORT},
        ),
        [
            (f"policy {USAGE.dead} has max-length 5 instead of nothing, has pattern ^{USAGE.dead}$ instead of"
            f" ^({re.escape(USAGE.dead)})$, has delivery-limit nothing instead of -1: {MEND}")
        ],
    ),
    "policy hidden": (
        lambda broker: broker.api.put("policies/%2F/platform", {**PLATFORM, "priority": 10}),
        [
            (f"policy {USAGE.name} is not in effect: policy platform (pattern {PLATFORM['pattern']}, priority 10) hides"
            f" ours of queue {USAGE.name} (priority 10), and with it the delivery limit and the dead letters: give it a"
            f" priority below 10 or a pattern that leaves {USAGE.name} out")
        ],
    ),
    "weaker policy": (
        lambda broker: broker.api.put("policies/%2F/platform", {**PLATFORM, "priority": 9}),
        [],
    ),
    "operator policy": (
        lambda broker: broker.api.put("operator-policies/%2F/limits", {**PLATFORM, "priority": 0}),
        [
            (f"policy {USAGE.name} is not all that is in effect: operator policy limits adds max-length 5:"
            f" ask the broker's operator for a pattern that leaves {USAGE.name} out")
        ],
    ),
    "binding added": (
        lambda broker: broker.api.post(f"bindings/%2F/e/amq.topic/q/{USAGE.name}", {"routing_key": "embedding.#"}),
        [
            (f"binding {USAGE.name}/embedding.# from amq.topic is declared by nobody:"
            " declare the key for this queue, or remove the binding in the management page")
        ],
    ),
    "binding deleted": (
        lambda broker: broker.api.delete(f"bindings/%2F/e/drift_events/q/{USAGE.name}/embedding.generated"),
        bindings_gone("drift_events", [(USAGE.name, "embedding.generated")]),
    ),
    "user deleted": (
        lambda broker: broker.api.delete("users/logging-1"),
        [f"user logging-1 does not exist: {MEND}"],
    ),
    "user raised": (
        lambda broker: broker.api.put("users/logging-1", {"password": "x", "tags": ["administrator"]}),
        [f"user logging-1 has tag administrator, which nobody declared: {MEND}"],
    ),
    "user of before": (
        lambda broker: broker.api.put("users/logging-0", {"password": "x", "tags": []}),
        [
            ("user logging-0 is of another generation:"
            " delete it once nobody logs in as it any more (runbooks/rotate-credentials.md)")
        ],
    ),
    "permissions taken": (
        lambda broker: broker.api.delete("permissions/%2F/logging-1"),
        [f"permissions logging-1 do not exist: {MEND}"],
    ),
    "permissions in another virtual host": (
        lambda broker: broker.api.put("vhosts/drift", {}) or broker.api.put("permissions/drift/logging-1", NOBODY),
        [
            ("permissions logging-1 are given in virtual host drift as well, where it has nothing to do:"
            " rabbitmqctl clear_permissions -p drift logging-1")
        ],
    ),
    "keys let go": (
        lambda broker: broker.api.delete("topic-permissions/%2F/logging-1"),
        [f"topic permissions logging-1 do not exist for exchange drift_events, so that every key is allowed: {MEND}"],
    ),
}  # fmt: skip
EXTRA = ("policies/%2F/platform", "operator-policies/%2F/limits", "users/logging-0", "vhosts/drift")


@pytest.mark.parametrize(("change", "expected"), CHANGES.values(), ids=CHANGES)
def test_each_difference_is_named(
    provisioned: LiveBroker, change: Callable[[LiveBroker], None], expected: list[str]
) -> None:
    """By its name, with the next step, and with what it brings down; nothing else is told."""
    change(provisioned)

    found = told(provisioned)

    for path in EXTRA:
        provisioned.api.delete(path)
    assert expected == found


def test_a_wider_permission_tells_what_it_opens(provisioned: LiveBroker) -> None:
    """The names that the derived right leaves out and the live one does not."""
    right = {"configure": "^$", "write": "", "read": f"{USAGE.name}|{LAKE.name}"}
    provisioned.api.put("permissions/%2F/analytics-service-1", right)

    read, write = sorted(told(provisioned), key=lambda sentence: "to write" in sentence)

    assert (
        f"permissions analytics-service-1 to read are {right['read']} instead of ^({re.escape(USAGE.name)})$, which"
        f" also lets it read {USAGE.dead}, {LAKE.name}, {LAKE.dead}: {MEND}"
    ) == read
    assert rf"permissions analytics-service-1 to write are nothing instead of ^(drift_events\.dead)$: {MEND}" == write


def test_somebody_else_who_takes_our_events_is_a_warning(provisioned: LiveBroker) -> None:
    """Our own users are silent there, of any generation; another one is named with where it comes from."""
    for entry in topology(HERE, Capabilities.of(provisioned.version), generation=2).objects:
        if "logging-2" in entry.path:
            put(provisioned.api, entry.path, entry.body, "for-this-test" if entry.owner else "")
    ours = provisioned.url.replace(f"{provisioned.api.user}:{provisioned.api.password}", "logging-2:for-this-test")
    with pika.BlockingConnection(pika.URLParameters(ours)) as mine:
        mine.channel().basic_consume(LAKE.name, sys.stderr.write)
        channel = provisioned.channel()
        channel.basic_consume(LAKE.name, sys.stderr.write)
        # the broker tells of a consumer before it tells whose it is
        eventually(
            lambda: 2 == len([row for row in provisioned.api.get("consumers/%2F") if row["channel_details"]]), 20
        )
        found = findings(Live.of(provisioned.api.get), wanted(provisioned))
        channel.connection.close()
    provisioned.api.delete("users/logging-2")

    assert [
        ("fault", "user logging-2 is of another generation"),
        ("warning", f"queue {LAKE.name} is consumed by user admin from 127.0.0.1, who is none of ours"),
    ] == [(finding.severity, f"{finding.kind} {finding.name} {finding.what}") for finding in found]
