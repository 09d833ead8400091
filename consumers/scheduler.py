"""From the catalog's cron lines to triggers: each due time is published under an id of its own, by however many."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cronsim import CronSim

from catalog import Catalog, Job
from consumers import envelope, log
from consumers.publish import Publisher
from consumers.verdicts import Retry

TICK = 5.0  # seconds between two looks at the clock
LATE = timedelta(hours=1)  # a due time that was slept through is made up for when it is no older


@dataclass
class Scheduler:
    """Publishes triggers as they fall due; `ticked` hears the time of each look at the clock.

    A due time gives the same event id everywhere and after every restart, so that several schedulers, or one that
    starts again, cause one run.
    """

    catalog: Catalog
    publisher: Publisher
    ticked: Callable[[datetime], None]
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    _done: dict[str, datetime] = field(default_factory=dict)  # published, or left out
    _refused: dict[str, datetime] = field(default_factory=dict)

    async def run(self) -> None:
        """Tick until cancelled."""
        while True:
            await self.tick()
            await asyncio.sleep(TICK)

    async def tick(self) -> None:
        """Publish what fell due since the last time; what the broker does not take is tried again at the next tick."""
        now = self.clock()
        self.ticked(now)
        for job in self.catalog.jobs:
            due = last_due(job, now)
            if due == self._done.get(job.name):
                continue
            if due <= now - LATE:
                self._leave(job, due)
                continue
            try:
                await self._publish(job, due)
            except Retry as error:
                log.line("warning", message="trigger not published", job=job.name, due=due, detail=error.detail)
                self._refused[job.name] = due
            else:
                self._done[job.name] = due

    def _leave(self, job: Job, due: datetime) -> None:
        """Say that a due time is too old: an error if it was tried here, else another may have published it."""
        level, hint = "info", "oncall runs shows whether another process published it"
        if self._refused.get(job.name) == due:
            level, hint = "error", f"run it by hand: oncall trigger {job.name}"
        log.line(level, message="trigger left out", job=job.name, due=due, detail=hint)
        self._done[job.name] = due

    async def _publish(self, job: Job, due: datetime) -> None:
        at, queue = envelope.iso(due), self.catalog.queue_of("batch")
        kind = self.catalog.handler(queue.handler).types[0]
        identity = f"{job.name}:{at}"
        data = {"job": job.name, "metadata": {"schedule": job.cron}, "triggeredBy": "scheduler", "timestamp": at}
        body = envelope.encode(identity, kind, due, queue.service, data, correlation_id=None)
        await self.publisher.publish(self.catalog.exchange.name, kind, body, message_id=identity, mandatory=True)


def last_due(job: Job, now: datetime) -> datetime:
    """The latest due time that is not after `now` (UTC)."""
    return next(CronSim(job.cron, now + timedelta(microseconds=1), reverse=True))
