"""The topology as custom resources: names and specs as people review them, and which change makes another object."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from catalog import Catalog, resolve
from catalog.broker import Capabilities
from infra.cluster.custom_resources import Manifest, manifest
from infra.topology import topology
from tests.infra.test_topology import FIXED

GOLDEN = Path(__file__).with_name("custom_resources.yaml")
REFERENCE = {"name": "rabbitmq", "namespace": "messaging"}
LAKE = FIXED.queue_of("lake")


def built(catalog: Catalog = FIXED, generation: int = 1, reference: dict[str, Any] = REFERENCE) -> dict[str, Manifest]:
    """{name in Pulumi: custom resource}."""
    objects = topology(catalog, Capabilities.of("4.3"), generation, autoscaled=True).objects
    return {entry.name: manifest(entry, reference) for entry in objects}


def readable(made: dict[str, Manifest]) -> str:
    rows = {f"{entry.kind} {entry.name}": entry.spec for entry in made.values()}
    return yaml.safe_dump(rows, sort_keys=True)


def named_anew(**change: Any) -> set[str]:
    """The objects, by their name in Pulumi, whose custom resource a change gives another name."""
    before, after = built(), built(**change)
    return {name for name in before if name in after and before[name].name != after[name].name}


def test_the_custom_resources_are_those_of_the_golden_file() -> None:
    """`rm` the file and run again to write it anew after a wanted change."""
    if not GOLDEN.exists():
        GOLDEN.write_text(readable(built()))
        pytest.fail(f"{GOLDEN.name} was missing and is written now: review it, then run again")

    assert GOLDEN.read_text() == readable(built()), f"review the difference, rm {GOLDEN.name}, and run again"


def test_names_are_names_to_kubernetes_and_different_ones() -> None:
    """Whatever a queue is called; two that differ in a character that DNS lacks stay two."""
    queues = {"a_b": FIXED.queues[0], "a.b": FIXED.queues[1], "Q" * 200: FIXED.queues[2]}
    catalog = replace(FIXED, queues=tuple(replace(queue, name=name) for name, queue in queues.items()))

    made = built(catalog).values()

    assert [] == [entry.name for entry in made if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", entry.name)]
    assert len(made) == len({(entry.kind, entry.name) for entry in made})


def test_no_field_is_one_that_the_operator_drops() -> None:
    """It writes objects back without what is false, zero or empty; a refresh would find each of them changed."""
    assert [] == [(made.kind, key) for made in built().values() for key, value in made.spec.items() if not value]


def test_what_may_change_keeps_its_name() -> None:
    """A limit, a right: the operator updates these where they are."""
    faster = replace(FIXED, queues=tuple(replace(queue, delivery_limit=99) for queue in FIXED.queues))
    quieter = replace(FIXED, services=tuple(replace(service, publishes=()) for service in FIXED.services))

    assert set() == named_anew(catalog=faster)
    assert set() == named_anew(catalog=quieter)


def test_another_broker_has_other_objects() -> None:
    """The operator refuses to move one from broker to broker."""
    assert set(built()) == named_anew(reference={"connectionSecret": {"name": "broker"}})


def test_a_binding_is_another_one_when_its_key_is() -> None:
    changed = resolve(FIXED, {f"{LAKE.setting}.bindings": ["ml.prediction.completed"]})
    before, after = set(built()), set(built(changed))

    assert {f"binding/{LAKE.name}/risk.evaluated"} == before - after
    assert {f"binding/{LAKE.name}/ml.prediction.completed"} == after - before


def test_users_take_their_password_from_the_secret_of_their_generation() -> None:
    users = {name: entry for name, entry in built(generation=3).items() if entry.kind == "User"}

    assert {
        "user/logging-3": {"name": "logging-rabbitmq-3"},
        "user/risk-analytics-3": {"name": "risk-analytics-rabbitmq-3"},
        "user/analytics-service-3": {"name": "analytics-service-rabbitmq-3"},
        "user/autoscaler-3": {"name": "autoscaler-rabbitmq-3"},
    } == {name: entry.spec["importCredentialsSecret"] for name, entry in users.items()}
