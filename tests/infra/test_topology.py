"""The objects of a broker, as people review them: one golden file per version that can do other things."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from catalog import CATALOG, resolve
from catalog.broker import Capabilities, UnsupportedBroker
from infra.topology import Topology, topology, user_of
from tests.catalog.test_contract import QUEUES

GOLDEN = Path(__file__).with_name("topology")
VERSIONS = ("4.0", "4.2", "4.3")


# The queues that are fixed from outside, so that a new one does not have to be reviewed in three golden files.
FIXED = replace(CATALOG, queues=tuple(queue for queue in CATALOG.queues if queue.name in QUEUES))


def built(version: str) -> Topology:
    return topology(FIXED, Capabilities.of(version))


def readable(objects: Topology) -> str:
    """One object per line, so that a review shows what changed."""
    rows = {entry.path: entry.body for entry in objects.objects}
    return "".join(f"{path} {json.dumps(body, sort_keys=True)}\n" for path, body in rows.items())


def bodies(objects: Topology, kind: str) -> dict[str, Any]:
    return {
        entry.name.removeprefix(f"{kind}/"): entry.body
        for entry in objects.objects
        if entry.name.startswith(f"{kind}/")
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_the_objects_are_those_of_the_golden_file(version: str) -> None:
    """What a broker of each version gets; `rm` the file and run again to write it anew after a wanted change."""
    golden = GOLDEN / f"{version}.txt"
    if not golden.exists():
        golden.write_text(readable(built(version)))
        pytest.fail(f"{golden.name} was missing and is written now: review it, then run again")

    assert golden.read_text() == readable(built(version)), f"review the difference, rm {golden.name}, and run again"


def test_only_a_broker_that_can_delay_retries_is_asked_to() -> None:
    """A key that a broker does not know would make it refuse the whole policy."""
    asked = {
        version: {key for policy in bodies(built(version), "policy").values() for key in policy["definition"]}
        for version in VERSIONS
    }

    assert asked["4.0"] == asked["4.2"]
    assert {"delayed-retry-type", "delayed-retry-min", "delayed-retry-max"} == asked["4.3"] - asked["4.2"]


@pytest.mark.parametrize("version", ["3.13.7", "3.8", "four", ""])
def test_a_broker_past_its_end_of_life_is_refused(version: str) -> None:
    """The message names what the broker announces, and what to do."""
    with pytest.raises(UnsupportedBroker) as refusal:
        Capabilities.of(version)

    assert (
        f"the broker announces version {version!r}: 4.0 is the oldest supported (3.x is past its end of life);"
        " upgrade it, or point the stack at a newer one"
    ) == str(refusal.value)


def test_a_queue_has_no_argument_but_its_type() -> None:
    """All else is a policy, since an argument cannot be changed without deleting the queue."""
    arguments = [body["arguments"] for body in bodies(built("4.3"), "queue").values()]

    assert [{"x-queue-type": "quorum"}] * 2 * len(FIXED.queues) == arguments


def test_each_queue_has_one_policy_and_no_policy_reaches_another_queue() -> None:
    """Patterns are anchored and escaped: a dot in a name stands for itself."""
    objects = built("4.3")
    names = list(bodies(objects, "queue"))
    patterns = {name: policy["pattern"] for name, policy in bodies(objects, "policy").items()}

    assert {name: [name] for name in names} == {
        name: [queue for queue in [*names, name.replace(".", "x") + "x", f"x{name}"] if re.search(pattern, queue)]
        for name, pattern in patterns.items()
    }


def test_a_dead_letter_can_be_read_any_number_of_times() -> None:
    dead = {queue.dead: {"delivery-limit": -1} for queue in FIXED.queues}

    assert dead == {
        name: policy["definition"] for name, policy in bodies(built("4.3"), "policy").items() if name in dead
    }


def test_a_service_may_do_what_its_entry_says_and_nothing_else() -> None:
    """Each service against every name of the topology: what it may read, write and configure."""
    objects = built("4.3")
    queues, exchanges = list(bodies(objects, "queue")), list(bodies(objects, "exchange"))
    names = [*queues, *exchanges, "amq.default", "amq.topic", "other.queue", ""]
    rights = bodies(objects, "permissions")

    for service in FIXED.services:
        may = {
            right: {name for name in names if re.search(rights[user_of(service.name, 1)][right], name)}
            for right in rights[user_of(service.name, 1)]
        }
        assert {
            "configure": {""},  # the empty name, which is nothing that could be configured
            "write": {FIXED.exchange.dead, *([FIXED.exchange.name] if service.publishes else [])},
            "read": {queue.name for queue in FIXED.queues_of(service.name)},
        } == may


def test_a_service_may_publish_only_the_keys_that_it_declares() -> None:
    keys = [
        *FIXED.keys,
        "workflow.job.completed",
        "workflow.job.failed",
        "workflowxjob.failed",
        "workflow.job.failed.x",
    ]
    rights = bodies(built("4.3"), "topic-permissions")

    assert {user_of(service.name, 1): set(service.publishes) for service in FIXED.services} == {
        name: {key for key in keys if re.search(right["write"], key)} for name, right in rights.items()
    }


def test_nothing_is_granted_by_wildcard() -> None:
    rights = [*bodies(built("4.3"), "permissions").values(), *bodies(built("4.3"), "topic-permissions").values()]

    assert [] == [pattern for right in rights for pattern in right.values() if ".*" in pattern]


def test_a_new_generation_has_other_users_and_the_same_rights() -> None:
    """Nothing else of the broker knows that passwords were changed."""
    renewed = topology(FIXED, Capabilities.of("4.3"), generation=2)

    assert [
        re.sub(rf"({'|'.join(service.name for service in FIXED.services)})-1", r"\1-2", readable(built("4.3")))
    ] == [readable(renewed)]


def test_an_autoscaler_sees_how_full_queues_are_and_does_nothing() -> None:
    """The tag opens the management API's statistics; the permission lets it see the virtual host and touch no name."""
    watched = topology(FIXED, Capabilities.of("4.3"), autoscaled=True)

    assert {
        "users/autoscaler-1": {"tags": ["management"]},
        "permissions/%2F/autoscaler-1": {"configure": "^$", "write": "^$", "read": "^$"},
    } == {
        entry.path: entry.body
        for entry in watched.objects
        if entry.path not in {old.path for old in built("4.3").objects}
    }


def test_a_renamed_queue_is_renamed_everywhere() -> None:
    """The old name is nowhere left, the new one takes its queue, policy, bindings, permissions and dead letters."""
    renamed = topology(resolve(FIXED, {"rabbitmq.data_lake.queue": "lake"}), Capabilities.of("4.3"))

    assert readable(built("4.3")).replace("logging_data_lake", "lake") == readable(renamed)
