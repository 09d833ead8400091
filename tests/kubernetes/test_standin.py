"""The stand-in for the Kubernetes plugin against a real API server: applies, waits, deletes, and tells why not."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import yaml

from tests.kubernetes.apiserver import ApiServer
from tests.kubernetes.stack import ClusterStack
from tests.kubernetes.standin.cluster import MANAGER, Cluster, NotReady, Refused

pytestmark = pytest.mark.servers

LABELS = {"app": "app"}
QUEUE = {"name": "q", "type": "quorum", "rabbitmqClusterReference": {"name": "rabbitmq"}}
READY = {"waitFor": "condition=Ready"}


@pytest.fixture(scope="module")
def cluster(api_server: ApiServer) -> Cluster:
    return Cluster(str(api_server.kubeconfig))


@pytest.fixture(scope="module")
def namespace(api_server: ApiServer) -> str:
    return api_server.namespace()


def deployment(namespace: str, name: str, replicas: int = 2) -> dict[str, Any]:
    template = {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "app", "image": "app"}]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"replicas": replicas, "selector": {"matchLabels": LABELS}, "template": template},
    }


def queue(namespace: str, name: str) -> dict[str, Any]:
    annotations = {f"pulumi.com/{key}": value for key, value in READY.items()}
    return {
        "apiVersion": "rabbitmq.com/v1beta1",
        "kind": "Queue",
        "metadata": {"name": name, "namespace": namespace, "annotations": annotations},
        "spec": QUEUE,
    }


@contextmanager
def soon(server: ApiServer, manifest: dict[str, Any], patch: dict[str, Any], *, part: str = "") -> Iterator[None]:
    """Meanwhile somebody else changes the object (or its `part`), as a controller would."""
    change = threading.Timer(
        0.3,
        server.request,
        ("PATCH", server.path(manifest) + part),
        {"json": patch, "headers": {"Content-Type": "application/merge-patch+json"}},
    )
    change.start()
    yield
    change.join()


def test_a_deployment_is_awaited_until_only_the_newest_pods_run(
    api_server: ApiServer, cluster: Cluster, namespace: str
) -> None:
    """A pod of an older template that still runs keeps it waiting."""
    wanted = deployment(namespace, "awaited")
    cluster.apply(wanted, force=False, preview=False)
    counts = {"observedGeneration": 1, "replicas": 3, "updatedReplicas": 2, "availableReplicas": 2, "readyReplicas": 2}
    with soon(api_server, wanted, {"status": counts}, part="/status"), pytest.raises(NotReady, match="after 1 s"):
        cluster.wait(wanted, 0.6)

    with soon(api_server, wanted, {"status": counts | {"replicas": 2}}, part="/status"):
        assert 2 == cluster.wait(wanted, 10)["status"]["replicas"]


def test_a_condition_is_awaited_and_a_missing_one_told(api_server: ApiServer, cluster: Cluster, namespace: str) -> None:
    """What the object says about itself is in the message."""
    wanted = queue(namespace, "awaited")
    cluster.apply(wanted, force=False, preview=False)
    refused = {"type": "Ready", "status": "False", "reason": "Failed", "message": "no such broker"}
    with (
        soon(api_server, wanted, {"status": {"conditions": [refused]}}, part="/status"),
        pytest.raises(NotReady, match=r"Queue awaited is not ready after 1 s; Ready=False: no such broker"),
    ):
        cluster.wait(wanted, 0.6)

    ready = refused | {"status": "True", "message": "", "reason": "Ready"}
    with soon(api_server, wanted, {"status": {"conditions": [ready]}}, part="/status"):
        assert [ready["status"]] == [c["status"] for c in cluster.wait(wanted, 10)["status"]["conditions"]]


def test_a_deleted_object_is_awaited_until_it_is_gone(api_server: ApiServer, cluster: Cluster, namespace: str) -> None:
    """An operator that has something to clean up first keeps the object by a finalizer."""
    wanted = queue(namespace, "kept")
    wanted["metadata"]["finalizers"] = ["tests/kept"]
    cluster.apply(wanted, force=False, preview=False)
    with pytest.raises(NotReady, match="Queue kept is still there after 0 s"):
        cluster.delete(wanted, 0.3)

    with soon(api_server, wanted, {"metadata": {"finalizers": None}}):
        cluster.delete(wanted, 10)

    assert cluster.get(wanted) is None
    cluster.delete(wanted, 10)


def test_another_managers_field_is_taken_only_by_force(api_server: ApiServer, cluster: Cluster, namespace: str) -> None:
    """As the official plugin: a conflict is told, and patchForce takes the field back."""
    cluster.apply(deployment(namespace, "contended"), force=False, preview=False)
    api_server.apply(deployment(namespace, "contended", replicas=5), manager="hand", force=True)
    wanted = deployment(namespace, "contended")
    with pytest.raises(Refused, match=r'conflict with "hand"[^:]*: \.spec\.replicas'):
        cluster.apply(wanted, force=False, preview=False)

    assert 2 == cluster.apply(wanted, force=True, preview=True)["spec"]["replicas"]
    assert 5 == (cluster.get(wanted) or {})["spec"]["replicas"]
    applied = cluster.apply(wanted, force=True, preview=False)
    owners = [entry["manager"] for entry in applied["metadata"]["managedFields"]]
    assert (2, True) == (applied["spec"]["replicas"], MANAGER in owners)


def test_what_cannot_be_applied_is_told(api_server: ApiServer, cluster: Cluster, namespace: str) -> None:
    unknown = {**queue(namespace, "q"), "kind": "Kew"}
    with pytest.raises(Refused, match=r'no matches for kind "Kew" in version "rabbitmq\.com/v1beta1"'):
        cluster.apply(unknown, force=False, preview=False)

    gone = yaml.safe_load(api_server.kubeconfig.read_text())
    gone["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    with pytest.raises(Refused, match="configured Kubernetes cluster is unreachable"):
        Cluster(yaml.safe_dump(gone)).get(queue(namespace, "q"))


PROGRAM = """
import pulumi
import pulumi_kubernetes as kubernetes

