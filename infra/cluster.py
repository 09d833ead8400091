"""Target `kubernetes`: the resolved catalog in a namespace that is given, on a broker that others may share."""

from __future__ import annotations

from collections.abc import Sequence

import pulumi
from pulumi import Output, Resource, ResourceOptions
from pulumi_kubernetes import Provider
from pulumi_kubernetes.core.v1 import Secret

from catalog import Service
from catalog.broker import Capabilities
from infra.cluster_settings import ClusterSettings
from infra.files import Password
from infra.place import OPERATOR_READS, Place, credentials_of
from infra.settings import Settings
from infra.stores import BlobContainer, CosmosContainer
from infra.topology import Object, topology

After = Sequence[Resource]


class Cluster:
    """Each method makes one part of the stack and returns what others have to wait for."""

    def __init__(self, stack: Settings, settings: ClusterSettings) -> None:
        self.catalog, self.stack, self.settings = stack.catalog, stack, settings
        provider = Provider(
            "cluster",
            context=settings.context or None,
            cluster_identifier=stack.stack,  # a renamed context is no other cluster: nothing is made anew for it
            enable_config_map_mutable=True,  # a board is changed where it is, else Grafana loses it for a moment
        )
        self.place = Place(stack.stack, settings.namespace, settings.broker, provider)
        self.topology = topology(
            self.catalog,
            Capabilities.of(stack.broker_version),
            stack.generation,
            autoscaled=bool(settings.autoscaled),
        )
        self.passwords = {user.owner: Password(user.owner).text for user in self.topology.users}

    def broker(self) -> list[Resource]:
        """All objects of the broker but the bindings that bring events, with the Secrets of its users."""
        parts = self.topology
        exchanges = self._objects([e for e in parts.exchanges if self._is_ours(e)], after=[], keep=True)
        # Policies first: a queue is never without its limits, and while it is deleted it still tells what they are.
        policies = self._objects(parts.policies, after=exchanges)
        queues = self._objects(parts.queues, after=[*exchanges, *policies], keep=True)
        users = self._objects(parts.users, after=[self._credentials(user.owner) for user in parts.users])
        return [
            *self._objects(parts.dead_bindings, after=queues),
            *self._objects(parts.permissions, after=[*users, *exchanges]),
        ]

    def stores(self) -> list[Resource]:
        """The containers in accounts that exist."""
        sinks = self.settings.sinks
        if not sinks.create:
            return []
        connection_string = Output.secret(sinks.connection_string)
        account = Output.secret({"endpoint": sinks.cosmos_endpoint, "key": sinks.cosmos_key})
        opts = ResourceOptions()
        return [
            BlobContainer(store, connection_string, opts)
            if store.kind == "blob"
            else CosmosContainer(store, self.catalog.database, account, opts)
            for store in self.catalog.stores
        ]

    def service(self, service: Service, after: After) -> list[Resource]:
        return []

    def bindings(self, after: Sequence[After]) -> None:
        self._objects(self.topology.bindings, after=[resource for group in after for resource in group])

    def monitoring(self, after: Sequence[After]) -> None:
        pass

    def export(self) -> None:
        """Addresses as pods see them; from elsewhere they are reached through `kubectl port-forward`."""
        pulumi.export("endpoints", {})

    def _is_ours(self, exchange: Object) -> bool:
        """The exchange of the dead letters is; the shared one only where the stack says so."""
        return self.settings.broker.manages_exchange or exchange != self.topology.shared

    def _credentials(self, user: str) -> Secret:
        """Each password is in a Secret of its own: one of a new generation never touches those that are in use."""
        return Secret(
            f"credentials/{user}",
            metadata=self.place.metadata(
                credentials_of(user), of=user.rpartition("-")[0], component="credentials", labels=OPERATOR_READS
            ),
            string_data={"username": user, "password": self.passwords[user]},
            immutable=True,
            opts=self.place.opts(),
        )

    def _objects(self, wanted: Sequence[Object], after: After, *, keep: bool = False) -> list[Resource]:
        """`keep`: others may use the object too, or it holds messages, so that it outlives the stack."""
        return []
