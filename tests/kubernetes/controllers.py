"""What controllers and operators would say in a cluster where all is well, on an API server on which none of them runs.

A stand-in for them, for those who wait: it makes no pod and no queue, it only marks each object as ready.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.kubernetes.apiserver import ApiServer, Refused

MERGE = {"Content-Type": "application/merge-patch+json"}
BROKER = ("bindings", "exchanges", "permissions", "policies", "queues", "topicpermissions", "users")
DEPLOYMENTS = "/apis/apps/v1/namespaces/{}/deployments"
SERVICES = "/api/v1/namespaces/{}/services"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices"
LOOK_AGAIN = 0.2  # seconds


@contextmanager
def all_is_well(server: ApiServer, namespace: str) -> Iterator[None]:
    """As long as the block runs, everything in the namespace becomes ready soon after it was made or changed."""
    over = threading.Event()

    def work() -> None:
        while not over.wait(LOOK_AGAIN):
            _deployments(server, namespace)
            _broker_objects(server, namespace)
            _services(server, namespace)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        yield
    finally:
        over.set()
        worker.join()


def _deployments(server: ApiServer, namespace: str) -> None:
    listed = DEPLOYMENTS.format(namespace)
    for entry in server.request("GET", listed)["items"]:
        replicas, generation = entry["spec"]["replicas"], entry["metadata"]["generation"]
        counts = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
        said = {
            "observedGeneration": generation,
            "conditions": [_true("Available"), _true("Progressing") | {"reason": "NewReplicaSetAvailable"}],
            **dict.fromkeys(counts, replicas),
        }
        if entry["status"].get("observedGeneration") != generation:
            _mark(server, f"{listed}/{entry['metadata']['name']}/status", said)


def _broker_objects(server: ApiServer, namespace: str) -> None:
    for kind in BROKER:
        listed = f"/apis/rabbitmq.com/v1beta1/namespaces/{namespace}/{kind}"
        for entry in server.request("GET", listed)["items"]:
            generation = entry["metadata"]["generation"]
            if entry.get("status", {}).get("observedGeneration") != generation:
                said = {"observedGeneration": generation, "conditions": [_true("Ready")]}
                said |= {"username": "user"} if kind == "users" else {}  # its definition asks for it
                _mark(server, f"{listed}/{entry['metadata']['name']}/status", said)


def _services(server: ApiServer, namespace: str) -> None:
    listed = SLICES.format(namespace)
    known = {entry["metadata"]["name"] for entry in server.request("GET", listed)["items"]}
    for entry in server.request("GET", SERVICES.format(namespace))["items"]:
        if (name := entry["metadata"]["name"]) not in known:
            labels = {"kubernetes.io/service-name": name}
            answering = {"addresses": ["10.0.0.1"], "conditions": {"ready": True}}
            server.request(
                "POST",
                listed,
                json={"metadata": {"name": name, "labels": labels}, "addressType": "IPv4", "endpoints": [answering]},
            )


def _true(condition: str) -> dict[str, Any]:
    return {"type": condition, "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}


def _mark(server: ApiServer, path: str, status: dict[str, Any]) -> None:
    try:
        server.request("PATCH", path, json={"status": status}, headers=MERGE)
    except Refused as refusal:
        if "not found" not in str(refusal):  # it was deleted meanwhile
            raise
