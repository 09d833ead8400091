"""What follows for a service's pods, network and autoscaler from the catalog and from one setting each."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from catalog import CATALOG
from catalog.services import ANALYTICS, LOGGING, RISK_ANALYTICS
from infra import render, settings
from infra.cluster import sinks
from infra.cluster.settings import Sinks

GOOD = {
    "target": "kubernetes",
    "kubernetes.namespace": "bi-risk",
    "image": "registry.example/consumers@sha256:" + "5" * 64,
    "broker.cluster": "rabbitmq",
    "broker.cluster_namespace": "messaging",
    "cosmos_db.endpoint": "https://risk.documents.azure.com",
    "sinks.secret": "sinks",
}
IDENTITY = {
    "azure.client_id": "11111111-2222-3333-4444-555555555555",
    "data_lake.account": "https://lake.blob.core.windows.net",
}
AUTOSCALED = {f"autoscaling.{service.name}": "on" for service in CATALOG.services}
STRINGS = Sinks(
    connection_string="AccountName=lake;AccountKey=c2VjcmV0", cosmos_endpoint="https://risk.documents.azure.com",
    cosmos_key="a2V5", secret="", client_id="", account="", create=True,
)  # fmt: skip


def objects(changes: Mapping[str, str] | None = None) -> dict[tuple[str, str], Any]:
    """Every object of a stack by kind and name; a setting that is empty is taken out."""
    return _objects(tuple({**GOOD, **(changes or {})}.items()))


@cache
def _objects(config: tuple[tuple[str, str], ...]) -> dict[tuple[str, str], Any]:
    values = {key: value for key, value in config if value}
    stack = settings.parse(values, (), stack="test", root=Path("/project"))
    return {(o["kind"], o["metadata"]["name"]): o for o in render.manifests(render.registered(stack))}


def pod(name: str, found: Mapping[tuple[str, str], Any]) -> dict[str, Any]:
    spec: dict[str, Any] = found["Deployment", name]["spec"]["template"]["spec"]
    return spec


def told(name: str, found: Mapping[tuple[str, str], Any]) -> dict[str, str]:
    """What a container reads from its environment, a field of its own pod as <path>."""
    variables = pod(name, found)["containers"][0]["env"]
    return {
        entry["name"]: entry.get("value") or f"<{entry['valueFrom']['fieldRef']['fieldPath']}>" for entry in variables
    }


def autoscaled(changes: Mapping[str, str] | None = None) -> dict[tuple[str, str], Any]:
    return objects({**AUTOSCALED, **(changes or {})})


def test_a_container_is_told_where_its_credentials_are() -> None:
    """Two queues' names and prefetches, addresses without a password, and files in place of secrets."""
    assert {
        "DATA_LAKE_CONNECTION_STRING_FILE": "/etc/credentials/sinks/data_lake_connection_string",
        "DATA_LAKE_CONTAINER": "risk",
        "HOST": "0.0.0.0",
        "PORT": "3014",
        "RABBITMQ_CREDENTIALS": "/etc/credentials/rabbitmq",
        "RABBITMQ_DATA_LAKE_PREFETCH": "10",
        "RABBITMQ_DATA_LAKE_QUEUE": "logging_data_lake",
        "RABBITMQ_ML_AUDIT_PREFETCH": "10",
        "RABBITMQ_ML_AUDIT_QUEUE": "logging_ml_audit",
        "RABBITMQ_URL": "amqp://rabbitmq.messaging.svc:5672/%2F",
        "REPLICA": "<metadata.name>",
    } == told("logging", objects())


def test_a_new_generation_of_credentials_is_another_secret() -> None:
    """The pods roll because the name of what they mount changes."""
    volumes = pod("logging", objects({"credentials.generation": "2"}))["volumes"]

    assert ["logging-rabbitmq-2"] == [v["secret"]["secretName"] for v in volumes if v["name"] == "rabbitmq"]


