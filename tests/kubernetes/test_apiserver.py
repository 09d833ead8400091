"""The API server of the tests bites: what production would refuse is refused here, with a reason."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from kubernetes import client, config

from tests.kubernetes.apiserver import ApiServer, Refused, definitions, pod_of
from tools.parts import PARTS

pytestmark = pytest.mark.servers

QUEUE = {
    "apiVersion": "rabbitmq.com/v1beta1",
    "kind": "Queue",
    "spec": {"name": "q", "type": "quorum", "rabbitmqClusterReference": {"name": "rabbitmq"}},
}
SAFE: dict[str, Any] = {
    "runAsNonRoot": True,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


def _in(namespace: str, manifest: dict[str, Any]) -> dict[str, Any]:
    return manifest | {"metadata": {"name": "q", "namespace": namespace}}


def _deployment(namespace: str, security: dict[str, Any]) -> dict[str, Any]:
    container = {"name": "app", "image": "app", "securityContext": security}
    labels = {"app": "app"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "app", "namespace": namespace},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }


def test_a_pod_without_rights_is_admitted_and_a_privileged_one_refused(api_server: ApiServer) -> None:
    namespace = api_server.namespace()
    assert "Pending" == api_server.apply(pod_of(_deployment(namespace, SAFE)))["status"]["phase"]

    with pytest.raises(Refused, match='violates PodSecurity "restricted:latest": privileged'):
        api_server.apply(pod_of(_deployment(namespace, {"privileged": True})))


def test_a_field_that_a_definition_does_not_have_is_refused(api_server: ApiServer) -> None:
    queue = _in(api_server.namespace(), QUEUE)
    assert "quorum" == api_server.apply(queue)["spec"]["type"]

    wrong = copy.deepcopy(queue)
    wrong["spec"]["durabel"] = True
    with pytest.raises(Refused, match=r"spec\.durabel: field not declared in schema"):
        api_server.apply(wrong)


def test_a_kind_that_nobody_defined_is_refused(api_server: ApiServer) -> None:
    with pytest.raises(Refused, match=r"rabbitmq\.com/v1beta1 has no kind Kew"):
        api_server.apply(_in("default", QUEUE | {"kind": "Kew"}))


def test_every_definition_is_established(api_server: ApiServer) -> None:
    served = client.ApiextensionsV1Api(api_server.api).list_custom_resource_definition().items
    established = {
        f"{definition.spec.group}_{definition.spec.names.plural}"
        for definition in served
        for condition in definition.status.conditions
        if (condition.type, condition.status) == ("Established", "True")
    }

    assert {file.stem for file in definitions()} == established


def test_a_dry_run_changes_nothing(api_server: ApiServer) -> None:
    queue = _in(api_server.namespace(), QUEUE)

    api_server.apply(queue, dry_run=True)

    with pytest.raises(Refused, match="not found"):
        api_server.request("GET", api_server.path(queue))


def test_two_managers_of_one_field_conflict_until_one_insists(api_server: ApiServer) -> None:
    deployment = _deployment(api_server.namespace(), SAFE)
    deployment["spec"]["replicas"] = 1
    api_server.apply(deployment, manager="hand")
    deployment["spec"]["replicas"] = 2

    with pytest.raises(Refused, match=r'conflict with "hand"[^:]*: \.spec\.replicas'):
        api_server.apply(deployment, manager="program")

    assert 2 == api_server.apply(deployment, manager="program", force=True)["spec"]["replicas"]


def test_a_user_may_do_what_the_rules_say_and_nothing_else(api_server: ApiServer) -> None:
    namespace = api_server.namespace()
    reader = api_server.user(namespace, [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}])
    with config.new_client_from_config(str(reader)) as api:
        core = client.CoreV1Api(api)
        assert [] == core.list_namespaced_config_map(namespace).items

        with pytest.raises(client.ApiException, match="cannot list resource") as refusal:
            core.list_namespaced_secret(namespace)
        api.rest_client.pool_manager.clear()

    assert 403 == refusal.value.status


def test_the_server_announces_the_version_that_was_asked_for(api_server: ApiServer) -> None:
    """Clients compare it with what they support."""
    assert f"v{PARTS['kubernetes'].version}" == client.VersionApi(api_server.api).get_code().git_version
