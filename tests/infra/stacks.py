"""The stacks that are looked at as a whole: those of the repository, and one for each other way to set one up."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache

from infra import render, settings
from infra.recorder import SECRET, Registered
from infra.settings import Settings
from tests.infra.review import Manifest
from tools.cache import ROOT

COMMITTED = tuple(render.clustered())
IMAGE = "registry.example/consumers@sha256:" + "5" * 64
PLAIN = {
    "target": "kubernetes",
    "kubernetes.namespace": "bi-risk",
    "image": IMAGE,
    "cosmos_db.endpoint": "https://risk.documents.azure.com",
    "links.runbooks": "https://git.example/consumer-scaling/runbooks",
    "links.grafana": "https://grafana.example",
}
KEYS = {
    "data_lake.connection_string": "AccountName=lake;AccountKey=c2VjcmV0",
    "cosmos_db.key": "c2VjcmV0",
}
IDENTITY = {
    "azure.client_id": "11111111-2222-3333-4444-555555555555",
    "data_lake.account": "https://lake.blob.core.windows.net",
}
OUTSIDE = {
    "broker.amqp": "amqps://rabbitmq.example:5671/%2F",
    "broker.http": "https://rabbitmq.example:15671",
    "network.broker": "10.1.2.0/24",
}
SWITCHED_ON = {
    "autoscaling.risk-analytics": "on",
    "autoscaling.logging": "on",
    "autoscaling.analytics-service": "on",
    "autoscaling.deletion_cost": "on",
    "exchange.manage": "on",
    "image.pull_secret": "registry",
    "credentials.generation": "2",
    "monitoring.labels": json.dumps({"release": "kube-prometheus-stack"}),
    "monitoring.folder": "BI",
}
VARIANTS = {
    "everything on": {"broker.cluster": "rabbitmq", **PLAIN, **KEYS, **SWITCHED_ON},
    "workload identity": {"broker.cluster": "rabbitmq", **PLAIN, **IDENTITY},
    "a broker outside": {"broker.connection_secret": "broker", **OUTSIDE, **PLAIN, **KEYS},
    "a managed broker": {
        "broker.objects": "api",
        "broker.admin_url": "https://rabbitmq.example:15671",
        "broker.admin_user": "admin",
        "broker.admin_password": SECRET,
        **OUTSIDE,
        **PLAIN,
        "sinks.secret": "sinks",
    },
}
STACKS = (*COMMITTED, *VARIANTS)
HIDDEN = ("data_lake.connection_string", "cosmos_db.key", "broker.admin_password")


@cache
def stack(name: str) -> Settings:
    if name in COMMITTED:
        return render.load(name)
    return parsed(VARIANTS[name])


def parsed(values: Mapping[str, str]) -> Settings:
    return settings.parse(values, HIDDEN, stack="test", root=ROOT)


@cache
def registered(name: str) -> tuple[Registered, ...]:
    """Everything that a stack's program asks for."""
    return tuple(render.registered(stack(name)))


def manifests(name: str) -> list[Manifest]:
    return [dict(entry) for entry in render.manifests(registered(name))]
