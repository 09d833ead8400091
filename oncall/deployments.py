"""The Deployments of a stack on Kubernetes: how many replicas somebody's hand gave them."""

from __future__ import annotations

from collections.abc import Iterator
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
    cluster = endpoints.kubernetes
    if cluster is None:
        return
    try:
        with kubernetes.config.new_client_from_config(context=cluster.context or None) as client:
            apps = kubernetes.client.AppsV1Api(client)
            for service in endpoints.catalog.services:
                yield from _compared(apps, cluster, service)
    except kubernetes.config.ConfigException as error:
        raise Trouble(f"kubeconfig has no usable context {cluster.context or '(current)'}: {error}") from None
    except ApiException as error:
        raise Trouble(
            f"the cluster answers {error.status} ({error.reason}) to a look at Deployments in {cluster.namespace}:"
            " may this user read them there? `kubectl auth can-i get deployments` tells"
        ) from None
    except HTTPError as error:
        raise Trouble(f"the cluster does not answer ({error}): is the kubeconfig's context the right one?") from None


def _compared(apps: Any, cluster: Cluster, service: Service) -> Iterator[Finding]:
    try:
        found = apps.read_namespaced_deployment(service.name, cluster.namespace, _request_timeout=TIMEOUT)
    except ApiException as error:
        if error.status != 404:
            raise
        yield Finding("deployment", service.name, "missing", "does not exist", "`pulumi up --refresh` makes it")
        return
    replicas = found.spec.replicas or 0  # the library drops a 0
    if replicas != service.replicas and service.name not in cluster.autoscaled:
        what = f"has {replicas} replicas, {service.replicas} are declared: somebody scaled it by hand"
        keep = f"pulumi config set replicas.{service.name} {replicas}"
        yield Finding(
            "deployment", service.name, "different", what, f"`pulumi up --refresh` sets it back; to keep it: {keep}"
        )
