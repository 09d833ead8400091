"""Between a trigger and its run: one document per trigger, which only the holder of its lease can change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import msgspec

from consumers import log, paths
from consumers.sinks import Changed, Documents
from consumers.verdicts import Later, Reject, Retry
from consumers.waiting import happens

MOST_ATTEMPTS = 5  # without progress; what kills its worker this often will kill the next one too


class LostLease(Retry):
    """Another worker took the run over; whoever gets this stops without side effects."""

    def __init__(self, run: Run) -> None:
        super().__init__(
            Later.FENCED, f"{run.owner} lost the lease of run {run.trigger!r}: another worker goes on with it"
        )


class Run(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One run as the ledger has it. Times are UTC.

    `attempt` counts the tries since the checkpoint last moved; `published_at` is when its outcome was confirmed by the
    broker; `reason` says why it failed.
    """

    id: str
    job: str
    trigger: str
    status: Literal["running", "completed", "failed"] = "running"
    attempt: int = 1
    owner: str
    lease_until: datetime
    checkpoint: dict[str, Any] = {}
    counts: dict[str, int] = {}
    reason: str = ""
    started_at: datetime
    ended_at: datetime | None = None
    published_at: datetime | None = None


class Ledger:
    """The runs, as one worker sees them; `owner` is the worker's name and stays the same when it is restarted."""

    def __init__(
        self,
        documents: Documents,
        container: str,
        owner: str,
        lease: timedelta,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._documents, self._container = documents, container
        self.owner, self.lease, self.clock = owner, lease, clock
        self._unreleased: dict[str, int] = {}

    async def claim(self, job: str, trigger: str) -> Lease | Run:
        """The lease of a run, or the run itself when it has ended or another worker holds it. Raises Retry.

        A lease in our own name is a leftover from before a restart: nobody else works on it, so it is not waited for.
        """
        stored = await self._read(job, trigger)
        if stored is None:
            return await self._begin(job, trigger)
        run, etag = stored
        if run.status != "running" or (run.owner != self.owner and run.lease_until > self.clock()):
            return run
        lease, counts = Lease(self, run, etag), self._unreleased.pop(trigger, None) != run.attempt
        try:
            await lease.take(counts=counts)
        except LostLease:  # somebody else was quicker
            return run
        except Retry:  # it may have been written all the same
            self.note_unreleased(trigger, run.attempt + counts)
            raise
        return lease

    def note_unreleased(self, trigger: str, attempt: int) -> None:
        """Remember an attempt that was nobody's failure, and that nobody could write down; the next is the same one."""
        self._unreleased[trigger] = attempt

    async def note_published(self, run: Run) -> bool:
        """Write down that the outcome of an ended run is out; whether nobody had, so that one worker counts the run."""
        stored = await self._read(run.job, run.trigger)
        if stored and stored[0].published_at is None:
            with suppress(Changed):
                await self.replace(msgspec.structs.replace(stored[0], published_at=self.clock()), stored[1])
                return True
        return False

    async def replace(self, run: Run, etag: str) -> str:
        """Write a run over the one with this tag; returns the new tag. Raises Changed or Retry."""
        return await self._documents.replace(self._container, msgspec.to_builtins(run), etag)

    async def _begin(self, job: str, trigger: str) -> Lease | Run:
        now = self.clock()
        new = Run(
            id=paths.document(trigger),
            job=job,
            trigger=trigger,
            owner=self.owner,
            lease_until=now + self.lease,
            started_at=now,
        )
        with suppress(Reject):  # another worker was first: what it wrote is what counts
            await self._documents.create(self._container, msgspec.to_builtins(new))
        stored = await self._read(job, trigger)
        if stored is None:
            raise Retry(Later.SINK_UNAVAILABLE, f"run {trigger!r} was written and cannot be read back yet")
        return Lease(self, new, stored[1], fresh=True) if stored[0] == new else stored[0]

    async def _read(self, job: str, trigger: str) -> tuple[Run, str] | None:
        stored = await self._documents.read(self._container, job, paths.document(trigger))
        return (msgspec.convert(stored.document, Run), stored.etag) if stored else None


class Lease:
    """The right to write one run. Each write names the tag of the one before, so that a second holder fences the first.

    `fresh`: the trigger was never seen before. `fault` is why there is nothing more to be written, once that is known.
    """

    def __init__(self, ledger: Ledger, run: Run, etag: str, *, fresh: bool = False) -> None:
        self.run, self.fresh = run, fresh
        self.fault: Retry | None = None
        self._ledger, self._etag = ledger, etag
        self._writing = asyncio.Lock()

    @property
    def exhausted(self) -> bool:
        """Whether the run was tried often enough without getting any further."""
        return self.run.attempt > MOST_ATTEMPTS

    async def take(self, *, counts: bool = True) -> None:
        """Make it ours; `counts` as an attempt, unless it goes on with the one before."""
        await self._write(owner=self._ledger.owner, attempt=self.run.attempt + counts, lease_until=self._until())

    async def checkpoint(self, state: Mapping[str, Any]) -> None:
        """Save how far the run is. Progress begins a new count of attempts."""
        moved = state != self.run.checkpoint
        attempt = 1 if moved else self.run.attempt
        await self._write(checkpoint=dict(state), attempt=attempt, lease_until=self._until())

    async def end(self, counts: Mapping[str, int], reason: str) -> None:
        """Write the end of the run: failed for a reason, else completed."""
        status = "failed" if reason else "completed"
        await self._write(status=status, counts=dict(counts), reason=reason, ended_at=self._ledger.clock())

    async def release(self) -> None:
        """Let the next worker begin at once; the attempt was nobody's failure. What cannot be written expires."""
        try:
            await self._write(attempt=self.run.attempt - 1, lease_until=self._ledger.clock())
        except LostLease:
            pass  # it is another's by now
        except Retry:
            self._ledger.note_unreleased(self.run.trigger, self.run.attempt)

    def abandon(self, why: Retry) -> None:
        """Write nothing from here on, whatever a thread that cannot be ended still tries."""
        self.fault = self.fault or why

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Renew it every third of its time while the block runs."""
        done = asyncio.Event()
        renewing = asyncio.create_task(self._renew(done))
        try:
            yield
        finally:
            done.set()  # not cancel: a write that is cut off leaves a tag that nobody knows
            await renewing

    async def _renew(self, done: asyncio.Event) -> None:
        while not await happens(done, self._ledger.lease.total_seconds() / 3):
            try:
                await self._write(lease_until=self._until())
            except LostLease:
                return  # the job hears of it at its next step
            except Retry as outage:  # if it lasts, the next write tells whether somebody took over meanwhile
                log.line("warning", message="lease not renewed", run=self.run.trigger, detail=outage.detail)

    async def _write(self, **changes: Any) -> None:
        async with self._writing:
            if self.fault:
                raise self.fault
            run = msgspec.structs.replace(self.run, **changes)
            try:
                self._etag = await self._ledger.replace(run, self._etag)
            except Changed as error:
                self.fault = LostLease(self.run)
                raise self.fault from error
            self.run = run

    def _until(self) -> datetime:
        return self._ledger.clock() + self._ledger.lease
