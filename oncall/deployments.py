"""The Deployments of a stack on Kubernetes: how many replicas they have, and whether a hand gave them those."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import kubernetes.client
import kubernetes.config
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from catalog.kinds import Service
from infra.live import Finding
from oncall.endpoints import Cluster, Endpoints
from oncall.trouble import Trouble

TIMEOUT = 5  # seconds for one question


def scaled_by_hand(endpoints: Endpoints) -> Iterator[Finding]:
    """Deployments that are missing, or whose replicas nobody committed. Raises Trouble where the cluster is silent."""
    if cluster := endpoints.kubernetes:
        for service, found in _deployments(cluster, endpoints.catalog.services):
            yield from _compared(cluster, service, found)


def replicas(endpoints: Endpoints) -> dict[str, tuple[int, int]]:
    """(ready, wanted now) by service, 0 of its configured ones where there is no Deployment; nothing elsewhere.

    Raises Trouble where the cluster is silent.
    """
    if not (cluster := endpoints.kubernetes):
        return {}
    return {
        service.name: (found.status.ready_replicas or 0, found.spec.replicas or 0) if found else (0, service.replicas)
        for service, found in _deployments(cluster, endpoints.catalog.services)
    }


def _deployments(cluster: Cluster, services: Iterable[Service]) -> Iterator[tuple[Service, Any]]:
    """Each service with its Deployment, None where there is none."""
    with reached(cluster, "Deployments") as client:
        apps = kubernetes.client.AppsV1Api(client)
        for service in services:
            yield service, _deployment(apps, service.name, cluster.namespace)


@contextmanager
def reached(cluster: Cluster, kind: str) -> Iterator[kubernetes.client.ApiClient]:
    """A client of the cluster for a look at objects of a kind; whatever goes wrong in the block becomes Trouble."""
    try:
        with kubernetes.config.new_client_from_config(context=cluster.context or None) as client:
            yield client
    except kubernetes.config.ConfigException as error:
        raise Trouble(f"kubeconfig has no usable context {cluster.context or '(current)'}: {error}") from None
    except ApiException as error:
        raise Trouble(
            f"the cluster answers {error.status} ({error.reason}) to a look at {kind} in {cluster.namespace}:"
            f" may this user read them there? `kubectl auth can-i list {kind.lower()} -n {cluster.namespace}` tells"
        ) from None
    except HTTPError as error:
        raise Trouble(f"the cluster does not answer ({error}): is the kubeconfig's context the right one?") from None


def _deployment(apps: Any, name: str, namespace: str) -> Any:
    try:
        return apps.read_namespaced_deployment(name, namespace, _request_timeout=TIMEOUT)
    except ApiException as error:
        if error.status != 404:
            raise
        return None


def _compared(cluster: Cluster, service: Service, found: Any) -> Iterator[Finding]:
    if found is None:
        yield Finding("deployment", service.name, "missing", "does not exist", "`pulumi up` makes it")
        return
    live = found.spec.replicas or 0  # the library drops a 0
    if live != service.replicas and service.name not in cluster.autoscaled:
        what = f"has {live} replicas, {service.replicas} are declared: somebody scaled it by hand"
        keep = f"pulumi config set replicas.{service.name} {live}"
        yield Finding("deployment", service.name, "different", what, f"`pulumi up` sets it back; to keep it: {keep}")
