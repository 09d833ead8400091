"""What a strict reviewer would say about every stack: nothing; and about each of its counter-examples: that."""

from __future__ import annotations

from functools import cache

import pytest

from tests.infra import review_broker, review_objects, review_pods, stacks
from tests.infra.review import CHECKS, Check, Reviewed

MODULES = (review_pods, review_objects, review_broker)  # imported for the checks that they add


@cache
def reviewed(name: str) -> Reviewed:
    """A stack, with the Secrets that its settings say somebody else makes."""
    cluster = stacks.stack(name).cluster
    assert cluster
    given = frozenset({cluster.sinks.secret, cluster.broker.connection_secret, cluster.pull_secret} - {""})
    return Reviewed(stacks.manifests(name), stacks.stack(name).catalog, given)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.sentence)
@pytest.mark.parametrize("name", stacks.STACKS)
def test_every_stack_passes(name: str, check: Check) -> None:
    assert [] == check.findings(reviewed(name))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.sentence)
def test_every_check_bites(check: Check) -> None:
    """Each finds its counter-example; one that finds nothing would only look like a check."""
    assert check.findings_when_broken(reviewed("everything on"))


def test_no_check_is_forgotten() -> None:
    """Every function of the check modules is in the list."""
    sentences = [check.sentence for check in CHECKS]

    assert len(set(sentences)) == len(sentences)
    assert {module.__name__ for module in MODULES} == {check.finds.__module__ for check in CHECKS}


def test_prod_survives_a_node() -> None:
    """One replica less is never none."""
    replicas = [deployment["spec"]["replicas"] for deployment in reviewed("prod").of("Deployment")]

    assert replicas
    assert min(replicas) >= 2
