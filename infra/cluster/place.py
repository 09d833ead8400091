"""Between a stack and its namespace: what every object there is called, and which labels it carries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pulumi import ProviderResource, Resource, ResourceOptions
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs

from infra.cluster.settings import BrokerAccess

# Kubernetes, recommended labels; a Deployment's selector has the first two, so these never change.
NAME, INSTANCE = "app.kubernetes.io/name", "app.kubernetes.io/instance"
COMPONENT, PART_OF, MANAGED_BY = (
    "app.kubernetes.io/component",
    "app.kubernetes.io/part-of",
    "app.kubernetes.io/managed-by",
)
PROJECT = "consumer-scaling"
OPERATOR_READS = {"rabbitmq.com/topology-operator": "true"}  # the topology operator sees no other Secrets


def credentials_of(user: str) -> str:
    """The Secret with a broker user's {username, password}: logging-2 -> logging-rabbitmq-2."""
    service, _, generation = user.rpartition("-")
    return f"{service}-rabbitmq-{generation}"


@dataclass(frozen=True)
class Place:
    """The namespace of a stack, and the broker that its objects talk about."""

    stack: str
    namespace: str
    broker: BrokerAccess
    provider: ProviderResource

    def selector(self, name: str) -> dict[str, str]:
        return {NAME: name, INSTANCE: self.stack}

    def labels(self, name: str, component: str) -> dict[str, str]:
        return {**self.selector(name), COMPONENT: component, PART_OF: PROJECT, MANAGED_BY: "pulumi"}

    def metadata(
        self,
        name: str,
        *,
        of: str = PROJECT,
        component: str = "consumer",
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> ObjectMetaArgs:
        """Metadata of an object `name` that belongs to a service, or to the stack as a whole."""
        return ObjectMetaArgs(
            name=name,
            namespace=self.namespace,
            labels={**self.labels(of, component), **(labels or {})},
            annotations=dict(annotations) if annotations else None,
        )

    def opts(self, after: Sequence[Resource] = (), *, parent: Resource | None = None) -> ResourceOptions:
        return ResourceOptions(parent=parent, provider=self.provider, depends_on=list(after))
