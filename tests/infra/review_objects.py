"""What is asked of the objects around the pods: reached, guarded, named, allowed, scaled and watched."""

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
OURS_TO_LABEL = ("Deployment", "Service", "ServiceAccount", "PodDisruptionBudget", "NetworkPolicy", "ScaledObject")
NOT_OURS = ("Namespace", "CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding", "RabbitmqCluster")
DNS_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?")
LONGEST_CONFIG = 1024 * 1024  # bytes in a ConfigMap
BROKER = "rabbitmq.com/v1beta1"


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
    for entry in stack.of(*OURS_TO_LABEL):
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
    "A broker's user may only what its service does: each pattern names whole names, and none is `.*`",
    broken_by=setting("Permission", "spec permissions read", ".*"),
)
def permissions(stack: Reviewed) -> Iterator[str]:
    for entry in stack.of("Permission", "TopicPermission"):
        for right, pattern in _patterns(entry["spec"]["permissions"]):
            if not re.fullmatch(r"\^(\(.+\))?\$", pattern) or ".*" in pattern:
                yield f"{where(entry)}: may {right} {pattern!r}"
    for user in stack.of("User"):
        if set(user["spec"].get("tags", ())) - {"monitoring"}:
            yield f"{where(user)}: is {user['spec']['tags']}"


def _patterns(given: Manifest) -> Iterator[tuple[str, str]]:
    for right, pattern in given.items():
        if isinstance(pattern, str) and right in ("configure", "read", "write"):
            yield right, pattern


@check(
    "A queue outlives its resource, replicated and on disk",
    broken_by=setting("Queue", "spec deletionPolicy", "delete"),
)
def queues(stack: Reviewed) -> Iterator[str]:
    for queue in stack.of("Queue"):
        spec = queue["spec"]
        if (spec.get("type"), spec.get("durable"), spec.get("autoDelete", False)) != ("quorum", True, False):
            yield f"{where(queue)}: is {spec}"
        if spec.get("deletionPolicy") != "retain":
            yield f"{where(queue)}: is deleted with its resource"


@check(
    "A policy is for one queue by its whole name, and stands above a platform's own",
    broken_by=setting("Policy", "spec pattern", ".*"),
)
def policies(stack: Reviewed) -> Iterator[str]:
    known = {name for queue in stack.catalog.queues for name in (queue.name, queue.dead)}
    for policy in stack.of("Policy"):
        hit = [name for name in (*known, "somebody_elses") if re.search(policy["spec"]["pattern"], name)]
        if hit != [policy["spec"]["name"]] or policy["spec"].get("priority", 0) < 1:
            yield f"{where(policy)}: pattern {policy['spec']['pattern']} hits {sorted(hit)}"


@check(
    "An object that cannot be changed has its content in its name, so that another content is another object",
    broken_by=setting("Binding", "metadata name", "logging"),
)
def content_names(stack: Reviewed) -> Iterator[str]:
    for entry in stack.of("Binding", "Queue", "Exchange"):
        if not re.search(r"-[0-9a-f]{6,}$", name_of(entry)):
            yield f"{where(entry)}: keeps its name whatever is in it"


@check(
    "A custom resource is waited for until its operator says Ready",
    broken_by=setting("Binding", "metadata annotations", {}),
)
def waits(stack: Reviewed) -> Iterator[str]:
    for entry in (entry for entry in stack.objects if entry["apiVersion"] == BROKER):
        if at(entry, "metadata annotations pulumi.com/waitFor") != "condition=Ready":
            yield f"{where(entry)}: nobody waits for it"


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
    "An autoscaler keeps at least one, knows its most, and holds what runs when it cannot count",
    broken_by=setting("ScaledObject", "spec minReplicaCount", 0),
)
def autoscalers(stack: Reviewed) -> Iterator[str]:
    for scaled in stack.of("ScaledObject"):
        spec = scaled["spec"]
        least, most = spec.get("minReplicaCount", 0), spec.get("maxReplicaCount", 100)
        if not 1 <= least <= most or most != stack.catalog.service(spec["scaleTargetRef"]["name"]).most_replicas:
            yield f"{where(scaled)}: scales from {least} to {most}"
        if not stack.named("Deployment", spec["scaleTargetRef"]["name"]):
            yield f"{where(scaled)}: scales {spec['scaleTargetRef']['name']}, which is not there"
        if at(spec, "fallback replicas") is MISSING or at(spec, "fallback behavior") != "currentReplicasIfHigher":
            yield f"{where(scaled)}: without numbers it falls back to {at(spec, 'fallback')}"
        if at(spec, "advanced horizontalPodAutoscalerConfig behavior scaleDown stabilizationWindowSeconds") is MISSING:
            yield f"{where(scaled)}: takes replicas away at once"


@check(
    "An autoscaler asks for a queue's length over HTTP, where a job in work counts, by a user who may only look",
    broken_by=setting("ScaledObject", "spec triggers 0 metadata protocol", "amqp"),
)
def triggers(stack: Reviewed) -> Iterator[str]:
    for scaled in stack.of("ScaledObject"):
        for trigger in scaled["spec"]["triggers"]:
            data: dict[str, Any] = trigger["metadata"]
            queue = stack.catalog.queue(data["queueName"])
            waiting_only = "false" if queue.slow else "true"
            found = (data.get("protocol"), data.get("mode"), data.get("excludeUnacknowledged", "false"))
            if found != ("http", "QueueLength", waiting_only) or queue.service != name_of(scaled):
                yield f"{where(scaled)}: asks {data}"
            if not (trusted := stack.named("TriggerAuthentication", at(trigger, "authenticationRef name"))):
                yield f"{where(scaled)}: nobody makes {at(trigger, 'authenticationRef')}"
            elif any("autoscaler" not in entry["name"] for entry in trusted["spec"]["secretTargetRef"]):
                yield f"{where(scaled)}: looks as {trusted['spec']['secretTargetRef']}"


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
