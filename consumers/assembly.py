"""Which handler writes to which sink: one client per process and sink, made before the first event."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from catalog.metrics import SCHEDULER_TICK
from consumers.judgement import Handler
from consumers.metrics import Meters
from consumers.outage import Probe
from consumers.publish import Publisher
from consumers.settings import Settings
from consumers.sinks import PROBE, Blobs, Documents

# A module is imported only by the service that needs it: pyarrow, obstore and the Cosmos client are most of a process.
# ruff: noqa: PLC0415

# What each handler writes to: blobs, or the documents of a store.
IN_THE_LAKE = ("lake", "audit")
READS_THE_LAKE = ("batch",)
DOCUMENTS_OF = {"usage": "cosmos_db.containers.usage_ml", "batch": "cosmos_db.containers.batch_job_runs"}


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
        from consumers.sinks.blob import AzureBlobs

        lake = self.settings.lake
        assert lake  # of every service that writes or reads there
        return AzureBlobs(lake, self.settings.catalog.store("data_lake.container").name)

    @cached_property
    def documents(self) -> Documents:
        from consumers.sinks.cosmos import CosmosDocuments

        settings = self.settings
        return CosmosDocuments(settings.cosmos_endpoint, settings.cosmos_key, settings.catalog.database)

    def handler(self, name: str) -> Handler:
        """The handler of this name, with the sinks that it writes to. Raises KeyError for one that nobody wired."""
        return WIRING[name](self)

    def container(self, name: str) -> str:
        """Where this handler's documents are. Raises KeyError for one that writes none."""
        return self.settings.catalog.store(DOCUMENTS_OF[name]).name

    def probe(self, name: str) -> Probe:
        """How the sink of this handler is asked whether it answers. Raises KeyError for a handler without a sink.

        Of the lake that jobs only read, reading is all that is asked for: they may not be allowed more.
        """
        if name in IN_THE_LAKE:
            return self.blobs.probe
        container = self.container(name)

        async def probe() -> None:
            await self.documents.probe(container)
            if name in READS_THE_LAKE:
                with suppress(KeyError):  # there is no such blob, says a lake that answers
                    await self.blobs.read(PROBE)

        return probe

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

    return usage.handler(parts.documents, parts.container("usage"))


def _batch(parts: Parts) -> Handler:
    from consumers import batch
    from consumers.jobs import Sinks
    from consumers.ledger import Ledger
    from consumers.scheduler import Scheduler

    settings, catalog = parts.settings, parts.settings.catalog
    ledger = Ledger(parts.documents, parts.container("batch"), settings.replica, catalog.queue_of("batch").lease)
    if settings.scheduler:
        tick = parts.meters[SCHEDULER_TICK]
        scheduler = Scheduler(catalog, parts.publisher, lambda now: tick.set(now.timestamp()))
        parts.background.append(scheduler.run())
    sinks = Sinks(parts.blobs, parts.documents)
    return batch.handler(catalog, ledger, sinks, parts.publisher, parts.meters, parts.stopping)


WIRING: Mapping[str, Callable[[Parts], Handler]] = {"lake": _lake, "audit": _audit, "usage": _usage, "batch": _batch}
