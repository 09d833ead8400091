"""Pods on a real API server: whom `oncall pause` would tell, and what it says when it may not, or cannot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from oncall import pods
from oncall.endpoints import Cluster
from oncall.trouble import Trouble
from tests.kubernetes.apiserver import ApiServer

pytestmark = pytest.mark.servers

LIST = {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}
EXEC = {"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["get", "create"]}


@pytest.fixture
def namespace(api_server: ApiServer) -> str:
    """A namespace with a pod of `logging` that runs, one that does not yet, and one of another service."""
    namespace = api_server.namespace(enforce="privileged")
    for name, service, phase in (("a", "logging", "Running"), ("b", "logging", "Pending"), ("c", "other", "Running")):
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace, "labels": {"app.kubernetes.io/name": service}},
            "spec": {"containers": [{"name": service, "image": "registry.example/consumers"}]},
        }
        api_server.apply(pod)
        merge = {"Content-Type": "application/merge-patch+json"}
        api_server.request("PATCH", f"{api_server.path(pod)}/status", json={"status": {"phase": phase}}, headers=merge)
    return namespace


def told(
    api_server: ApiServer,
    monkeypatch: pytest.MonkeyPatch,
    namespace: str,
    rules: Sequence[Any],
    service: str = "logging",
) -> dict[str, str]:
    """What becomes of a signal that a user with these rights sends."""
    # the client library read the variable when it was imported
    place = "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION"
    monkeypatch.setattr(place, str(api_server.user(namespace, rules)))
    return pods.signal(Cluster(namespace), service, "USR1")


def test_running_pods_of_the_service_are_told(
    api_server: ApiServer, monkeypatch: pytest.MonkeyPatch, namespace: str
) -> None:
    """No other is; one that cannot be reached (here runs no node) is named in the server's own words."""
    found = told(api_server, monkeypatch, namespace, [LIST, EXEC])

    assert {"a": "pod a does not have a host assigned"} == found


def test_the_right_that_is_missing_is_named(
    api_server: ApiServer, monkeypatch: pytest.MonkeyPatch, namespace: str
) -> None:
    """With the server's sentence and the command that tells whether one has it."""
    with pytest.raises(Trouble) as caught:
        told(api_server, monkeypatch, namespace, [LIST])
    said = str(caught.value)

    assert said.startswith(f'this user may run nothing in the pods of {namespace} (pods "a" is forbidden: User ')
    assert "it takes the right to get and create `pods/exec`" in said
    assert said.endswith(f"`kubectl auth can-i create pods --subresource=exec -n {namespace}` tells")


def test_a_user_who_may_not_even_look_is_told(
    api_server: ApiServer, monkeypatch: pytest.MonkeyPatch, namespace: str
) -> None:
    """The same words as for Deployments."""
    with pytest.raises(Trouble, match=r"answers 403 \(Forbidden\) to a look at Pods in .*can-i list pods -n "):
        told(api_server, monkeypatch, namespace, [])


def test_a_service_without_pods_is_told(api_server: ApiServer, monkeypatch: pytest.MonkeyPatch, namespace: str) -> None:
    """Nobody was paused, so it must not look like a success."""
    with pytest.raises(Trouble, match=f"no pod of risk-analytics runs in {namespace}"):
        told(api_server, monkeypatch, namespace, [LIST, EXEC], "risk-analytics")
