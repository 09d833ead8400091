"""A binding's custom resource on a real API server: it is gone when the services change, or the update says why not."""

from __future__ import annotations

from typing import Any

import pytest

from infra import retire
from tests.kubernetes.apiserver import ApiServer, Refused

pytestmark = pytest.mark.servers

KEPT, GONE = "bindings/%2F/e/coder_events/q/usage/kept", "bindings/%2F/e/coder_events/q/usage/gone"


@pytest.fixture
def kubeconfig(api_server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(api_server.kubeconfig))
    # the client library read the variable when it was imported
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(api_server.kubeconfig))


def binding(api_server: ApiServer, namespace: str, name: str, finalizers: tuple[str, ...] = ()) -> dict[str, Any]:
    made = {
        "apiVersion": f"{retire.GROUP}/{retire.VERSION}",
        "kind": "Binding",
        "metadata": {"name": name, "namespace": namespace, "finalizers": list(finalizers)},
        "spec": {"source": "coder_events", "destination": "usage", "rabbitmqClusterReference": {"name": "rabbitmq"}},
    }
    return api_server.apply(made)


def update(namespace: str) -> None:
    olds = {"bindings": {KEPT: "kept", GONE: "gone"}, "context": "tests", "namespace": namespace}
    news = {**olds, "bindings": {KEPT: "kept"}}
    retire._CustomResources().update("bindings", olds, news)


@pytest.mark.usefixtures("kubeconfig")
def test_only_what_is_retired_goes_and_is_gone_afterwards(api_server: ApiServer) -> None:
    namespace = api_server.namespace()
    kept, gone = (binding(api_server, namespace, name) for name in ("kept", "gone"))

    update(namespace)

    assert kept["metadata"]["uid"] == api_server.request("GET", api_server.path(kept))["metadata"]["uid"]
    with pytest.raises(Refused, match='"gone" not found'):
        api_server.request("GET", api_server.path(gone))
    update(namespace)  # an update that broke off is simply done again


@pytest.mark.usefixtures("kubeconfig")
def test_an_operator_that_does_not_let_it_go_is_named(api_server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator holds a binding by a finalizer until the broker's one is deleted."""
    monkeypatch.setattr(retire, "GONE_WITHIN", 1)
    namespace = api_server.namespace()
    held = binding(api_server, namespace, "gone", ("deletion.finalizers.bindings.rabbitmq.com",))

    with pytest.raises(retire.StillThere) as refusal:
        update(namespace)

    assert (
        f"binding gone in namespace {namespace} was deleted and is there after 1 s: is the topology operator running,"
        f" and does it reach the broker? `kubectl describe binding gone --namespace {namespace}` has its last words"
    ) == str(refusal.value)
    binding(api_server, namespace, "gone")
    with pytest.raises(Refused, match='"gone" not found'):
        api_server.request("GET", api_server.path(held))
