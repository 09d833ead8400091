"""Deployments on a real API server: `oncall drift` names a hand on their replicas, `oncall status` counts them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from catalog import CATALOG
from infra import render, settings
from oncall.deployments import replicas, scaled_by_hand
from oncall.endpoints import Account, Cluster, Endpoints, Login
from oncall.trouble import Trouble
from tests.kubernetes.apiserver import ApiServer

pytestmark = pytest.mark.servers


@pytest.fixture
def namespace(api_server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """A namespace with the Deployments of a stack."""
    # the client library read the variable when it was imported
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(api_server.kubeconfig))
    namespace = api_server.namespace()
    wanted = {
        "target": "kubernetes",
        "kubernetes.namespace": namespace,
        "image": f"registry.example/consumers@sha256:{'5' * 64}",
        "broker.cluster": "rabbitmq",
        "sinks.secret": "sinks",
        "cosmos_db.endpoint": "https://risk.documents.azure.com",
    }
    stack = settings.parse(wanted, (), stack="test", root=Path("/project"))
    for manifest in render.manifests(render.registered(stack)):
        if manifest["kind"] == "Deployment":
            api_server.apply(manifest)
    return namespace


def endpoints(cluster: Cluster) -> Endpoints:
    return Endpoints(
        file=Path("endpoints.json"),
        amqp="",
        management=Login("", "", ""),
        prometheus="",
        alertmanager="",
        cosmos=Account("", "", ""),
        services={},
        kubernetes=cluster,
        catalog=CATALOG,
    )


def named(namespace: str, **more: Any) -> list[str]:
    return [str(finding) for finding in scaled_by_hand(endpoints(Cluster(namespace, **more)))]


def scale(api_server: ApiServer, namespace: str, replicas: int) -> None:
    """As `kubectl scale` does it."""
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/logging/scale"
    merge = {"Content-Type": "application/merge-patch+json"}
    api_server.request("PATCH", path, json={"spec": {"replicas": replicas}}, headers=merge)


@pytest.mark.parametrize("replicas", [0, 3])
def test_a_scale_by_hand_is_named(api_server: ApiServer, namespace: str, replicas: int) -> None:
    """With what sets it back, and what keeps it."""
    assert [] == named(namespace)

    scale(api_server, namespace, replicas)

    what = f"deployment logging has {replicas} replicas, 1 are declared: somebody scaled it by hand"
    keep = f"pulumi config set replicas.logging {replicas}"
    assert [f"{what}: `pulumi up` sets it back; to keep it: {keep}"] == named(namespace)


def test_what_an_autoscaler_decides_is_no_drift(api_server: ApiServer, namespace: str) -> None:
    """There the number is the autoscaler's."""
    scale(api_server, namespace, 3)

    assert [] == named(namespace, autoscaled=frozenset({"logging"}))


def test_a_deployment_that_is_gone_is_named(api_server: ApiServer, namespace: str) -> None:
    """Somebody deleted it."""
    api_server.request("DELETE", f"/apis/apps/v1/namespaces/{namespace}/deployments/logging")

    assert ["deployment logging does not exist: `pulumi up` makes it"] == named(namespace)


def test_a_context_that_does_not_exist_is_told(namespace: str) -> None:
    """One message instead of a traceback."""
    with pytest.raises(Trouble, match="kubeconfig has no usable context nowhere"):
        named(namespace, context="nowhere")


def test_status_counts_replicas_as_the_cluster_does(api_server: ApiServer, namespace: str) -> None:
    """Ready of wanted for each service; one address stands for all its pods and could not tell."""
    scale(api_server, namespace, 3)
    status = {"status": {"replicas": 3, "readyReplicas": 2}}
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/logging/status"
    api_server.request("PATCH", path, json=status, headers={"Content-Type": "application/merge-patch+json"})
    api_server.request("DELETE", f"/apis/apps/v1/namespaces/{namespace}/deployments/risk-analytics")

    counted = replicas(endpoints(Cluster(namespace)))

    assert {"risk-analytics": (0, 1), "logging": (2, 3), "analytics-service": (0, 1)} == counted
