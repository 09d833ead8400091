"""Between a stack's target and its parts: the list of what is built, in the order in which it has to be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pulumi import Resource

from catalog import Catalog, Service


class Target(Protocol):
    """Where a stack goes. Each method makes one part of it and returns what others have to wait for."""

    catalog: Catalog

    def broker(self) -> list[Resource]:
        """All broker objects except the bindings that bring events; bindings that are no longer wanted go here."""

    def stores(self) -> list[Resource]:
        """The containers that are written to."""

    def service(self, service: Service, after: Sequence[Resource]) -> list[Resource]:
        """A service's replicas with all they need."""

    def bindings(self, after: Sequence[Sequence[Resource]]) -> None: ...

    def monitoring(self, after: Sequence[Sequence[Resource]]) -> None: ...

    def export(self) -> None:
        """The stack's output `endpoints`, which oncall/endpoints.py reads."""


def build(target: Target) -> None:
    broker = target.broker()
    stores = target.stores()
    services = [target.service(service, after=[*broker, *stores]) for service in target.catalog.services]
    target.bindings(after=services)  # an event comes only after those who understand it
    target.monitoring(after=services)
    target.export()