kubernetes.apiextensions.CustomResource(
    "queue",
    api_version="rabbitmq.com/v1beta1",
    kind="Queue",
    metadata={"name": "late", "namespace": "NAMESPACE", "annotations": {"pulumi.com/waitFor": "condition=Ready"}},
    spec={"name": "q", "type": "quorum", "rabbitmqClusterReference": {"name": "rabbitmq"}},
    opts=pulumi.ResourceOptions(custom_timeouts=pulumi.CustomTimeouts(create="1s", update="2s")),
)
"""


def test_what_exists_and_is_not_ready_is_in_the_state(
    api_server: ApiServer, namespace: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The engine is told of it as such: the next `up` waits again, and `destroy` deletes it."""
    stack = ClusterStack.made(tmp_path_factory.mktemp("late"), "dev", api_server)
    (stack.folder / "infra/__main__.py").write_text(PROGRAM.replace("NAMESPACE", namespace))
    awaiting = replace(stack, env={**stack.env, "STANDIN_AWAIT": "on"}, stays=())

    for seconds in (1, 2):
        said = awaiting.run("up", "--stack", "dev", "--yes", "--skip-preview", fails=True)
        assert f"Queue late is not ready after {seconds} s" in said

    ready = {"type": "Ready", "status": "True"}
    late = queue(namespace, "late")
    api_server.request(
        "PATCH", api_server.path(late) + "/status", json={"status": {"conditions": [ready]}},
        headers={"Content-Type": "application/merge-patch+json"},
    )  # fmt: skip
    assert [] == awaiting.up()  # by the look before it: what became ready meanwhile needs no waiting

    awaiting.destroy()
    assert Cluster(str(api_server.kubeconfig)).get(late) is None
