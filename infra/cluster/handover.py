"""Before autoscaling is switched off: what the autoscaler brought to run has to be what the stack says from then on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import kubernetes.client
import kubernetes.config
import pulumi
from kubernetes.client.exceptions import ApiException

from infra.cluster.autoscaling import API
from infra.cluster.place import INSTANCE
from infra.settings import Settings

TIMEOUT = 10  # seconds for one question


def check(stack: Settings) -> None:
    """Raises RunError where switching off would end replicas, at once, that the autoscaler thinks are needed now.

    As soon as no autoscaler decides how many run, the stack does. To keep the higher number without its being written
    down would only put off the end of the difference to some later `up` that is about something else.
    """
    wanted = {service.name: service.replicas for service in stack.catalog.services}
    faults = [
        f"autoscaling.{name} is off now: {count} replicas run, and replicas.{name} would keep {wanted[name]} of them;"
        f" first `pulumi config set replicas.{name} {count}`, lower it again in an `up` of its own"
        for name, count in _scaled_so_far(stack)
        if count > wanted[name]
    ]
    if faults:
        raise pulumi.RunError("\n  ".join([f"Pulumi.{stack.stack}.yaml would end replicas:", *faults]))


def _scaled_so_far(stack: Settings) -> Iterator[tuple[str, int]]:
    """(service, replicas that it should have) of those that have an autoscaler and shall have none."""
    if (settings := stack.cluster) is None:
        return
    leaving = {service.name for service in stack.catalog.services} - settings.autoscaled
    with kubernetes.config.new_client_from_config(context=settings.context or None) as client:
        for name in sorted(leaving & _autoscaled(client, settings.namespace, stack.stack)):
            yield name, _replicas(client, settings.namespace, name)


def _replicas(client: kubernetes.client.ApiClient, namespace: str, name: str) -> int:
    """How many replicas a Deployment should have; none where somebody deleted it."""
    apps = kubernetes.client.AppsV1Api(client)
    try:
        found: Any = apps.read_namespaced_deployment(name, namespace, _request_timeout=TIMEOUT)
    except ApiException as error:
        if error.status == 404:
            return 0
        raise
    return int(found.spec.replicas)


def _autoscaled(client: kubernetes.client.ApiClient, namespace: str, stack: str) -> set[str]:
    """The services that have a ScaledObject of ours; none where there is no KEDA, or we could not have made any."""
    group, version = API.split("/")
    label = f"{INSTANCE}={stack}"
    try:
        found: Any = kubernetes.client.CustomObjectsApi(client).list_namespaced_custom_object(
            group, version, namespace, "scaledobjects", label_selector=label, _request_timeout=TIMEOUT
        )
    except ApiException as error:
        if error.status in (403, 404):
            return set()
        raise
    return {entry["metadata"]["name"] for entry in found["items"]}
