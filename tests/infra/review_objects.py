"""What is asked of the objects around the pods: reached, guarded, named, allowed and watched."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from tests.infra.review import (
    MISSING,
    POD,
    Manifest,
    Reviewed,
    adding,
    at,
    check,
    name_of,
    setting,
    where,
    without,
)

LABELS = ("name", "instance", "component", "part-of", "managed-by")
NOT_OURS = ("Namespace", "CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding", "RabbitmqCluster")
DNS_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?")
LONGEST_CONFIG = 1024 * 1024  # bytes in a ConfigMap


@check(
    "A Service reaches the pods of one Deployment, at a port that they have",
    broken_by=setting("Service", "spec selector", {"app": "nobody"}),
)
def services(stack: Reviewed) -> Iterator[str]:
    for service in stack.of("Service"):
        if stack.selected(service["spec"]["selector"]) != [name_of(service)]:
            yield f"{where(service)}: selects {stack.selected(service['spec']['selector'])}"
        ports = _ports(stack, name_of(service))
        for port in service["spec"]["ports"]:
            if port.get("targetPort", port["port"]) not in ports:
                yield f"{where(service)}: leads to port {port.get('targetPort', port['port'])}, pods have {ports}"


@check(
    "A Deployment finds its own pods, by labels that no release changes",
    broken_by=setting("Deployment", "spec selector matchLabels", {"version": "1"}),
)
def deployments(stack: Reviewed) -> Iterator[str]:
    for deployment in stack.of("Deployment"):
        if stack.selected(deployment["spec"]["selector"]) != [name_of(deployment)]:
            yield f"{where(deployment)}: selects {stack.selected(deployment['spec']['selector'])}"


@check(
    "A drain takes one replica of a service at a time, and is never stopped by it",
    broken_by=setting("PodDisruptionBudget", "spec", {"minAvailable": 1, "selector": {"matchLabels": {"a": "b"}}}),
)
def disruption(stack: Reviewed) -> Iterator[str]:
    for deployment in stack.of("Deployment"):
        budgets = [
            entry["spec"]
            for entry in stack.of("PodDisruptionBudget")
            if stack.selected(entry["spec"]["selector"]) == [name_of(deployment)]
        ]
        if [1] != [budget.get("maxUnavailable") for budget in budgets]:
            yield f"{where(deployment)}: its disruption budgets are {budgets}"


@check(
    "Nobody talks to a pod and no pod to anybody, except by rule",
    broken_by=setting("NetworkPolicy", "spec policyTypes", ["Ingress"]),
)
def isolation(stack: Reviewed) -> Iterator[str]:
    policies = stack.of("NetworkPolicy")
    for policy in policies:
        if not stack.selected(policy["spec"]["podSelector"]):
            yield f"{where(policy)}: selects no pod"
        for direction, peer in (("ingress", "from"), ("egress", "to")):
            for rule in policy["spec"].get(direction, ()):
                if not rule.get(peer) or not rule.get("ports"):
                    yield f"{where(policy)}: allows {direction} {rule}"
    for name, _ in stack.pods:
        mine = [entry["spec"] for entry in policies if name in stack.selected(entry["spec"]["podSelector"])]
        if {"Ingress", "Egress"} != {kind for spec in mine for kind in spec["policyTypes"]}:
            yield f"{name}: is not isolated in both directions"


@check(
    "A pod can ask for names, over both protocols: without them no sink is found",
    broken_by=setting("NetworkPolicy", "spec egress", []),
)
def names(stack: Reviewed) -> Iterator[str]:
    for name, _ in stack.pods:
        open_ports = {
            (port.get("protocol", "TCP"), port["port"])
            for policy in stack.of("NetworkPolicy")
            if name in stack.selected(policy["spec"]["podSelector"])
            for rule in policy["spec"].get("egress", ())
            for port in rule.get("ports", ())
        }
        if missing := {("UDP", 53), ("TCP", 53)} - open_ports:
            yield f"{name}: cannot ask for names over {sorted(missing)}"


@check(
    "Everything says whose it is, by the recommended labels",
    broken_by=setting("Service", "metadata labels", {"app": "logging"}),
)
def labels(stack: Reviewed) -> Iterator[str]:
    for entry in stack.objects:
        given = at(entry, "metadata labels")
        if missing := [label for label in LABELS if at(given, f"app.kubernetes.io/{label}") is MISSING]:
            yield f"{where(entry)}: lacks labels {missing}"


@check(
    "Every object has a name and a namespace that the cluster takes, and no other has them too",
    broken_by=setting("Service", "metadata namespace", MISSING),
)
def identities(stack: Reviewed) -> Iterator[str]:
    for entry in stack.objects:
        if not DNS_NAME.fullmatch(name_of(entry)):
            yield f"{where(entry)}: is no name"
        if at(entry, "metadata namespace") in (MISSING, "", "default", "kube-system"):
            yield f"{where(entry)}: is in namespace {at(entry, 'metadata namespace')}"
    places = Counter((entry["kind"], at(entry, "metadata namespace"), name_of(entry)) for entry in stack.objects)
    yield from (f"{kind} {name}: is there {count} times" for (kind, _, name), count in places.items() if count > 1)


@check(
    "Namespace, definitions, cluster-wide rights and the broker itself are not ours to make or to destroy",
    broken_by=adding({"kind": "Namespace", "metadata": {"name": "bi-risk"}}),
)
def not_ours(stack: Reviewed) -> Iterator[str]:
    yield from (f"{where(entry)}: is not ours" for entry in stack.of(*NOT_OURS))


@check(
    "A role names what it may do: pods to mark the idle one, and nothing with an asterisk",
    broken_by=setting("Role", "rules", [{"apiGroups": [""], "resources": ["*"], "verbs": ["*"]}]),
)
def rights(stack: Reviewed) -> Iterator[str]:
    for role in stack.of("Role"):
        for rule in role["rules"]:
            if rule["resources"] != ["pods"] or not set(rule["verbs"]) <= {"get", "list", "patch"}:
                yield f"{where(role)}: may {rule['verbs']} {rule['resources']}"
    for binding in stack.of("RoleBinding"):
        for subject in binding["subjects"]:
            if subject["kind"] != "ServiceAccount" or not stack.named("ServiceAccount", subject["name"]):
                yield f"{where(binding)}: gives it to {subject['kind']} {subject['name']}"


@check(
    "What a pod mounts is there, or somebody said that it will be",
    broken_by=without("Secret"),
)
def mounted(stack: Reviewed) -> Iterator[str]:
    for name, pod in stack.pods:
        for kind, wanted in _mounted(pod["spec"]):
            if not stack.named(kind, wanted) and wanted not in stack.given:
                yield f"{name}: mounts {kind} {wanted}, which nobody makes"


def _mounted(pod: Manifest) -> Iterator[tuple[str, str]]:
    for volume in pod.get("volumes", ()):
        for source in [volume, *volume.get("projected", {}).get("sources", ())]:
            if "secret" in source:
                yield "Secret", source["secret"].get("secretName") or source["secret"]["name"]
            if "configMap" in source:
                yield "ConfigMap", source["configMap"]["name"]


@check(
    "A board fits into its ConfigMap",
    broken_by=setting("ConfigMap", "data", {"board.json": "x" * LONGEST_CONFIG}),
)
def boards(stack: Reviewed) -> Iterator[str]:
    for entry in stack.of("ConfigMap"):
        if (size := len(json.dumps(entry.get("data", {})).encode())) >= LONGEST_CONFIG:
            yield f"{where(entry)}: has {size} bytes"


@check(
    "Prometheus finds the pods that are there, at a port that they have, and nothing else",
    broken_by=setting("PodMonitor", "spec selector matchLabels", {"app": "nobody"}),
)
def monitors(stack: Reviewed) -> Iterator[str]:
    watched: set[str] = set()
    for monitor in stack.of("PodMonitor"):
        found = stack.selected(monitor["spec"]["selector"])
        watched |= set(found)
        for endpoint in monitor["spec"]["podMetricsEndpoints"]:
            if any(endpoint["port"] not in _ports(stack, name) for name in found) or not found:
                yield f"{where(monitor)}: asks port {endpoint['port']} of {found}"
    if unwatched := {name for name, _ in stack.pods} - watched:
        yield f"nobody scrapes {sorted(unwatched)}"


@check(
    "Every alert leads somewhere: a page that begins with https, and a panel",
    broken_by=setting("PrometheusRule", "spec groups", [{"name": "a", "rules": [{"alert": "A", "expr": "vector(1)"}]}]),
)
def alerts(stack: Reviewed) -> Iterator[str]:
    for entry in stack.of("PrometheusRule"):
        for group in entry["spec"]["groups"]:
            for rule in (rule for rule in group["rules"] if "alert" in rule):
                links = rule.get("annotations", {})
                if not links.get("runbook_url", "").startswith("https://") or not links.get("dashboard_url"):
                    yield f"{where(entry)}: alert {rule['alert']} leads to {links}"
                if "severity" not in rule.get("labels", {}):
                    yield f"{where(entry)}: alert {rule['alert']} has no severity"


def _ports(stack: Reviewed, deployment: str) -> set[Any]:
    """Numbers and names of a Deployment's ports."""
    found = stack.named("Deployment", deployment)
    containers = at(found, f"{POD} containers") if found else []
    return {
        value
        for container in containers
        for port in container.get("ports", ())
        for value in (port["containerPort"], port.get("name"))
    }
