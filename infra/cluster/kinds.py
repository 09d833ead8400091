"""Between a stack and the kinds of objects that it makes in a cluster: which there are, and who brings each of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from infra.cluster import autoscaling, custom_resources, monitoring
from infra.cluster.settings import ClusterSettings

OPERATOR = "https://www.rabbitmq.com/kubernetes/operator"
BROUGHT_BY: Mapping[str, str] = {
    custom_resources.API: (
        f"the RabbitMQ messaging topology operator brings them ({OPERATOR}/install-topology-operator); to do without"
        " it: pulumi config set broker.objects api"
    ),
    monitoring.API: (
        "the Prometheus operator brings them (https://prometheus-operator.dev/docs/getting-started/installation)"
    ),
    autoscaling.API: (
        "KEDA brings them (https://keda.sh/docs/latest/deploy); to do without it take the autoscaling settings out"
    ),
}


@dataclass(frozen=True)
class Kind:
    """A kind of object that a stack makes in its namespace; `api` is group and version as manifests have them."""

    api: str
    name: str

    @property
    def plural(self) -> str:
        lower = self.name.lower()
        return f"{lower[:-1]}ies" if lower.endswith("y") else f"{lower}s"

    @property
    def group(self) -> str:
        return self.api.rpartition("/")[0]

    @property
    def resource(self) -> str:
        """As `kubectl auth can-i` names it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


def kinds(settings: ClusterSettings) -> list[Kind]:
    """Every kind that a stack with these settings makes."""
    wanted = {
        "v1": ["ConfigMap", "Secret", "Service", "ServiceAccount"],
        "apps/v1": ["Deployment"],
        "networking.k8s.io/v1": ["NetworkPolicy"],
        "policy/v1": ["PodDisruptionBudget"],
        "rbac.authorization.k8s.io/v1": ["Role", "RoleBinding"] if settings.deletion_cost else [],
        custom_resources.API: [kind for kind, _ in custom_resources.KINDS.values()] if settings.broker.operator else [],
        monitoring.API: [
            "PodMonitor",
            "PrometheusRule",
            *(["ServiceMonitor"] if settings.broker.cluster else []),
        ],
        autoscaling.API: ["ScaledObject", "TriggerAuthentication"] if settings.autoscaled else [],
    }
    return [Kind(api, name) for api, names in wanted.items() for name in names]
