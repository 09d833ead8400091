"""A stack's settings on top of the catalog: applied, checked, carried to a process and back."""

from datetime import timedelta
from typing import Any

import pytest

from catalog import CATALOG, CatalogError, environment, resolve
from catalog.resolve import overrides_from, settings, value_of

# The names that people know from the services being replaced.
KNOWN_OF_OLD = {
    "rabbitmq.batch_jobs.queue",
    "rabbitmq.batch_jobs.routing_keys",
    "rabbitmq.data_lake.queue",
    "rabbitmq.data_lake.bindings",
    "rabbitmq.ml_audit.queue",
    "rabbitmq.ml_audit.bindings",
    "rabbitmq.bindings",
    "cosmos_db.containers.usage_ml",
}

# One override of each kind, and what it must have become.
ONE_OF_EACH: dict[str, tuple[Any, Any]] = {
    "rabbitmq.data_lake.queue": ("lake_events", "lake_events"),
    "rabbitmq.bindings": (
        "ml.prediction.completed, embedding.generated",
        ("ml.prediction.completed", "embedding.generated"),
    ),
    "rabbitmq.ml_audit.prefetch": ("25", 25),
    "rabbitmq.batch_jobs.drain_within": ("1h30m", timedelta(minutes=90)),
    "replicas.logging": (3, 3),
    "jobs.risk-snapshot-backfill.budget": ("45m", timedelta(minutes=45)),
    "data_lake.container": ("risk-staging", "risk-staging"),
    "cosmos_db.containers.usage_ml": ("usage", "usage"),
}

REFUSED: dict[str, tuple[Any, str]] = {
    "rabbitmq.data_lake.prefetch": ("ten", "rabbitmq.data_lake.prefetch is 'ten': give a whole number"),
    "rabbitmq.data_lake.queue": ("", "rabbitmq.data_lake.queue is '': give a name"),
    "rabbitmq.bindings": (7, "rabbitmq.bindings is 7: give routing keys as a list, or as text with commas"),
    "rabbitmq.usage.drain_within": (
        "900",
        "rabbitmq.usage.drain_within is '900': give a duration such as 90s, 15m or 1h30m",
    ),
    "rabitmq.bindings": ("x", "rabitmq.bindings is no setting: did you mean rabbitmq.bindings?"),
    "colour": ("blue", "colour is no setting: `python -m catalog settings` lists all there are"),
}


def test_names_known_of_old_are_settings() -> None:
    """What people set before is set by the same name now."""
    assert set() == KNOWN_OF_OLD - set(settings(CATALOG))


@pytest.mark.parametrize("key", ONE_OF_EACH)
def test_an_override_changes_its_field_and_nothing_else(key: str) -> None:
    """One setting replaces one field of one entry."""
    text, expected = ONE_OF_EACH[key]
    resolved = resolve(CATALOG, {key: text})
    changed = [s.key for s in settings(CATALOG).values() if value_of(CATALOG, s) != value_of(resolved, s)]

    assert expected == value_of(resolved, settings(CATALOG)[key])
    assert [key] == changed


@pytest.mark.parametrize("key", REFUSED)
def test_a_wrong_value_is_refused_with_the_next_step(key: str) -> None:
    """The message names the setting, its value and what to give instead."""
    value, sentence = REFUSED[key]

    with pytest.raises(CatalogError) as caught:
        resolve(CATALOG, {key: value})

    assert sentence in caught.value.problems


def test_every_fault_is_told_in_one_go() -> None:
    """An unreadable value, an unknown key and a broken law come together."""
    with pytest.raises(CatalogError) as caught:
        resolve(CATALOG, {"rabbitmq.batch_jobs.prefetch": 0, "replicas.logging": "many", "colour": "blue"})

    assert 3 == len(caught.value.problems)


@pytest.mark.parametrize("service", [service.name for service in CATALOG.services])
def test_a_process_sees_what_the_stack_resolved(service: str) -> None:
    """The environment of a process leads back to the same queues and containers."""
    resolved = resolve(CATALOG, {key: text for key, (text, _) in ONE_OF_EACH.items()})
    seen = resolve(CATALOG, overrides_from(CATALOG, environment(resolved, service)))

    for ours, theirs in zip(resolved.queues_of(service), seen.queues_of(service), strict=True):
        assert (ours.name, ours.prefetch) == (theirs.name, theirs.prefetch)
    for store in resolved.service(service).stores:
        assert resolved.store(store) == seen.store(store)


def test_a_threshold_or_a_key_restarts_nobody() -> None:
    """What a process does not work with is not in its environment."""
    before = environment(CATALOG, "logging")
    after = environment(
        resolve(CATALOG, {"rabbitmq.data_lake.drain_within": "20m", "rabbitmq.ml_audit.bindings": "risk.evaluated"}),
        "logging",
    )

    assert before == after
