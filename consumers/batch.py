"""From a trigger to one run of its job and one outcome, however often the trigger is delivered."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

from catalog import Catalog
from catalog.metrics import JOB_DURATION, JOB_RUNNING, JOB_RUNS, JOB_TRIGGERS
from consumers import envelope, jobs, log
from consumers.dead import identity
from consumers.events import Event
from consumers.jobs import Deps, Outcome, Request, Sinks
from consumers.judgement import Handler
from consumers.ledger import Lease, Ledger, Run
from consumers.metrics import Meters
from consumers.publish import Publisher
from consumers.verdicts import Later, Retry
from consumers.waiting import happens

LONGEST_REASON = 2000  # characters of an error that go into ledger and outcome; the log has all of it


def handler(
    catalog: Catalog, ledger: Ledger, sinks: Sinks, publisher: Publisher, meters: Meters, stopping: asyncio.Event
) -> Handler:
    """The handler of triggers; once `stopping` is set, a job ends at its next checkpoint and its trigger goes back."""
    batch = Batch(catalog, ledger, sinks, publisher, meters, stopping)
    for job in catalog.jobs:
        meters[JOB_RUNNING].labels(job.name).set_function(partial(batch.age, job.name))
    return batch.handle


@dataclass(eq=False)
class Batch:
    """The runs of one process."""

    catalog: Catalog
    ledger: Ledger
    sinks: Sinks
    publisher: Publisher
    meters: Meters
    stopping: asyncio.Event
    _answers: dict[tuple[str, str], asyncio.Task[bool]] = field(default_factory=dict)
    _held: list[Lease] = field(default_factory=list)

    async def handle(self, event: Event) -> bool:
        """True when the run ended here; False when it had, or was on its way. Raises Reject or Retry."""
        request = jobs.read(event, self.catalog)
        key = (request.job.name, request.trigger)
        if answer := self._answers.get(key):
            await asyncio.shield(answer)  # the broker lost patience and delivered again; the run goes on
            return False
        self._answers[key] = answer = asyncio.create_task(self._answer(request, event.correlation_id))
        try:
            return await answer
        finally:
            del self._answers[key]

    def age(self, job: str) -> float:
        """Seconds since the oldest run of a job in progress began; read from the thread that answers scrapes."""
        began = [lease.run.started_at for lease in list(self._held) if lease.run.job == job]
        return (datetime.now(UTC) - min(began)).total_seconds() if began else 0.0

    async def _answer(self, request: Request, correlation_id: str | None) -> bool:
        claim = await self._claim(request)
        ours = isinstance(claim, Lease)
        run = await self._finish(claim, request) if isinstance(claim, Lease) else claim
        await self._announce(run, correlation_id)
        return ours

    async def _claim(self, request: Request) -> Lease | Run:
        """The lease, or the run once it has ended; a run that another worker holds is waited for, but not for ever."""
        loop, queue = asyncio.get_running_loop(), self.catalog.queue_of("batch")
        until = loop.time() + queue.ack_timeout.total_seconds() / 2
        while True:
            claim = await self.ledger.claim(request.job.name, request.trigger)
            if isinstance(claim, Lease) or claim.status != "running":
                return claim
            held = f"{claim.owner} holds run {claim.trigger!r} until {claim.lease_until}"
            if loop.time() > until:
                raise Retry(Later.BUSY, held)
            if await happens(self.stopping, self.ledger.lease.total_seconds() / 12):
                raise Retry(Later.STOPPING, held)

    async def _finish(self, lease: Lease, request: Request) -> Run:
        """Run the job to its end and write that down. Raises Retry when it has to go on another time."""
        if lease.fresh:
            self.meters[JOB_TRIGGERS].labels(request.job.name).inc()
        self._held.append(lease)
        try:
            async with lease.kept():
                outcome = await self._outcome(lease, request)
                await lease.end(outcome.counts, outcome.fault)
        except Retry:
            await lease.release()
            raise
        except asyncio.CancelledError:
            lease.abandon(Retry(Later.STOPPING, "the process is ending"))
            raise
        finally:
            self._held.remove(lease)
        return lease.run

    async def _outcome(self, lease: Lease, request: Request) -> Outcome:
        """What came of the job; an error of its own is an outcome too. Raises Retry."""
        if self.stopping.is_set():
            raise Retry(Later.STOPPING, "the process is ending")
        if lease.exhausted:
            return Outcome(fault=f"no progress in {lease.run.attempt - 1} attempts: its workers died or were lost")
        deps = Deps(self.catalog, self.sinks, lease, self.stopping)
        try:
            return await asyncio.to_thread(jobs.load(request.job), request, deps)
        except Retry:
            raise
        except Exception as error:  # noqa: BLE001 - a job's error ends its run, and never silently
            log.failure("the job failed", error, job=request.job.name, run=request.trigger)
            return Outcome(fault=f"{type(error).__name__}: {error}"[:LONGEST_REASON])

    async def _announce(self, run: Run, correlation_id: str | None) -> None:
        """Publish how a run ended; the same run gives the same event, so that saying it twice harms nobody."""
        at = run.ended_at or run.started_at
        ended = envelope.iso(at)
        if run.status == "failed":
            data = {"job": run.job, "error": run.reason, "failedAt": ended}
        else:
            data = {"job": run.job, "completedAt": ended, "status": run.status}
        kind, source = f"workflow.job.{run.status}", self.catalog.queue_of("batch").service
        body = envelope.encode(f"{run.trigger}:{run.status}", kind, at, source, data, correlation_id)
        await self.publisher.publish(self.catalog.exchange.name, kind, body, message_id=identity(body))
        # counted here, and not where it ended: a worker may die in between
        if run.published_at is None and await self.ledger.note_published(run):
            self.meters[JOB_RUNS].labels(run.job, run.status).inc()
            self.meters[JOB_DURATION].labels(run.job).observe((at - run.started_at).total_seconds())
