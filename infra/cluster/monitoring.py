"""Between the catalog and a cluster's monitoring: rules, boards and what is scraped, where its operators find them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi_kubernetes.core.v1 as core
import yaml
from pulumi_kubernetes.apiextensions import CustomResource

import alerts.build
import dashboards
from catalog import Catalog
from catalog.metrics import BROKER_FAMILIES
from infra.cluster.place import COMPONENT, INSTANCE, NAME, PART_OF, PROJECT, Place
from infra.cluster.pods import HTTP
from infra.cluster.settings import BrokerAccess, Watching

API = "monitoring.coreos.com/v1"
MONITORING = "monitoring"
INTERVAL = "15s"  # the broker refreshes what it tells every 5 s
FOLDER = "grafana_folder"  # annotation that Grafana's sidecar reads in its usual configuration
LARGEST = 1024 * 1024  # bytes in a ConfigMap


class BoardTooLarge(ValueError):
    """A board does not fit into a ConfigMap; the text says what to do."""


def rules(catalog: Catalog, watching: Watching) -> dict[str, Any]:
    """The spec of the PrometheusRule: the same rules as everywhere, with the stack's links."""
    groups: dict[str, Any] = yaml.safe_load(alerts.build.rules(catalog, watching.links))
    return groups


def consumers(place: Place) -> dict[str, Any]:
    """The spec of the PodMonitor: every pod of ours, its service as the job that the rules name."""
    return {
        "selector": {"matchLabels": {INSTANCE: place.stack, PART_OF: PROJECT, COMPONENT: "consumer"}},
        "jobLabel": NAME,
        "podMetricsEndpoints": [{"port": HTTP, "interval": INTERVAL}],
    }


def queues(broker: BrokerAccess) -> dict[str, Any]:
    """The spec of the ServiceMonitor: what the broker of a RabbitmqCluster tells about each queue.

    Every node is asked, since in a cluster only a queue's leader tells of it.
    Source: RabbitMQ cluster operator, monitoring (the Service has the label and the port `prometheus`).
    """
    endpoint = {
        "port": "prometheus",
        "path": "/metrics/detailed",
        "params": {"family": list(BROKER_FAMILIES), "vhost": ["/"]},
        "interval": INTERVAL,
    }
    return {
        "namespaceSelector": {"matchNames": [broker.cluster_namespace]},
        "selector": {"matchLabels": {NAME: broker.cluster, COMPONENT: "rabbitmq"}},
        "endpoints": [endpoint],
    }


def build(catalog: Catalog, place: Place, watching: Watching) -> None:
    """All of it as resources; nothing waits for them. Raises BoardTooLarge."""
    _custom("PrometheusRule", PROJECT, rules(catalog, watching), place, watching)
    _custom("PodMonitor", PROJECT, consumers(place), place, watching)
    if place.broker.cluster:
        _custom("ServiceMonitor", PROJECT, queues(place.broker), place, watching)
    for uid, text in dashboards.boards(catalog, watching.links).items():
        _board(uid, text, place, watching)


def _custom(kind: str, name: str, spec: Mapping[str, Any], place: Place, watching: Watching) -> None:
    metadata = place.metadata(name, component=MONITORING, labels=watching.labels)
    CustomResource(f"{kind}/{name}", API, kind, spec=spec, metadata=metadata, opts=place.opts())


def _board(uid: str, text: str, place: Place, watching: Watching) -> None:
    if (size := len(text.encode())) > LARGEST:
        raise BoardTooLarge(
            f"board {uid} has {size} bytes and a ConfigMap takes {LARGEST}: split it in dashboards/, by rows"
        )
    metadata = place.metadata(
        uid,
        component=MONITORING,
        labels=dict([watching.dashboard_label]),
        annotations={FOLDER: watching.folder} if watching.folder else None,
    )
    core.ConfigMap(uid, metadata=metadata, data={f"{uid}.json": text}, opts=place.opts())