def test_an_identity_takes_the_place_of_keys() -> None:
    """The webhook needs a label on the pod and the client id on its account; there is nothing to mount."""
    found = objects({"sinks.secret": "", **IDENTITY})
    variables = told("logging", found)

    assert (
        "true"
        == found["Deployment", "logging"]["spec"]["template"]["metadata"]["labels"]["azure.workload.identity/use"]
    )
    assert (
        IDENTITY["azure.client_id"]
        == (found["ServiceAccount", "logging"]["metadata"]["annotations"]["azure.workload.identity/client-id"])
    )
    assert ["rabbitmq", "tmp"] == sorted(volume["name"] for volume in pod("logging", found)["volumes"])
    assert IDENTITY["data_lake.account"] == variables["DATA_LAKE_ACCOUNT"]
    assert [] == [name for name in variables if name.startswith(("DATA_LAKE_CONNECTION", "COSMOS_DB_KEY"))]


@pytest.mark.parametrize(
    ("service", "memory", "cpu"),
    [
        # 1.25 x and 2 x what was measured, and a MiB for each event that may be in hand
        pytest.param(RISK_ANALYTICS, ("139Mi", "223Mi"), "2", id="a job's thread beside the loop"),
        pytest.param(LOGGING, ("112Mi", "198Mi"), "1", id="two queues of ten"),
        pytest.param(ANALYTICS, ("65Mi", "114Mi"), "1", id="one queue of ten"),
    ],
)
def test_limits_follow_from_what_was_measured(service: Any, memory: tuple[str, str], cpu: str) -> None:
    resources = pod(service.name, objects())["containers"][0]["resources"]

    assert {
        "requests": {"cpu": "100m", "memory": memory[0]},
        "limits": {"cpu": cpu, "memory": memory[1]},
    } == resources


def test_more_events_in_hand_may_take_more_memory() -> None:
    resources = pod("analytics-service", objects({"rabbitmq.usage.prefetch": "300"}))["containers"][0]["resources"]

    assert "404Mi" == resources["limits"]["memory"]


def test_the_slowest_queue_decides_how_long_a_pod_may_take_to_end() -> None:
    """Ten minutes where an hour would be needed: a node drain waits no longer."""
    assert {"risk-analytics": 600, "logging": 60, "analytics-service": 60} == {
        service.name: pod(service.name, objects())["terminationGracePeriodSeconds"] for service in CATALOG.services
    }


def test_only_who_tells_its_cost_may_change_anything() -> None:
    """The batch worker notes on its own pod how bad it is to end it: one verb, one kind, one token."""
    found = objects({"autoscaling.deletion_cost": "on"})

    assert [("Role", "risk-analytics")] == [key for key in found if key[0] == "Role"]
    assert [{"apiGroups": [""], "resources": ["pods"], "verbs": ["patch"]}] == found["Role", "risk-analytics"]["rules"]
    assert {"risk-analytics": True, "logging": False, "analytics-service": False} == {
        service.name: pod(service.name, found)["automountServiceAccountToken"] for service in CATALOG.services
    }
    assert ("on", "<metadata.name>", "<metadata.namespace>") == tuple(
        told("risk-analytics", found)[name] for name in ("DELETION_COST", "POD_NAME", "POD_NAMESPACE")
    )
    assert [] == [key for key in objects() if key[0] in ("Role", "RoleBinding")]


