"""Between a service and its pods: what one replica runs, is told, may use and may not do; pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import pulumi_kubernetes.core.v1 as core
from pulumi_kubernetes.meta.v1 import LabelSelectorArgs, ObjectMetaArgs

from catalog import Queue, Service, environment
from consumers.events import MAX_BODY
from infra.cluster import sinks
from infra.cluster.place import Place, credentials_of
from infra.cluster.settings import ClusterSettings
from infra.settings import Settings
from infra.topology import user_of

USER = 10001  # that of consumers/Dockerfile; so high that it is nobody on the node
CREDENTIALS = "/etc/credentials"
READ_BY_GROUP = 0o440
HTTP = "http"  # the port with /health and /metrics
SPREAD_OVER = ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
MIB = 1024 * 1024
SCRATCH = "16Mi"  # nothing of ours writes files; what a library may want is in memory, and counted there


@dataclass(frozen=True, kw_only=True)
class Pods:
    """The pods of one service."""

    service: Service
    stack: Settings
    settings: ClusterSettings
    place: Place

    @property
    def queues(self) -> tuple[Queue, ...]:
        return self.stack.catalog.queues_of(self.service.name)

    @property
    def runs_jobs(self) -> bool:
        """Whether it is the worker whose jobs take a thread of their own, and a while."""
        return any(queue.handler == "batch" for queue in self.queues)

    @property
    def tells_its_cost(self) -> bool:
        """Whether a pod notes on itself how bad it would be to end it now, for which it needs a right."""
        return self.runs_jobs and self.settings.deletion_cost

    def template(self) -> core.PodTemplateSpecArgs:
        labels = {**self.place.labels(self.service.name, "consumer"), **self._identity_label}
        return core.PodTemplateSpecArgs(metadata=ObjectMetaArgs(labels=labels), spec=self._spec())

    @property
    def _identity_label(self) -> Mapping[str, str]:
        return {"azure.workload.identity/use": "true"} if self.settings.sinks.client_id else {}

    def _spec(self) -> core.PodSpecArgs:
        pull_secret = self.settings.pull_secret
        return core.PodSpecArgs(
            service_account_name=self.service.name,
            automount_service_account_token=self.tells_its_cost,
            enable_service_links=False,  # else every Service nearby is in the environment
            termination_grace_period_seconds=int(max(queue.grace for queue in self.queues).total_seconds()),
            image_pull_secrets=[core.LocalObjectReferenceArgs(name=pull_secret)] if pull_secret else None,
            security_context=core.PodSecurityContextArgs(
                run_as_non_root=True,
                run_as_user=USER,
                run_as_group=USER,
                fs_group=USER,
                seccomp_profile=core.SeccompProfileArgs(type="RuntimeDefault"),
            ),
            topology_spread_constraints=[self._spread(over) for over in SPREAD_OVER],
            containers=[self._container()],
            volumes=[
                core.VolumeArgs(
                    name="tmp", empty_dir=core.EmptyDirVolumeSourceArgs(medium="Memory", size_limit=SCRATCH)
                ),
                *(_volume(name, secret, keys) for name, (secret, keys) in self._secrets.items()),
            ],
        )

    def _spread(self, over: str) -> core.TopologySpreadConstraintArgs:
        """Evenly where there is room, and anyway where there is none: a pending pod helps nobody."""
        return core.TopologySpreadConstraintArgs(
            topology_key=over,
            max_skew=1,
            when_unsatisfiable="ScheduleAnyway",
            label_selector=LabelSelectorArgs(match_labels=self.place.selector(self.service.name)),
            match_label_keys=["pod-template-hash"],  # those of the last roll-out are about to go
        )

    def _container(self) -> core.ContainerArgs:
        return core.ContainerArgs(
            name=self.service.name,
            image=self.settings.image,
            image_pull_policy="IfNotPresent",
            args=[self.service.name],
            ports=[core.ContainerPortArgs(name=HTTP, container_port=self.service.port)],
            env=self._environment(),
            resources=self._resources(),
            security_context=core.SecurityContextArgs(
                allow_privilege_escalation=False,
                read_only_root_filesystem=True,
                capabilities=core.CapabilitiesArgs(drop=["ALL"]),
            ),
            # Two minutes for a slow node; from then on, half a minute without a turn of the loop is an end.
            startup_probe=_probe("live", every=2, failures=60),
            liveness_probe=_probe("live", every=10, failures=3),
            readiness_probe=_probe("ready", every=5, failures=3),
            volume_mounts=[
                core.VolumeMountArgs(name="tmp", mount_path="/tmp"),  # noqa: S108 - a volume of the pod's own
                *(
                    core.VolumeMountArgs(name=name, mount_path=f"{CREDENTIALS}/{name}", read_only=True)
                    for name in self._secrets
                ),
            ],
        )

    def _resources(self) -> core.ResourceRequirementsArgs:
        bodies = math.ceil(sum(queue.prefetch for queue in self.queues) * MAX_BODY / MIB)
        cores = 2 if self.runs_jobs else 1  # a job's thread beside the loop
        return core.ResourceRequirementsArgs(
            requests={"cpu": "100m", "memory": f"{self.service.memory_request}Mi"},
            limits={"cpu": str(cores), "memory": f"{self.service.memory_limit(bodies)}Mi"},
        )

    @property
    def _secrets(self) -> dict[str, tuple[str, list[str]]]:
        """The folders below CREDENTIALS: {name: (Secret, keys)}."""
        user = user_of(self.service.name, self.stack.generation)
        folders = {"rabbitmq": (credentials_of(user), ["username", "password"])}
        if keys := sinks.keys(self.stack.catalog, self.service, self.settings.sinks):
            folders["sinks"] = (sinks.secret_name(self.stack.catalog, self.service, self.settings.sinks), keys)
        return folders

    def _environment(self) -> list[core.EnvVarArgs]:
        """What consumers/settings.py reads, sorted, with the names of files where there are secrets."""
        plain = {
            **environment(self.stack.catalog, self.service.name),
            "HOST": "0.0.0.0",  # noqa: S104 - a pod's own address; who may come is in its NetworkPolicy
            "PORT": str(self.service.port),
            "RABBITMQ_URL": self.settings.broker.amqp,
            "RABBITMQ_CREDENTIALS": f"{CREDENTIALS}/rabbitmq",
            **self._sinks(),
            **({"SCHEDULER": "on" if self.stack.scheduler else "off"} if self.runs_jobs else {}),
            **({"DELETION_COST": "on"} if self.tells_its_cost else {}),
        }
        own = {"REPLICA": "metadata.name"}
        if self.tells_its_cost:
            own |= {"POD_NAME": "metadata.name", "POD_NAMESPACE": "metadata.namespace"}
        return [
            *(core.EnvVarArgs(name=name, value=value) for name, value in sorted(plain.items())),
            *(core.EnvVarArgs(name=name, value_from=_field(path)) for name, path in own.items()),
        ]

    def _sinks(self) -> dict[str, str]:
        kinds, stores = sinks.kinds(self.stack.catalog, self.service), self.settings.sinks
        keys = sinks.keys(self.stack.catalog, self.service, stores)
        told = {f"{key.upper()}_FILE": f"{CREDENTIALS}/sinks/{key}" for key in keys}
        if "cosmos" in kinds:
            told["COSMOS_DB_ENDPOINT"] = stores.cosmos_endpoint
        if "blob" in kinds and stores.account:
            told["DATA_LAKE_ACCOUNT"] = stores.account
        return told


def _volume(name: str, secret: str, keys: list[str]) -> core.VolumeArgs:
    items = [core.KeyToPathArgs(key=key, path=key) for key in keys]
    source = core.SecretVolumeSourceArgs(secret_name=secret, items=items, default_mode=READ_BY_GROUP)
    return core.VolumeArgs(name=name, secret=source)


def _probe(question: str, *, every: int, failures: int) -> core.ProbeArgs:
    """Asked every so many seconds, and believed after so many failures in a row."""
    return core.ProbeArgs(
        http_get=core.HTTPGetActionArgs(path=f"/health/{question}", port=HTTP),
        period_seconds=every,
        failure_threshold=failures,
        timeout_seconds=5,
    )


def _field(path: str) -> core.EnvVarSourceArgs:
    return core.EnvVarSourceArgs(field_ref=core.ObjectFieldSelectorArgs(field_path=path))
