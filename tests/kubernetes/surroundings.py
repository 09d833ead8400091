"""What a stack finds in a cluster where others did their part: a broker that an operator runs, the sinks' Secret."""

from __future__ import annotations

from typing import Any

from infra.cluster.checks import ALLOWED
from infra.cluster.sinks import KEYS
from tests.kubernetes.apiserver import ApiServer


def surround(server: ApiServer, namespace: str, *, home: str = "", lets_in: str = "*") -> None:
    """Make them, the RabbitmqCluster in namespace `home` where it is another one; it takes objects from `lets_in`."""
    if home:
        server.namespace(home)
    server.apply(secret(namespace, "sinks", *KEYS.values()))
    server.apply({
        "apiVersion": "rabbitmq.com/v1beta1",
        "kind": "RabbitmqCluster",
        "metadata": {"name": "rabbitmq", "namespace": home or namespace, "annotations": {ALLOWED: lets_in}},
    })  # fmt: skip


def secret(namespace: str, name: str, *keys: str, labels: dict[str, str] | None = None) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace, "labels": labels or {}},
        "stringData": dict.fromkeys(keys, "for-this-test"),
    }
