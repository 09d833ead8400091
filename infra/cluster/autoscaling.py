"""Between a service's queues and its number of pods: KEDA asks the broker how much waits, and the HPA follows.

Always mode QueueLength over HTTP. The rate modes, and ExpectedQueueConsumptionTime, divide by the rate of deliveries in
the last seconds, which is 0 while long jobs run; KEDA then reports an empty queue, and a worker in the middle of an
hour's work is ended. Over AMQP only waiting messages are seen, so that a job in work counts as none. A ScaledJob would
have neither fallback nor a scheduler that is always there.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from pulumi import Input, Resource
from pulumi_kubernetes.apiextensions import CustomResource

from catalog import Queue
from infra.cluster.place import credentials_of
from infra.cluster.pods import Pods
from infra.topology import AUTOSCALER, user_of

API = "keda.sh/v1alpha1"
POLL = 15  # seconds; the broker's own counts are up to 5 s old
FAILURES = 3  # polls without an answer until the fallback counts
# What the HPA allows, in seconds; its own default of 300 s keeps replicas through the pauses of ordinary traffic.
STABLE_FOR = (300, 3600)
ONE_LESS_EVERY = (60, 1800)


def scaled_object(pods: Pods) -> dict[str, Any]:
    """The spec of a ScaledObject: between `replicas` and `most_replicas`, down by one pod at a time.

    The HPA chooses the pod to end without asking it. So it waits for the longest run where it may, to end pods that
    have had time to finish; what is ended anyway goes on from its checkpoint elsewhere.
    """
    service, longest = pods.service, max(queue.longest_run for queue in pods.queues)
    scale_down = {
        "stabilizationWindowSeconds": _within(longest, STABLE_FOR),
        "policies": [{"type": "Pods", "value": 1, "periodSeconds": _within(longest, ONE_LESS_EVERY)}],
    }
    return {
        "scaleTargetRef": {"name": service.name},
        "minReplicaCount": service.replicas,
        "maxReplicaCount": service.most_replicas,
        "pollingInterval": POLL,
        # A broker that does not answer is no reason to have fewer.
        "fallback": {
            "failureThreshold": FAILURES,
            "replicas": service.replicas,
            "behavior": "currentReplicasIfHigher",
        },
        "advanced": {
            "restoreToOriginalReplicaCount": False,  # switched off, it leaves what runs
            "horizontalPodAutoscalerConfig": {"behavior": {"scaleDown": scale_down}},
        },
        "triggers": [_trigger(queue, pods) for queue in pods.queues],
    }


def _trigger(queue: Queue, pods: Pods) -> dict[str, Any]:
    """A job in work still needs its worker, so those count; events in work are done before anybody could act on it."""
    return {
        "type": "rabbitmq",
        "metadata": {
            "protocol": "http",
            "host": pods.settings.broker.http,
            "vhostName": "/",
            "queueName": queue.name,
            "mode": "QueueLength",
            "value": str(queue.backlog_per_replica),
            "excludeUnacknowledged": "false" if queue.slow else "true",
        },
        "authenticationRef": {"name": pods.service.name},
    }


def trigger_authentication(generation: int) -> dict[str, Any]:
    """The spec of a TriggerAuthentication: a user of the broker who may look, and nothing else."""
    secret = credentials_of(user_of(AUTOSCALER, generation))
    return {"secretTargetRef": [{"parameter": name, "name": secret, "key": name} for name in ("username", "password")]}


def _within(duration: timedelta, limits: tuple[int, int]) -> int:
    least, most = limits
    return int(min(max(duration.total_seconds(), least), most))


def _custom(kind: str, spec: Input[Any], pods: Pods, parent: Resource, after: list[Resource]) -> CustomResource:
    name = pods.service.name
    metadata = pods.place.metadata(name, of=name, component="autoscaler")
    return CustomResource(
        name, api_version=API, kind=kind, metadata=metadata, spec=spec, opts=pods.place.opts(after, parent=parent)
    )


def autoscaler(pods: Pods, parent: Resource, after: list[Resource]) -> list[Resource]:
    """KEDA's two objects for a service, to be made after its Deployment and the user who looks."""
    trusted = _custom("TriggerAuthentication", trigger_authentication(pods.stack.generation), pods, parent, after)
    return [trusted, _custom("ScaledObject", scaled_object(pods), pods, parent, [*after, trusted])]