def test_pods_talk_to_nobody_else() -> None:
    """In: who scrapes. Out: names, the broker's pods, the stores."""
    spec = objects()["NetworkPolicy", "logging"]["spec"]
    in_messaging = {"matchLabels": {"kubernetes.io/metadata.name": "messaging"}}

    assert ["Ingress", "Egress"] == spec["policyTypes"]
    assert [
        {
            "from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
            "ports": [{"port": "http", "protocol": "TCP"}],
        }
    ] == spec["ingress"]
    assert [
        {
            "to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}],
            "ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}],
        },
        {
            "to": [
                {
                    "namespaceSelector": in_messaging,
                    "podSelector": {"matchLabels": {"app.kubernetes.io/name": "rabbitmq"}},
                }
            ],
            "ports": [{"port": 5672, "protocol": "TCP"}],
        },
        {"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}], "ports": [{"port": 443, "protocol": "TCP"}]},
    ] == spec["egress"]


def test_a_broker_outside_is_a_network() -> None:
    found = objects(
        {
            "broker.cluster": "",
            "broker.cluster_namespace": "",
            "broker.connection_secret": "broker",
            "broker.amqp": "amqps://rabbitmq.example",
            "network.broker": "10.1.2.0/24",
        }
    )

    assert {"to": [{"ipBlock": {"cidr": "10.1.2.0/24"}}], "ports": [{"port": 5671, "protocol": "TCP"}]} in (
        found["NetworkPolicy", "logging"]["spec"]["egress"]
    )


def test_collectors_are_scaled_by_what_waits() -> None:
    """One trigger for each queue, whose value is what a replica handles within the promise."""
    spec = autoscaled({"replicas.logging": "2"})["ScaledObject", "logging"]["spec"]

    assert (2, 6) == (spec["minReplicaCount"], spec["maxReplicaCount"])
    assert [("logging_data_lake", "300", "true"), ("logging_ml_audit", "600", "true")] == [
        (trigger["metadata"]["queueName"], trigger["metadata"]["value"], trigger["metadata"]["excludeUnacknowledged"])
        for trigger in spec["triggers"]
    ]
    assert {"stabilizationWindowSeconds": 300, "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]} == (
        spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]
    )


def test_the_batch_worker_is_scaled_by_jobs_in_work_too() -> None:
    """A worker in the middle of a job is not one too many, and an hour passes before one goes."""
    spec = autoscaled()["ScaledObject", "risk-analytics"]["spec"]
    [trigger] = spec["triggers"]

    assert {
        "protocol": "http",
        "host": "http://rabbitmq.messaging.svc:15672",
        "vhostName": "/",
        "queueName": "bi_batch_jobs",
        "mode": "QueueLength",
        "value": "4",
        "excludeUnacknowledged": "false",
    } == trigger["metadata"]
    assert {"stabilizationWindowSeconds": 3600, "policies": [{"type": "Pods", "value": 1, "periodSeconds": 1800}]} == (
        spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]
    )


def test_a_silent_broker_is_no_reason_to_have_fewer() -> None:
    spec = autoscaled({"replicas.logging": "2"})["ScaledObject", "logging"]["spec"]

    assert {"failureThreshold": 3, "replicas": 2, "behavior": "currentReplicasIfHigher"} == spec["fallback"]


def test_the_autoscaler_asks_as_somebody_who_may_only_look() -> None:
    found = autoscaled({"credentials.generation": "3"})

    assert {"autoscaler-rabbitmq-3"} == {
        target["name"] for target in found["TriggerAuthentication", "logging"]["spec"]["secretTargetRef"]
    }
    assert ("Secret", "autoscaler-rabbitmq-3") in found


def test_a_service_gets_only_the_keys_that_it_needs() -> None:
    """The lake's writer has no key of the documents, and the other way round."""
    assert [
        {"cosmos_db_key", "data_lake_connection_string"},
        {"data_lake_connection_string"},
        {"cosmos_db_key"},
    ] == [set(sinks.contents(CATALOG, service, STRINGS)) for service in (RISK_ANALYTICS, LOGGING, ANALYTICS)]


def test_another_key_is_another_secret() -> None:
    """Pods roll to it, and those of the version before keep theirs; the name tells nothing of the key."""
    rotated = Sinks(**{**vars(STRINGS), "cosmos_key": "b3RoZXI="})

    assert sinks.secret_name(CATALOG, ANALYTICS, STRINGS) != sinks.secret_name(CATALOG, ANALYTICS, rotated)
    assert sinks.secret_name(CATALOG, LOGGING, STRINGS) == sinks.secret_name(CATALOG, LOGGING, rotated)
