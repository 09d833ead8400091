"""The messages on their way: published with confirmation, disturbed, and watched until every queue has settled them."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import Callable, Sequence

from catalog.metrics import CONSUMED, REJECTED
from consumers.publish import ConfirmedPublisher
from consumers.verdicts import Retry
from oncall.trouble import Trouble
from proof.counters import Counters
from proof.plan import SHORT, Message
from proof.stack import Stack, cut_connections, held

IN_FLIGHT = 200  # publishes that wait for their confirmation at the same time
STALE = 11.0  # seconds; figures of the management API may be this old (two ticks of 5 s)
LOOK = 0.5  # seconds between two looks

Say = Callable[[str], None]


class Flow:
    """What was published to which queue since the start, and after how many seconds each queue had settled it."""

    def __init__(self, stack: Stack, counters: Counters, say: Say, limit: float) -> None:
        self._stack, self._counters, self._say, self._limit = stack, counters, say, limit
        self._published: Counter[str] = Counter()
        self._began = self._last_publish = time.monotonic()
        self.seconds: dict[str, float] = {}

    def publish(self, wave: Sequence[Message], *, disturb: bool = False) -> None:
        """Publish all. `disturb`: then every consumer loses its connection, with most of the work before it."""
        self._say(f"publishing {len(wave):,} messages")
        asyncio.run(publish(self._stack.endpoints.amqp, self._stack.catalog.exchange.name, wave))
        self._published.update(queue for message in wave for queue in message.becomes)
        self._last_publish = time.monotonic()
        if disturb:
            self._say(
                f"cutting {cut_connections(self._stack)} connections: what consumers have in hand is delivered again"
            )

    def settle(self) -> None:
        """Wait until no queue holds anything. Raises Trouble, naming what is held where, after the limit."""
        deadline = time.monotonic() + self._limit
        while True:
            now, figures = time.monotonic(), held(self._stack)
            self._counters.look()
            for queue, count in self._published.items():
                if self._settled(queue) >= count:
                    self.seconds.setdefault(queue, now - self._began)
            left = {name: figure for name, figure in figures.items() if figure["messages"]}
            counted = all(self._settled(queue) >= count for queue, count in self._published.items())
            if not left and (counted or now > self._last_publish + STALE):
                return
            if now > deadline:
                raise Trouble(_still_held(left or figures, self._limit))
            self._say(
                "waiting for "
                + (", ".join(f"{name} ({at['messages']})" for name, at in left.items()) or "the last ones")
            )
            time.sleep(LOOK)

    def _settled(self, queue: str) -> float:
        return self._counters.total(CONSUMED, queue=queue) + self._counters.total(REJECTED, queue=queue)


async def publish(amqp: str, exchange: str, messages: Sequence[Message]) -> None:
    """Publish in order, many in flight; returns once the broker has confirmed all. Raises Trouble when it does not."""
    publisher, places = ConfirmedPublisher(amqp, "proof publisher"), asyncio.Semaphore(IN_FLIGHT)

    async def one(message: Message) -> None:
        identity = message.identity
        if len(identity.encode()) > SHORT:
            identity = hashlib.sha256(message.body).hexdigest()
        async with places:
            await publisher.publish(
                exchange, message.key, message.body, message_id=identity, mandatory=bool(message.becomes)
            )

    try:
        async with asyncio.TaskGroup() as group:
            for message in messages:
                group.create_task(one(message))
    except* Retry as errors:
        raise Trouble(f"publishing failed: {errors.exceptions[0]}; run `make status`, then `make up` again") from errors
    finally:
        await publisher.close()


def _still_held(figures: dict[str, dict[str, int]], limit: float) -> str:
    held_where = "; ".join(
        f"{name} holds {at['ready']} ready and {at['in hand']} in hand" for name, at in figures.items()
    )
    return (
        f"not settled after {limit:.0f} s: {held_where}."
        f" See `oncall status` and the logs of the consumers, then run `make up` again"
    )
