"""Target `kubernetes`: the resolved catalog in a namespace that is given, on a broker that others may share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote, urlsplit

import pulumi
from pulumi import Output, Resource, ResourceOptions
from pulumi_kubernetes import Provider
from pulumi_kubernetes.core.v1 import Secret

from catalog import Service
from catalog.broker import Capabilities
from infra.broker import Broker, BrokerObject
from infra.cluster import monitoring
from infra.cluster.custom_resources import custom_resource, manifest
from infra.cluster.place import OPERATOR_READS, Place, credentials_of
from infra.cluster.pods import Pods
from infra.cluster.settings import ClusterSettings
from infra.cluster.workload import Workload, WorkloadArgs
from infra.files import Password
from infra.retire import Retirement
from infra.settings import Settings
from infra.stores import BlobContainer, CosmosContainer
from infra.topology import Object, topology

After = Sequence[Resource]


class Cluster:
    """Each method makes one part of the stack and returns what others have to wait for."""

    def __init__(self, stack: Settings, settings: ClusterSettings) -> None:
        self.catalog, self.stack, self.settings = stack.catalog, stack, settings
        self.place = Place(stack.stack, settings.namespace, settings.broker, self._provider("cluster"))
        self.topology = topology(
            self.catalog,
            Capabilities.of(stack.broker_version),
            stack.generation,
            autoscaled=bool(settings.autoscaled),
        )
        self.passwords = {user.owner: Password(user.owner).text for user in self.topology.users}

    def broker(self) -> list[Resource]:
        """All objects of the broker but the bindings that bring events, with the Secrets of its users."""
        parts, operator = self.topology, self.settings.broker.operator
        reached = [] if operator else [self._reached()]
        shared = (
            self._objects([parts.shared], after=reached, keep=True) if self.settings.broker.manages_exchange else []
        )
        dead = self._objects([other for other in parts.exchanges if other != parts.shared], after=reached)
        # Policies first: a queue is never without its limits, and while it is deleted it still tells what they are.
        policies = self._objects(parts.policies, after=[*reached, *dead])
        # The operator leaves a queue in place by itself.
        queues = self._objects(parts.queues, after=policies, keep=not operator)
        users = self._objects(parts.users, after=[*reached, *(self._credentials(user.owner) for user in parts.users)])
        return [
            self._retirement(reached),
            *self._objects(parts.dead_bindings, after=[*dead, *queues]),
            *self._objects(parts.permissions, after=[*users, *shared, *dead]),
        ]

    def stores(self) -> list[Resource]:
        """The containers in accounts that exist; none where they are provisioned with the accounts."""
        sinks = self.settings.sinks
        if not sinks.create:
            return []
        connection_string = Output.secret(sinks.connection_string)
        account = Output.secret({"endpoint": sinks.cosmos_endpoint, "key": sinks.cosmos_key})
        return [
            BlobContainer(store, connection_string, ResourceOptions())
            if store.kind == "blob"
            else CosmosContainer(store, self.catalog.database, account, ResourceOptions())
            for store in self.catalog.stores
        ]

    def service(self, service: Service, after: After) -> list[Resource]:
        pods = Pods(service=service, stack=self.stack, settings=self.settings, place=self.place)
        return [Workload(WorkloadArgs(pods=pods, after=after), ResourceOptions())]

    def bindings(self, after: Sequence[After]) -> None:
        self._objects(self.topology.bindings, after=[resource for group in after for resource in group])

    def monitoring(self, after: Sequence[After]) -> None:  # noqa: ARG002 - the operators find it whenever it comes
        monitoring.build(self.catalog, self.place, self.settings.watching)

    def export(self) -> None:
        """Addresses as pods see them: from elsewhere `kubectl port-forward` leads there (docs/environments.md).

        Who has no administrator in the stack's settings gives their own to the operator's command.
        """
        pulumi.export("endpoints", Output.secret(self._endpoints()))

    def _endpoints(self) -> dict[str, Any]:
        """What oncall/endpoints.py reads."""
        namespace, watching, sinks = self.settings.namespace, self.settings.watching.namespace, self.settings.sinks
        broker, admin = self.settings.broker, self.settings.broker.admin
        user, password = (admin.user, admin.password) if admin else ("", "")
        amqp = urlsplit(broker.amqp)
        return {
            "amqp": f"{amqp.scheme}://{quote(user)}:{quote(password)}@{amqp.netloc}{amqp.path}"
            if admin
            else broker.amqp,
            "management": {"url": admin.url if admin else broker.http, "user": user, "password": password},
            # The services that the Prometheus operator makes for whatever it runs.
            "prometheus": f"http://prometheus-operated.{watching}.svc:9090",
            "alertmanager": f"http://alertmanager-operated.{watching}.svc:9093",
            "blobs": {"connection_string": sinks.connection_string},
            "cosmos": {"endpoint": sinks.cosmos_endpoint, "key": sinks.cosmos_key, "database": self.catalog.database},
            "services": {
                service.name: [f"http://{service.name}.{namespace}.svc:{service.port}"]
                for service in self.catalog.services
            },
            "overrides": dict(self.stack.overrides),
            "generation": self.stack.generation,
            "kubernetes": {
                "namespace": namespace,
                "context": self.settings.context,
                "operator": broker.operator,
                "autoscaled": sorted(self.settings.autoscaled),
            },
        }

    def _provider(self, name: str, *, takes_over: bool = False) -> Provider:
        return Provider(
            name,
            context=self.settings.context or None,
            cluster_identifier=self.stack.stack,  # a context that is called otherwise is no other cluster
            enable_config_map_mutable=True,  # a board is changed where it is, else Grafana loses it for a moment
            upsert_existing_objects=takes_over or None,
        )

    def _credentials(self, user: str) -> Secret:
        """Each password is in a Secret of its own: one of a new generation never touches those that are in use."""
        metadata = self.place.metadata(
            credentials_of(user), of=user.rpartition("-")[0], component="credentials", labels=OPERATOR_READS
        )
        text: dict[str, pulumi.Input[str]] = {"username": user, "password": self.passwords[user]}
        return Secret(credentials_of(user), metadata=metadata, string_data=text, immutable=True, opts=self.place.opts())

    def _retirement(self, after: After) -> Retirement:
        """What makes bindings go before the services change."""
        bindings, opts = self.topology.bindings, ResourceOptions(depends_on=list(after))
        if not self.settings.broker.operator:
            return Retirement.over_the_api(bindings, Output.secret(self._api()), opts)
        names = {binding.path: manifest(binding, self.place.broker.reference).name for binding in bindings}
        return Retirement.of_custom_resources(names, self.settings.context, self.settings.namespace, opts)

    def _reached(self) -> Broker:
        return Broker("broker", Output.secret(self._api()), self.stack.broker_version, ResourceOptions())

    def _api(self) -> dict[str, str]:
        """The fields of broker_api.Api."""
        admin = self.settings.broker.admin
        if admin is None:
            raise ValueError("broker.objects is api and nobody to change them: infra/cluster/settings.py refuses that")
        return {"url": admin.url, "amqp": "", "user": admin.user, "password": admin.password}

    def _objects(self, wanted: Sequence[Object], after: After, *, keep: bool = False) -> list[Resource]:
        """`keep`: others may use the object too, or it holds messages, so that it outlives the stack."""
        if self.settings.broker.operator:
            place = replace(self.place, provider=self._provider("kept", takes_over=True)) if keep else self.place
            return [custom_resource(entry, place, after, keep=keep) for entry in wanted]
        opts = ResourceOptions(depends_on=list(after), retain_on_delete=keep)
        api = Output.secret(self._api())
        return [
            BrokerObject(entry, api, opts, password=self.passwords[entry.owner] if entry.owner else "")
            for entry in wanted
        ]
