"""Between a service of the catalog and the cluster: its Deployment and all that belongs to it, as one component."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pulumi_kubernetes.apps.v1 as apps
import pulumi_kubernetes.core.v1 as core
import pulumi_kubernetes.rbac.v1 as rbac
from pulumi import ComponentResource, Output, Resource, ResourceOptions
from pulumi_kubernetes.meta.v1 import LabelSelectorArgs, ObjectMetaArgs
from pulumi_kubernetes.networking.v1 import NetworkPolicy
from pulumi_kubernetes.policy.v1 import PodDisruptionBudget, PodDisruptionBudgetSpecArgs

from infra.cluster import network, sinks
from infra.cluster.autoscaling import autoscaler
from infra.cluster.pods import HTTP, Pods

KEPT_REVISIONS = 3  # ReplicaSets; a rollback is `pulumi up` of the version before, these are for reading


@dataclass(frozen=True, kw_only=True)
class WorkloadArgs:
    """`pods` are what the Deployment runs; its pods wait for `after`, the broker's objects and the stores."""

    pods: Pods
    after: Sequence[Resource]


class Workload(ComponentResource):
    """Everything that one service needs in its namespace; each object has the service's name."""

    def __init__(self, args: WorkloadArgs, opts: ResourceOptions) -> None:
        self.pods, self.name = args.pods, args.pods.service.name
        super().__init__("consumer-scaling:kubernetes:Workload", self.name, None, opts)
        before = [
            NetworkPolicy(self.name, metadata=self._metadata(), spec=network.policy(self.pods), opts=self._opts()),
            *self._account(),
            *self._sinks(),
        ]
        self.deployment = self._deployment([*args.after, *before])
        selector = LabelSelectorArgs(match_labels=self.pods.place.selector(self.name))
        budget = PodDisruptionBudgetSpecArgs(
            max_unavailable=1,
            unhealthy_pod_eviction_policy="AlwaysAllow",  # one that never gets ready must not hold up a drain
            selector=selector,
        )
        PodDisruptionBudget(self.name, metadata=self._metadata(), spec=budget, opts=self._opts())
        core.Service(self.name, metadata=self._metadata(), spec=self._service(), opts=self._opts())
        if self.is_autoscaled:
            autoscaler(self.pods, parent=self, after=[*args.after, self.deployment])
        self.register_outputs({"deployment": self.deployment.metadata.name})

    @property
    def is_autoscaled(self) -> bool:
        return self.name in self.pods.settings.autoscaled

    def _metadata(self, **more: Any) -> ObjectMetaArgs:
        return self.pods.place.metadata(self.name, of=self.name, **more)

    def _opts(self, after: Sequence[Resource] = ()) -> ResourceOptions:
        return self.pods.place.opts(after, parent=self)

    def _deployment(self, after: Sequence[Resource]) -> apps.Deployment:
        spec = apps.DeploymentSpecArgs(
            replicas=self.pods.service.replicas,
            revision_history_limit=KEPT_REVISIONS,
            selector=LabelSelectorArgs(match_labels=self.pods.place.selector(self.name)),
            strategy=apps.DeploymentStrategyArgs(
                type="RollingUpdate",
                rolling_update=apps.RollingUpdateDeploymentArgs(max_unavailable=0, max_surge=1),
            ),
            template=self.pods.template(),
        )
        # What somebody scaled by hand in the night is set back, instead of a conflict about who owns the field.
        metadata = self._metadata(annotations={"pulumi.com/patchForce": "true"})
        opts = self._opts(after)
        if self.is_autoscaled:  # the number is the autoscaler's; left out of the program it would be set to 1
            opts = ResourceOptions.merge(opts, ResourceOptions(ignore_changes=["spec.replicas"]))
        return apps.Deployment(self.name, metadata=metadata, spec=spec, opts=opts)

    def _service(self) -> core.ServiceSpecArgs:
        """For those who scrape; nobody sends work through it."""
        port = core.ServicePortArgs(name=HTTP, port=self.pods.service.port, target_port=HTTP)
        return core.ServiceSpecArgs(selector=self.pods.place.selector(self.name), ports=[port])

    def _account(self) -> list[Resource]:
        """Who the pods are: nobody to this cluster, except that one who tells its deletion cost may note it."""
        client_id = self.pods.settings.sinks.client_id
        identity = {"azure.workload.identity/client-id": client_id} if client_id else None
        account = core.ServiceAccount(
            self.name,
            metadata=self._metadata(annotations=identity),
            automount_service_account_token=False,
            opts=self._opts(),
        )
        return [account, *self._right_to_tell_cost()] if self.pods.tells_its_cost else [account]

    def _right_to_tell_cost(self) -> list[Resource]:
        may = rbac.PolicyRuleArgs(api_groups=[""], resources=["pods"], verbs=["patch"])
        role = rbac.Role(self.name, metadata=self._metadata(), rules=[may], opts=self._opts())
        whom = rbac.SubjectArgs(kind="ServiceAccount", name=self.name, namespace=self.pods.place.namespace)
        what = rbac.RoleRefArgs(api_group="rbac.authorization.k8s.io", kind="Role", name=self.name)
        return [
            role,
            rbac.RoleBinding(self.name, metadata=self._metadata(), subjects=[whom], role_ref=what, opts=self._opts()),
        ]

    def _sinks(self) -> list[Resource]:
        """A Secret of our own with the credentials of the stores, where the stack has them."""
        catalog, service, stores = self.pods.stack.catalog, self.pods.service, self.pods.settings.sinks
        inside = sinks.contents(catalog, service, stores)
        if not inside:
            return []
        metadata = self.pods.place.metadata(
            sinks.secret_name(catalog, service, stores), of=self.name, component="credentials"
        )
        text = Output.secret(inside)
        return [core.Secret(self.name, metadata=metadata, string_data=text, immutable=True, opts=self._opts())]
