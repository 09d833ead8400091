"""Both targets are the same list of parts, built in the same order."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import pytest

from catalog import CATALOG, Catalog, Service
from infra.cluster.target import Cluster
from infra.local import Local
from infra.program import Target, build

PARTS = {name: part for name, part in vars(Target).items() if inspect.isfunction(part) and not name.startswith("_")}


class Noted:
    """A target that notes what it is asked for, and returns its name as what others wait for."""

    def __init__(self) -> None:
        self.catalog: Catalog = CATALOG
        self.asked: list[tuple[str, Any]] = []

    def broker(self) -> list[Any]:
        return self._note("broker", ())

    def stores(self) -> list[Any]:
        return self._note("stores", ())

    def service(self, service: Service, after: Sequence[Any]) -> list[Any]:
        return self._note(service.name, after)

    def bindings(self, after: Sequence[Sequence[Any]]) -> None:
        self._note("bindings", [name for group in after for name in group])

    def monitoring(self, after: Sequence[Sequence[Any]]) -> None:
        self._note("monitoring", [name for group in after for name in group])

    def export(self) -> None:
        self._note("export", ())

    def _note(self, part: str, after: Sequence[Any]) -> list[Any]:
        self.asked.append((part, list(after)))
        return [part]


@pytest.mark.parametrize("target", [Local, Cluster])
@pytest.mark.parametrize("part", PARTS)
def test_a_target_has_every_part(target: type, part: str) -> None:
    """What the program asks of one it may ask of the other, with the same arguments."""
    assert len(PARTS) > 5
    assert list(inspect.signature(PARTS[part]).parameters) == list(inspect.signature(getattr(target, part)).parameters)


def test_events_come_after_those_who_understand_them() -> None:
    """Services wait for broker and stores, bindings and monitoring for every service."""
    target = Noted()
    services = [service.name for service in CATALOG.services]

    build(target)

    assert [
        ("broker", []),
        ("stores", []),
        *((name, ["broker", "stores"]) for name in services),
        ("bindings", services),
        ("monitoring", services),
        ("export", []),
    ] == target.asked
