"""Between a failed write and the next: whether the sink is down or only this event fails, or a person holds it all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from consumers import log
from consumers.verdicts import Later, Retry
from consumers.waiting import first

Probe = Callable[[], Awaitable[object]]

# What a sink throttles is tried again by itself, as long as a probe gets through.
SUSPICIOUS = (Later.SINK_UNAVAILABLE, Later.SINK_REFUSED, Later.SINK_THROTTLED)
PROBE_WITHIN = 4.0  # seconds for one probe; with the pause below: noticed within 6 s after the sink is back
LONGEST_PAUSE = 2.0


async def no_sink() -> None:
    """The probe of a handler that has no sink of its own to be down."""


class Outage:
    """Whether the sink of one queue is down, or held down on purpose. Meanwhile nothing is taken, and what fails waits.

    `gauge` is 1 meanwhile.
    """

    def __init__(self, queue: str, probe: Probe, gauge: Any) -> None:
        self._queue, self._probe, self._gauge = queue, probe, gauge
        self._asking = asyncio.Lock()
        self._watching: asyncio.Task[None] | None = None
        self._down, self._holder = "", ""
        self.began, self.over = asyncio.Event(), asyncio.Event()
        self.over.set()

    @property
    def lasts(self) -> bool:
        return self.began.is_set()

    @property
    def why(self) -> str:
        """Why nothing is taken, in words for a person; empty while it is."""
        return f"on purpose, by {self._holder}" if self._holder else self._down

    def hold(self, by: str) -> None:
        """Pause for planned work: until `release`, whatever the sink says meanwhile."""
        self._holder = by
        self._turn()
        log.line("warning", queue=self._queue, message="paused", reason="on_purpose", by=by)

    def release(self, by: str) -> None:
        """End a pause on purpose; one for the sink's sake goes on until the sink is back."""
        self._holder = ""
        self._turn()
        log.line("info", queue=self._queue, message="still paused" if self.lasts else "resumed", by=by, why=self.why)

    async def explains(self, failure: Retry) -> bool:
        """Whether an event failed because its sink is down; the first to find out begins the outage.

        The sink is asked twice: one that fails a request in twenty would be paused for by a single bad answer.
        """
        if failure.reason not in SUSPICIOUS:
            return False
        async with self._asking:
            if not (self.lasts or await self._answers() or await self._answers()):
                self._begin(failure)
        return self.lasts

    def end(self) -> None:
        """Look no longer; for the end of the process."""
        if self._watching:
            self._watching.cancel()

    def _begin(self, failure: Retry) -> None:
        self._down = str(failure)
        self._turn()
        self._watching = asyncio.get_running_loop().create_task(self._watch())
        log.line("error", queue=self._queue, message="paused", reason=failure.reason.value, detail=failure.detail)

    async def _watch(self) -> None:
        since, wait = time.monotonic(), 0.25
        await asyncio.sleep(wait)
        while not await self._answers():
            wait = min(2 * wait, LONGEST_PAUSE)
            await asyncio.sleep(wait)
        self._down, seconds = "", round(time.monotonic() - since, 1)
        self._turn()
        log.line("info", queue=self._queue, message="still paused" if self.lasts else "resumed", seconds=seconds)

    def _turn(self) -> None:
        lasts = bool(self._holder or self._down)
        self._gauge.set(lasts)
        for event, is_so in ((self.began, lasts), (self.over, not lasts)):
            event.set() if is_so else event.clear()

    async def _answers(self) -> bool:
        try:
            async with asyncio.timeout(PROBE_WITHIN):
                await self._probe()
        except Retry as failure:
            return failure.reason not in SUSPICIOUS
        except TimeoutError:
            return False
        except Exception as error:  # noqa: BLE001 - whatever it is, the events are safe in the queue until it is mended
            log.failure("the probe failed unexpectedly", error, queue=self._queue)
            return False
        return True

    async def passes(self, stopping: asyncio.Event, within: float) -> bool:
        """Hold on until the sink is back, but not longer than `within` seconds or the end of the process."""
        await first(self.over, stopping, within=within)
        return self.over.is_set()
