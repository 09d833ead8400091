"""From a verdict to the dead letters: the event as it came, and the reason that a person needs."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

import msgspec
from pika.spec import BasicProperties

from catalog import Exchange, Queue
from consumers.events import MAX_DEPTH, depth_of
from consumers.publish import Publisher
from consumers.verdicts import Reject

# Headers that say where and why; `oncall dead` reads them and takes them off again for a replay.
PREFIX = "x-dead-"
# Headers of a death, ours and the broker's; an event that goes back begins a new life.
DEATH = (PREFIX, "x-death", "x-first-death-", "x-last-death-", "x-delivery-count", "x-acquired-count")
LONGEST_ID = 255  # bytes that an AMQP message id can hold


class DeadLetters:
    """The way from one queue to its dead letters."""

    def __init__(self, exchange: Exchange, queue: Queue, publisher: Publisher) -> None:
        self._exchange, self._queue, self._publisher = exchange, queue, publisher

    async def send(self, key: str, properties: BasicProperties, body: bytes, attempts: int, why: Reject) -> None:
        """Publish one dead letter. Raises Retry when the broker does not confirm it."""
        headers = {
            **{name: value for name, value in (properties.headers or {}).items() if not name.startswith(DEATH)},
            f"{PREFIX}reason": why.reason.value,
            f"{PREFIX}detail": why.detail[:1000],
            f"{PREFIX}attempts": attempts,
            f"{PREFIX}queue": self._queue.name,
            f"{PREFIX}key": key,
            f"{PREFIX}at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        await self._publisher.publish(
            self._exchange.dead, self._queue.name, body, message_id=identity(body), headers=headers, mandatory=True
        )


class _Identified(msgspec.Struct):
    id: Any = None


def identity(body: bytes) -> str:
    """What tells two dead letters apart: the event's id, or the body's hash where no id can be read or sent."""
    found: Any = None
    if depth_of(body) <= MAX_DEPTH:  # close to what a parser can bear, it is chance whether it comes to the id
        try:
            found = msgspec.json.decode(body, type=_Identified).id
        except (UnicodeDecodeError, msgspec.DecodeError):  # the first is no DecodeError of theirs
            found = None
    usable = isinstance(found, str) and 0 < len(found.encode(errors="surrogatepass")) <= LONGEST_ID
    return found if usable else f"sha256:{hashlib.sha256(body).hexdigest()}"
