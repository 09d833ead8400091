"""What a batch job is given and gives back: `run(request, deps) -> Outcome`, called in a thread of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, NamedTuple, TypeVar

from catalog import Catalog, Job
from consumers.jobs.request import Request, read
from consumers.ledger import Lease
from consumers.sinks import Blobs, Document, Documents
from consumers.verdicts import Later, Retry

__all__ = ["Deps", "Outcome", "Request", "Sinks", "load", "read"]

BATCH = 256  # blobs between two checkpoints: a second of work, a minute of it where the sinks are slow
IN_FLIGHT = 32  # requests to a sink at the same time

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Outcome:
    """How a run ended: what it counted, and why it failed, which is empty when it did not."""

    counts: Mapping[str, int] = field(default_factory=dict)
    fault: str = ""


class Sinks(NamedTuple):
    """Where jobs read and write."""

    blobs: Blobs
    documents: Documents


class Deps:
    """The sinks and the ledger for one run, as calls that block the job's thread and not the loop.

    Every call raises Retry when a sink cannot answer now, or the run is no longer ours; a job lets it pass.
    """

    def __init__(self, catalog: Catalog, sinks: Sinks, lease: Lease, stopping: asyncio.Event) -> None:
        self._catalog, self._sinks, self._lease, self._stopping = catalog, sinks, lease, stopping
        self._loop = asyncio.get_running_loop()

    @property
    def saved(self) -> Mapping[str, Any]:
        """The state of the last checkpoint; empty at the beginning."""
        return self._lease.run.checkpoint

    def paths(self, prefix: str) -> Iterator[list[str]]:
        """The blobs below a folder prefix, sorted, a batch at a time."""
        listing = self._sinks.blobs.paths(prefix)
        while batch := self._wait(_next(listing, BATCH)):
            yield batch

    def read(self, paths: Iterable[str]) -> list[bytes | None]:
        """The bytes of each blob, None where there is none any more."""
        return self._wait(_each(self._read, paths))

    def upsert(self, setting: str, documents: Iterable[Document]) -> None:
        """Write documents, each with its own id, to the container that a setting names."""
        container = self._catalog.store(setting).name
        self._wait(_each(lambda document: self._sinks.documents.upsert(container, document), documents))

    def checkpoint(self, state: Mapping[str, Any]) -> None:
        """Save from where the run can be resumed. Raises Retry(STOPPING), once saved, when the process is ending."""
        self._wait(self._lease.checkpoint(state))
        if self._stopping.is_set():
            raise Retry(Later.STOPPING, f"run {self._lease.run.trigger!r} is saved and goes on elsewhere")

    def _wait(self, work: Coroutine[Any, Any, R]) -> R:
        if self._lease.fault:
            work.close()
            raise self._lease.fault
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _read(self, path: str) -> bytes | None:
        try:
            return await self._sinks.blobs.read(path)
        except KeyError:
            return None


def load(job: Job) -> Callable[[Request, Deps], Outcome]:
    """The `run` of a job's module."""
    found: Callable[[Request, Deps], Outcome] = import_module(f"consumers.jobs.{job.module}").run
    return found


async def _next(listing: AsyncIterator[str], most: int) -> list[str]:
    batch: list[str] = []
    async for path in listing:
        batch.append(path)
        if len(batch) == most:
            break
    return batch


async def _each(work: Callable[[T], Awaitable[R]], items: Iterable[T]) -> list[R]:
    """The results in the order of the items, IN_FLIGHT at a time; the first error ends the others."""
    places = asyncio.Semaphore(IN_FLIGHT)

    async def one(item: T) -> R:
        async with places:
            return await work(item)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(item)) for item in items]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]
