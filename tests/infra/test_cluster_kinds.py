"""What preflight asks about is what the program makes: every kind of every stack, and no other."""

from __future__ import annotations

import pytest

from infra.cluster.kinds import Kind, kinds
from tests.infra import stacks


@pytest.mark.parametrize("name", stacks.STACKS)
def test_every_kind_that_a_stack_makes_is_asked_about(name: str) -> None:
    """Whether it is served, and whether one may make it."""
    settings = stacks.stack(name).cluster
    assert settings

    assert {(manifest["apiVersion"], manifest["kind"]) for manifest in stacks.manifests(name)} <= {
        (kind.api, kind.name) for kind in kinds(settings)
    }


def test_no_kind_is_asked_about_that_no_stack_makes() -> None:
    made = {(manifest["apiVersion"], manifest["kind"]) for name in stacks.STACKS for manifest in stacks.manifests(name)}
    asked = {
        (kind.api, kind.name) for name in stacks.STACKS if (one := stacks.stack(name).cluster) for kind in kinds(one)
    }

    assert made == asked


def test_a_kind_knows_how_kubectl_names_it() -> None:
    assert [
        "policies.rabbitmq.com",
        "topicpermissions.rabbitmq.com",
        "secrets",
        "networkpolicies.networking.k8s.io",
    ] == [
        kind.resource
        for kind in (
            Kind("rabbitmq.com/v1beta1", "Policy"),
            Kind("rabbitmq.com/v1beta1", "TopicPermission"),
            Kind("v1", "Secret"),
            Kind("networking.k8s.io/v1", "NetworkPolicy"),
        )
    ]
