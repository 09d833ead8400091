"""One message in hand: what the broker says of it, and what a person reads of it afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pika.channel import Channel
from pika.spec import BasicProperties

from consumers import log
from consumers.events import Event
from consumers.verdicts import Later, Reject, Retry

# Reasons that are nobody's failure: the event goes back without counting as a try, where the broker can do that.
NOT_A_TRY = (Later.STOPPING, Later.BUSY, Later.FENCED, Later.PAUSED)


@dataclass(eq=False)
class Delivery:
    """A message on the channel that brought it; its tag means nothing on any other.

    Which defence is at work: `alone` is handled with nothing beside it, `held` was kept while its sink was down,
    `resting` waits here for its next try, because the broker cannot delay one. `came` is the loop's time.
    """

    channel: Channel
    tag: int
    key: str
    properties: BasicProperties
    body: bytes
    began: float = 0.0
    took: float = 0.0
    event: Event | None = None
    alone: bool = False
    held: bool = False
    resting: bool = False
    came: float = field(default_factory=lambda: asyncio.get_running_loop().time())

    @property
    def headers(self) -> Mapping[str, Any]:
        return self.properties.headers or {}

    @property
    def age(self) -> float:
        """Seconds since it came."""
        return asyncio.get_running_loop().time() - self.came

    @property
    def charged(self) -> int:
        """How many earlier deliveries the broker holds against it; what else a producer wrote there counts for none."""
        count = self.headers.get("x-delivery-count", 0)
        return max(0, int(count)) if isinstance(count, int) and not isinstance(count, bool) else 0

    @property
    def attempt(self) -> int:
        """1 for the first delivery."""
        return self.charged + 1

    def tell(self, queue: str, verdict: bool | Reject | Retry, *, answered: bool) -> None:
        """The log line of this delivery."""
        word, why = _in_words(verdict)
        if not answered:
            why = {**why, "unanswered": "its connection was lost, it is delivered again"}
        defences = {name: True for name in ("alone", "held", "resting") if getattr(self, name)}
        event = self.event
        log.line(
            "warning" if why else "info",
            queue=queue,
            key=self.key,
            id=event.id if event else self.properties.message_id,
            tenant=event.tenant if event else None,
            attempt=self.attempt,
            verdict=word,
            ms=round(self.took * 1000, 1),
            correlation_id=event.correlation_id if event else None,
            **defences,
            **why,
        )


def _in_words(verdict: bool | Reject | Retry) -> tuple[str, dict[str, str]]:
    if isinstance(verdict, Reject):
        return "dead_lettered", {"reason": verdict.reason.value, "detail": verdict.detail}
    if isinstance(verdict, Retry):
        word = "returned" if verdict.reason in NOT_A_TRY else "retried"
        return word, {"reason": verdict.reason.value, "detail": verdict.detail}
    return ("written" if verdict else "duplicate"), {}
