"""What tests ask of batch runs: a platform that outlives its workers, triggers, and a publisher that remembers."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from catalog import CATALOG
from consumers import batch, jobs
from consumers.events import Event
from consumers.jobs import Deps, Outcome, Request, Sinks
from consumers.judgement import Handler
from consumers.ledger import Ledger, Run
from consumers.metrics import Meters
from consumers.paths import document
from consumers.sinks.memory import MemoryBlobs, MemoryDocuments
from tests.brokers import SLOWER
from tests.samples import sample, with_data

JOB = CATALOG.jobs[0].name
RUNS = CATALOG.store("cosmos_db.containers.batch_job_runs").name
SNAPSHOTS = CATALOG.store("cosmos_db.containers.risk_snapshots").name
Script = Callable[[Request, Deps], Outcome]
PARTITIONS = {store.name: store.partition_key for store in CATALOG.stores if store.partition_key}


class Crash(BaseException):
    """The process dies here: nothing below it is caught, nothing after it happens."""


class CrashAfter:
    """A store that dies with its process after the nth write of a kind ("upsert" or "replace" to a status)."""

    def __init__(self, documents: Any, kind: str, nth: int = 1) -> None:
        self._documents, self._kind, self._left = documents, kind, nth

    def __getattr__(self, name: str) -> Any:
        return getattr(self._documents, name)

    async def upsert(self, container: str, document: Any) -> None:
        await self._documents.upsert(container, document)
        self._die("upsert")

    async def replace(self, container: str, document: Any, etag: str) -> str:
        tag = await self._documents.replace(container, document, etag)
        self._die("published" if document["publishedAt"] else document["status"])
        return str(tag)

    def _die(self, kind: str) -> None:
        self._left -= kind == self._kind
        if kind == self._kind and self._left == 0:
            raise Crash


@dataclass
class Outbox:
    """A publisher that remembers what was confirmed; `fail` raises in the place of the next confirmations."""

    sent: list[dict[str, Any]] = field(default_factory=list)
    fail: list[BaseException] = field(default_factory=list)

    async def publish(
        self,
        exchange: str,
        key: str,
        body: bytes,
        *,
        message_id: str,
        headers: Mapping[str, object] | None = None,  # noqa: ARG002 - outcomes and triggers carry none
        mandatory: bool = False,
    ) -> None:
        sent = {"exchange": exchange, "key": key, "id": message_id, "mandatory": mandatory, "event": json.loads(body)}
        if self.fail and not isinstance(self.fail[0], Crash):
            raise self.fail.pop(0)
        self.sent.append(sent)
        if self.fail:
            raise self.fail.pop(0)


@dataclass
class Platform:
    """What outlives a worker: the sinks and the exchange. `worker(...)` starts a process of risk-analytics."""

    documents: Any = field(default_factory=lambda: MemoryDocuments(PARTITIONS))
    blobs: Any = field(default_factory=MemoryBlobs)
    outbox: Outbox = field(default_factory=Outbox)
    lease: timedelta = timedelta(seconds=0.3)

    def worker(self, owner: str = "a") -> Worker:
        return Worker(self, owner)

    async def run_of(self, trigger: Event) -> Run:
        """The run in the ledger."""
        stored = await self.documents.read(RUNS, JOB, document(trigger.id))
        return msgspec.convert(stored.document, Run)

    async def snapshots(self, **where: Any) -> dict[str, dict[str, Any]]:
        """The snapshots by id."""
        return {entry["id"]: entry async for entry in self.documents.query(SNAPSHOTS, where)}

    @property
    def outcomes(self) -> list[str]:
        return [sent["id"] for sent in self.outbox.sent]


class Worker:
    """One process: its ledger, its handler, its metrics, and the event that stops it."""

    def __init__(self, platform: Platform, owner: str) -> None:
        self.stopping = asyncio.Event()
        self.meters = Meters(CATALOG, "risk-analytics")
        self.ledger = Ledger(platform.documents, RUNS, owner, platform.lease)
        sinks = Sinks(platform.blobs, platform.documents)
        self.handle: Handler = batch.handler(CATALOG, self.ledger, sinks, platform.outbox, self.meters, self.stopping)

    def count(self, metric: Any, *labels: str) -> float:
        return float(self.meters[metric].labels(*labels)._value.get())


def trigger(identity: str = "trigger-1", **changes: Any) -> Event:
    """The sample trigger; `changes` replace fields of its data."""
    return sample("workflow.job.trigger", id=identity, data=with_data("workflow.job.trigger", **changes))


async def until(what: Callable[[], Any], seconds: float = 20) -> None:
    """As `eventually` of tests/brokers.py, while the loop goes on. Raises AssertionError with the last answer."""
    clock = asyncio.get_running_loop().time
    began = clock()
    while not (answer := what()):
        waited = clock() - began
        assert waited < SLOWER * seconds, f"still {answer!r} after {waited:.0f} s"
        await asyncio.sleep(max(0.005, waited / 20))


class ScriptedJob:
    """A job that does as it is told: `begun` counts its runs, `go` lets it end, `steps` are its checkpoints."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.steps, self.go = 0, list[Any](), threading.Event()
        self.go.set()
        self.script: Script = lambda _request, _deps: Outcome({"blobs": 3})
        monkeypatch.setattr(jobs, "load", lambda _job: self.run)

    def run(self, request: Request, deps: Deps) -> Outcome:
        self.begun += 1
        assert self.go.wait(20)
        return self.script(request, deps)

    def fails_with(self, error: BaseException) -> None:
        def script(_request: Request, _deps: Deps) -> Outcome:
            raise error

        self.script = script

    def counts_to(self, last: int) -> None:
        """Write one document and one checkpoint a step, from where it was left."""

        def script(_request: Request, deps: Deps) -> Outcome:
            for step in range(deps.saved.get("step", 0) + 1, last + 1):
                self.steps.append(step)
                deps.upsert("cosmos_db.containers.risk_snapshots", [{"id": str(step), "tenantId": "t"}])
                deps.checkpoint({"step": step})
            return Outcome({"steps": last})

        self.script = script
