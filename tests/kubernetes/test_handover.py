"""Autoscaling switched off on a real API server: what runs is kept, or nothing is done and the way out is told."""

from __future__ import annotations

from pathlib import Path

import pulumi
import pytest

from infra import render, settings
from infra.cluster import handover
from infra.settings import Settings
from tests.kubernetes.apiserver import ApiServer

pytestmark = pytest.mark.servers

KINDS = ("Deployment", "ScaledObject", "TriggerAuthentication")


@pytest.fixture
def namespace(api_server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("KUBECONFIG", str(api_server.kubeconfig))
    # the client library read the variable when it was imported
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(api_server.kubeconfig))
    return api_server.namespace()


def stack(namespace: str, **config: str) -> Settings:
    wanted = {
        "target": "kubernetes",
        "kubernetes.namespace": namespace,
        "image": f"registry.example/consumers@sha256:{'5' * 64}",
        "broker.cluster": "rabbitmq",
        "sinks.secret": "sinks",
        "cosmos_db.endpoint": "https://risk.documents.azure.com",
        **config,
    }
    return settings.parse(wanted, (), stack="test", root=Path("/project"))


def scaled(api_server: ApiServer, namespace: str, replicas: int) -> None:
    """`logging` as an autoscaler left it."""
    on = stack(namespace, **{"autoscaling.logging": "on", "replicas.logging": "2"})
    for manifest in render.manifests(render.registered(on)):
        if manifest["kind"] in KINDS and manifest["metadata"]["name"] == "logging":
            api_server.apply(manifest)
    number = {"spec": {"replicas": replicas}}
    deployment = f"/apis/apps/v1/namespaces/{namespace}/deployments/logging/scale"
    api_server.request("PATCH", deployment, json=number, headers={"Content-Type": "application/merge-patch+json"})


def test_what_the_autoscaler_made_run_is_not_ended_by_switching_it_off(api_server: ApiServer, namespace: str) -> None:
    """Five run, the stack says two: nothing is done, and the sentence has what to type."""
    scaled(api_server, namespace, 5)

    with pytest.raises(pulumi.RunError) as refusal:
        handover.check(stack(namespace, **{"replicas.logging": "2"}))

    assert (
        "Pulumi.test.yaml would end replicas:\n"
        "  autoscaling.logging is off now: 5 replicas run, and replicas.logging would keep 2 of them; first"
        " `pulumi config set replicas.logging 5`, lower it again in an `up` of its own"
    ) == str(refusal.value)


@pytest.mark.parametrize(
    "config",
    [
        pytest.param({"replicas.logging": "5"}, id="as many as run"),
        pytest.param({"replicas.logging": "6"}, id="more than run"),
        pytest.param({"replicas.logging": "2", "autoscaling.logging": "on"}, id="still on"),
    ],
)
def test_what_ends_nobody_goes_on(api_server: ApiServer, namespace: str, config: dict[str, str]) -> None:
    scaled(api_server, namespace, 5)

    handover.check(stack(namespace, **config))


def test_a_service_that_has_no_autoscaler_may_be_made_smaller(api_server: ApiServer, namespace: str) -> None:
    """Five by configuration, now two: that is what a person wants."""
    scaled(api_server, namespace, 5)
    api_server.request("DELETE", f"/apis/keda.sh/v1alpha1/namespaces/{namespace}/scaledobjects/logging")

    handover.check(stack(namespace, **{"replicas.logging": "2"}))


def test_a_cluster_without_keda_has_nothing_to_hand_over(namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "API", "absent.sh/v1alpha1")

    handover.check(stack(namespace))


def test_who_may_not_look_at_autoscalers_has_made_none(
    api_server: ApiServer, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stack that never scaled by itself needs no right to ask about it."""
    scaled(api_server, namespace, 5)
    rules = [{"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get"]}]
    theirs = str(api_server.user(namespace, rules))
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", theirs)

    handover.check(stack(namespace))


def test_a_deployment_that_somebody_deleted_has_no_replicas_to_lose(api_server: ApiServer, namespace: str) -> None:
    scaled(api_server, namespace, 5)
    api_server.request("DELETE", f"/apis/apps/v1/namespaces/{namespace}/deployments/logging")

    handover.check(stack(namespace))
