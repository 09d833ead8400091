"""A stack's objects on a real broker, under names of its own, and the operator's command pointed at them."""

from __future__ import annotations

import io
import json
import uuid
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catalog import CATALOG, Catalog, Queue, resolve
from catalog.broker import Capabilities
from infra.broker_api import Api, put
from infra.topology import Topology, topology
from oncall.__main__ import main
from tests.brokers import LiveBroker


@dataclass(frozen=True)
class Answered:
    """What one command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class Site:
    """`file` is what `pulumi up` would leave, as far as the broker is concerned."""

    broker: LiveBroker
    catalog: Catalog
    file: Path

    @classmethod
    def on(cls, broker: LiveBroker, folder: Path, **more: Any) -> Site:
        names = {f"{queue.setting}.queue": f"{queue.name}_{uuid.uuid4().hex[:6]}" for queue in CATALOG.queues}
        api = broker.api
        endpoints = {
            "amqp": broker.url,
            "management": {"url": api.url, "user": api.user, "password": api.password},
            "overrides": names,
            **more,
        }
        file = folder / "endpoints.json"
        file.write_text(json.dumps(endpoints))
        return cls(broker, resolve(CATALOG, names), file)

    @property
    def api(self) -> Api:
        return self.broker.api

    @property
    def wanted(self) -> Topology:
        return topology(self.catalog, Capabilities.of(self.broker.version))

    @property
    def lake(self) -> Queue:
        return self.catalog.queue_of("lake")

    def make(self) -> None:
        """Everything that a stack makes, users included, and no users of another generation."""
        for user in self.api.get("users"):
            if user["name"].rpartition("-")[0] in {service.name for service in self.catalog.services}:
                self.api.delete(f"users/{user['name']}")
        for entry in self.wanted.objects:
            put(self.api, entry.path, entry.body, "throwaway" if entry.owner else "")

    def oncall(self, *arguments: str) -> Answered:
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            code = main([*arguments, "--endpoints", str(self.file)])
        return Answered(code, out.getvalue(), err.getvalue())
