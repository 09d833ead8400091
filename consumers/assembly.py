"""Which handler writes to which sink: one client per process and sink, made before the first event."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from catalog.metrics import SCHEDULER_TICK
from consumers.judgement import Handler
from consumers.metrics import Meters
from consumers.outage import Probe
from consumers.publish import Publisher
from consumers.settings import Settings
from consumers.sinks import Blobs, Documents

# A module is imported only by the service that needs it: pyarrow, obstore and the Cosmos client are most of a process.
# ruff: noqa: PLC0415

IN_THE_LAKE = ("lake", "audit")


@dataclass
class Parts:
    """What one process works with; `background` goes on beside the workers."""

    settings: Settings
    publisher: Publisher
    meters: Meters
    stopping: asyncio.Event
    background: list[Coroutine[Any, Any, None]] = field(default_factory=list)

    @cached_property
    def blobs(self) -> Blobs:
        from consumers.sinks import account
        from consumers.sinks.blob import AzureBlobs

        settings = self.settings
        address, text = settings.data_lake_account, settings.data_lake_connection_string
        lake = account.at(address) if address else account.parse(text)
        return AzureBlobs(lake, settings.catalog.store("data_lake.container").name)

    @cached_property
    def documents(self) -> Documents:
        from consumers.sinks.cosmos import CosmosDocuments

        settings = self.settings
        return CosmosDocuments(settings.cosmos_endpoint, settings.cosmos_key, settings.catalog.database)

    def handler(self, name: str) -> Handler:
        """The handler of this name, with the sinks that it writes to. Raises KeyError for one that nobody wired."""
        return WIRING[name](self)

    def probe(self, name: str) -> Probe:
        """How the sink of this handler is asked whether it answers: by a write that leaves nothing behind."""
        if name in IN_THE_LAKE:
            return self.blobs.probe
        setting = {"batch": "cosmos_db.containers.batch_job_runs"}.get(name, "cosmos_db.containers.usage_ml")
        container = self.settings.catalog.store(setting).name
        return lambda: self.documents.probe(container)

    async def close(self) -> None:
        for name in ("blobs", "documents"):
            if name in self.__dict__:
                await getattr(self, name).close()


def _lake(parts: Parts) -> Handler:
    from consumers import lake

    return lake.handler(parts.blobs)


def _audit(parts: Parts) -> Handler:
    from consumers import audit

    return audit.handler(parts.blobs)


def _usage(parts: Parts) -> Handler:
    from consumers import usage

    container = parts.settings.catalog.store("cosmos_db.containers.usage_ml").name
    return usage.handler(parts.documents, container)


def _batch(parts: Parts) -> Handler:
    from consumers import batch
    from consumers.jobs import Sinks
    from consumers.ledger import Ledger
    from consumers.scheduler import Scheduler

    settings, catalog = parts.settings, parts.settings.catalog
    container = catalog.store("cosmos_db.containers.batch_job_runs").name
    ledger = Ledger(parts.documents, container, settings.replica, catalog.queue_of("batch").lease)
    if settings.scheduler:
        tick = parts.meters[SCHEDULER_TICK]
        scheduler = Scheduler(catalog, parts.publisher, lambda now: tick.set(now.timestamp()))
        parts.background.append(scheduler.run())
    sinks = Sinks(parts.blobs, parts.documents)
    return batch.handler(catalog, ledger, sinks, parts.publisher, parts.meters, parts.stopping)


WIRING: Mapping[str, Callable[[Parts], Handler]] = {"lake": _lake, "audit": _audit, "usage": _usage, "batch": _batch}
