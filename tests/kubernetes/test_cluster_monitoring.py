"""Rules, boards and what is scraped, against the operators' real definitions, and against what the rules ask for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml
from pulumi_kubernetes import Provider

from alerts import build
from catalog import CATALOG
from catalog.links import Links
from catalog.metrics import BROKER_FAMILIES
from infra.cluster import monitoring
from infra.cluster.place import Place
from infra.cluster.settings import BrokerAccess, Watching
from infra.recorder import Registered, record
from tests.kubernetes.apiserver import ApiServer, Refused

pytestmark = pytest.mark.servers

LINKS = Links(runbooks="https://git.example/runbooks", grafana="https://grafana.example")
WATCHING = Watching(
    labels={"release": "prometheus"},
    namespace="monitoring",
    dashboard_label=("grafana_dashboard", "yes"),
    folder="BI",
    links=LINKS,
)
BROKER = BrokerAccess(
    operator=True,
    cluster="rabbitmq",
    cluster_namespace="messaging",
    connection_secret="",
    amqp="amqp://rabbitmq.messaging.svc:5672/%2F",
    http="http://rabbitmq.messaging.svc:15672",
    admin=None,
    manages_exchange=False,
)


def made(namespace: str = "bi-risk", watching: Watching = WATCHING, broker: BrokerAccess = BROKER) -> dict[str, Any]:
    """{kind: the whole object}, as Pulumi is asked for it."""

    def program() -> None:
        place = Place("prod", namespace, broker, Provider("cluster"))
        monitoring.build(CATALOG, place, watching)

    return {
        entry.inputs["kind"]: entry.inputs for entry in record("consumer-scaling", "prod", program) if is_object(entry)
    }


def is_object(entry: Registered) -> bool:
    return "kind" in entry.inputs


def test_every_object_is_taken_with_every_field(api_server: ApiServer) -> None:
    namespace = api_server.namespace()

    for manifest in made(namespace).values():
        stored = api_server.apply(manifest)
        assert {key: manifest[key] for key in ("spec", "data") if key in manifest} == {
            key: stored[key] for key in ("spec", "data") if key in stored
        }


def test_a_field_that_nobody_knows_is_refused(api_server: ApiServer) -> None:
    """What proves that the test above can fail."""
    monitor = made(api_server.namespace())["PodMonitor"]

    with pytest.raises(Refused, match="podMetricEndpoints: field not declared in schema"):
        api_server.apply({**monitor, "spec": {**monitor["spec"], "podMetricEndpoints": []}})


def test_the_rules_are_the_same_as_everywhere_and_lead_to_the_stack_s_own_pages() -> None:
    spec = made()["PrometheusRule"]["spec"]

    assert yaml.safe_load(build.rules(CATALOG, LINKS)) == spec
    pages = {
        rule["annotations"]["runbook_url"] for group in spec["groups"] for rule in group["rules"] if "alert" in rule
    }
    assert {f"https://git.example/runbooks/{alert.name}.md" for alert in CATALOG.alerts} == pages


def test_the_operators_find_what_is_theirs() -> None:
    """By the labels that the stack gives, and none where it gives none."""
    objects = made()
    theirs = [objects[kind] for kind in ("PrometheusRule", "PodMonitor", "ServiceMonitor")]

    assert {"prometheus"} == {entry["metadata"]["labels"]["release"] for entry in theirs}
    board = objects["ConfigMap"]["metadata"]
    assert ("yes", {"grafana_folder": "BI"}) == (board["labels"]["grafana_dashboard"], board["annotations"])
    plain = made(watching=replace(WATCHING, labels={}, folder=""))
    assert "release" not in plain["PodMonitor"]["metadata"]["labels"]
    assert "annotations" not in plain["ConfigMap"]["metadata"]


def test_a_pod_s_job_is_its_service() -> None:
    """Rules tell services apart by `job`, as on a stack of one machine."""
    spec = made()["PodMonitor"]["spec"]

    assert "app.kubernetes.io/name" == spec["jobLabel"]
    assert ["http"] == [endpoint["port"] for endpoint in spec["podMetricsEndpoints"]]
    assert "prod" == spec["selector"]["matchLabels"]["app.kubernetes.io/instance"]


def test_the_broker_is_asked_for_its_queues_where_an_operator_runs_it() -> None:
    """The families that the rules read; a broker outside is scraped by those who run it."""
    (endpoint,) = made()["ServiceMonitor"]["spec"]["endpoints"]
    outside = replace(BROKER, cluster="", cluster_namespace="", connection_secret="broker")

    assert "/metrics/detailed" == endpoint["path"]
    assert list(BROKER_FAMILIES) == endpoint["params"]["family"]
    assert "ServiceMonitor" not in made(broker=outside)


def test_a_board_that_fits_into_no_configmap_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitoring, "LARGEST", 1000)

    with pytest.raises(monitoring.BoardTooLarge, match=r"bi-risk-batch-jobs has \d+ bytes and a ConfigMap takes 1000"):
        made()
