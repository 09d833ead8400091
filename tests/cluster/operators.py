"""Between the stack's custom resources and what they ask for: the real operators, as programs of the node."""

from __future__ import annotations

from functools import partial
from typing import Any

from tests.cluster.node import Node, is_true
from tests.cluster.programs import flags
from tests.cluster.world import ADDRESS
from tests.kubernetes.apiserver import definitions
from tools import folder
from tools.foreground import LOOPBACK, answers

KEDA = "keda"
ADAPTER = 6444
METRICS = "v1beta1.external.metrics.k8s.io"


def start(node: Node) -> None:
    """Bring their definitions and start them; return when the autoscaler can ask KEDA. Raises Failed."""
    files = {*definitions(), *folder("crds").glob("*keda.sh_*.yaml")}  # KEDA ends where one of its own is missing
    node.kubectl.run("apply", "--server-side", *(f"--filename={file}" for file in sorted(files)))
    node.kubectl.apply(*_aggregation())
    own = {"KUBECONFIG": str(node.kubeconfig)}
    keda = {**own, "POD_NAMESPACE": KEDA, "KEDA_CLUSTER_OBJECT_NAMESPACE": KEDA, "WATCH_NAMESPACE": ""}
    run = node.programs.start
    run("topology-operator", _topology_operator(), {**own, "OPERATOR_NAMESPACE": KEDA, "ENABLE_WEBHOOKS": "false"})
    run("keda-operator", _keda_operator(node), keda)
    run("keda-adapter", _keda_adapter(node), keda)
    for name, port in (("topology-operator", 8082), ("keda-operator", 8083)):
        node.programs.wait(f"{name} is ready", partial(answers, f"http://{LOOPBACK}:{port}/readyz"))
    node.programs.wait("KEDA serves metrics", lambda: _is_available(node))


def _is_available(node: Node) -> bool:
    service = node.kubectl.find("apiservice", METRICS) or {}
    return any(is_true(condition, "Available") for condition in service.get("status", {}).get("conditions", ()))


def _topology_operator() -> list[str]:
    return flags(
        "topology-operator",
        health_probe_bind_address=f"{LOOPBACK}:8082",
        metrics_bind_address="0",
    )


def _keda_operator(node: Node) -> list[str]:
    return flags(
        "keda-operator",
        cert_dir=node.pki,
        metrics_bind_address=f"{LOOPBACK}:8084",
        health_probe_bind_address=f"{LOOPBACK}:8083",
        metrics_service_bind_address=f"{LOOPBACK}:9666",
        zap_log_level="info",
    )


def _keda_adapter(node: Node) -> list[str]:
    config = node.kubeconfig
    return flags(
        "keda-adapter",
        secure_port=ADAPTER,
        port=8085,
        cert_dir=node.pki,
        tls_cert_file=node.pki / "tls.crt",
        tls_private_key_file=node.pki / "tls.key",
        client_ca_file=node.pki / "ca.crt",
        metrics_service_address="localhost:9666",
        lister_kubeconfig=config,
        authentication_kubeconfig=config,
        authorization_kubeconfig=config,
    )


def _aggregation() -> list[dict[str, Any]]:
    """How the API server reaches the adapter, which is no pod here."""
    name = "keda-metrics-apiserver"
    meta = {"name": name, "namespace": KEDA}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": KEDA}},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": meta,
            "spec": {"ports": [{"name": "https", "port": 443, "targetPort": ADAPTER}]},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**meta, "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "ports": [{"name": "https", "port": ADAPTER}],
            "endpoints": [{"addresses": [ADDRESS], "conditions": {"ready": True}}],
        },
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": METRICS},
            "spec": {
                "service": {"name": name, "namespace": KEDA},
                "group": METRICS.partition(".")[2],
                "version": METRICS.partition(".")[0],
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "insecureSkipTLSVerify": True,
            },
        },
    ]
