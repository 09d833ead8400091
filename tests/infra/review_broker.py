"""What no linter asks: broker objects that outlive their stack and allow no more than is needed, sound autoscalers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tests.infra.review import MISSING, Manifest, Reviewed, at, check, name_of, setting, where

BROKER = "rabbitmq.com/v1beta1"
SEEN = "rabbitmq.com/topology-operator"


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
        if set(user["spec"].get("tags", ())) - {"management"}:
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
    "The operator sees the Secret of each user, and nobody can change it under a running pod",
    broken_by=setting("Secret", "metadata labels", {}),
)
def credentials(stack: Reviewed) -> Iterator[str]:
    for user in stack.of("User"):
        secret = stack.named("Secret", user["spec"]["importCredentialsSecret"]["name"])
        if secret is None or at(secret, f"metadata labels {SEEN}") != "true":
            yield f"{where(user)}: the operator does not see its Secret"
        elif secret.get("immutable") is not True:
            yield f"{where(secret)}: can be changed in place"
