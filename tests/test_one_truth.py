"""Broker, rules, boards and processes say what `resolve` says, with the defaults and with one override of each kind."""

from __future__ import annotations

import json
import re

import pytest
import yaml

import dashboards
from alerts.build import rules
from catalog import CATALOG, Catalog, environment, resolve
from catalog.broker import Capabilities
from catalog.resolve import overrides_from
from infra.topology import topology
from tests.catalog.test_resolve import ONE_OF_EACH

STACKS = {
    "defaults": CATALOG,
    "one override of each kind": resolve(CATALOG, {key: text for key, (text, _) in ONE_OF_EACH.items()}),
}


@pytest.fixture(params=STACKS)
def catalog(request: pytest.FixtureRequest) -> Catalog:
    return STACKS[request.param]


def named(text: str, label: str) -> set[str]:
    """The values that a label has anywhere in PromQL, plain or inside JSON."""
    return set(re.findall(rf'{label}=\\?"([^"\\]+)\\?"', text))


def names_of(catalog: Catalog) -> set[str]:
    return {name for queue in catalog.queues for name in (queue.name, queue.dead)}


def test_fault_11_the_broker_is_declared_as_code(catalog: Catalog) -> None:
    """Every queue of the catalog with its dead letters and keys, and no other."""
    objects = topology(catalog, Capabilities.of("4.3"))
    keys = {(queue.name, key) for queue in catalog.queues for key in queue.keys}

    assert names_of(catalog) == {wanted.path.rpartition("/")[2] for wanted in objects.queues}
    assert keys == {tuple(wanted.path.split("/")[-2:]) for wanted in objects.bindings}
    assert {queue.name: queue.delivery_limit for queue in catalog.queues} == {
        policy.path.rpartition("/")[2]: policy.body["definition"]["delivery-limit"]
        for policy in objects.policies
        if "dead-letter-exchange" in policy.body["definition"]
    }


def test_rules_and_boards_ask_about_the_queues_of_the_catalog(catalog: Catalog) -> None:
    """A renamed queue is renamed in every expression, and every queue has alerts and panels."""
    for text in (rules(catalog), *dashboards.boards(catalog).values()):
        assert names_of(catalog) == named(text, "queue")
        assert {job.name for job in catalog.jobs} == named(text, "job_name")


def test_limits_in_rules_are_those_of_the_catalog(catalog: Catalog) -> None:
    """The promise of a queue and the budget of a job are the numbers that page."""
    limits = {
        (rule["alert"], rule["labels"].get("queue") or rule["labels"].get("job_name")): float(rule["expr"].split()[-1])
        for group in yaml.safe_load(rules(catalog))["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }

    for queue in catalog.queues:
        assert queue.drain_within.total_seconds() == limits["QueueWillNotDrainInTime", queue.name]
    for job in catalog.jobs:
        assert job.budget.total_seconds() == limits["JobOverBudget", job.name]


def test_boards_are_current_json(catalog: Catalog) -> None:
    """Each board carries every signal of the catalog."""
    for text in dashboards.boards(catalog).values():
        titles = {panel["title"] for panel in json.loads(text)["panels"]}
        assert {signal.title for signal in catalog.signals} <= titles


def test_processes_work_with_the_names_of_the_catalog(catalog: Catalog) -> None:
    """What a process is told leads it to the same queues, prefetches and containers."""
    for service in catalog.services:
        seen = resolve(CATALOG, overrides_from(CATALOG, environment(catalog, service.name)))
        ours, theirs = catalog.queues_of(service.name), seen.queues_of(service.name)

        assert [(queue.name, queue.prefetch) for queue in ours] == [(queue.name, queue.prefetch) for queue in theirs]
        assert [catalog.store(store).name for store in service.stores] == [
            seen.store(store).name for store in service.stores
        ]
