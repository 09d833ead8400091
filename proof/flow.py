"""The messages on their way: published with confirmation, disturbed, and watched until every queue has settled them."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from catalog.metrics import CONSUMED, REJECTED
from consumers.amqp import Broker
from consumers.publish import ConfirmedPublisher
from consumers.verdicts import Retry
from oncall.trouble import Trouble
from proof.counters import Counters
from proof.plan import Message
from proof.stack import Stack, connections, cut, held

IN_FLIGHT = 200  # publishes that wait for their confirmation at the same time
STALE = 11.0  # seconds; figures of the management API may be this old (two ticks of 5 s)
LOOK = 0.5  # seconds between two looks
BULK = 0.9  # the share of a wave by which its rate is measured; the rest includes what is tried again after a pause

Say = Callable[[str], None]


class Flow:
    """Waves of messages; `rates` has the events/s at which each queue settled the bulk of its first wave."""

    def __init__(self, stack: Stack, counters: Counters, say: Say, limit: float) -> None:
        self._stack, self._counters, self._say, self._limit = stack, counters, say, limit
        self._goals: dict[str, float] = {}
        self._began, self._sure_after = time.monotonic(), 0.0
        self.rates: dict[str, float] = {}

    def publish(self, wave: Sequence[Message], *, disturb: bool = False) -> None:
        """Publish all. `disturb`: then every consumer loses its connection, with most of the work before it."""
        victims = self._consumers() if disturb else []
        counts = Counter(queue for message in wave for queue in message.becomes)
        self._goals = {queue: self._settled(queue) + count for queue, count in counts.items()}
        self._began = time.monotonic()
        self._say(f"publishing {len(wave):,} messages")
        asyncio.run(publish(self._stack.endpoints.amqp, self._stack.catalog.exchange.name, wave))
        # What is delivered again may be counted twice, so that only the broker's figures say when all is done.
        self._sure_after = time.monotonic() + STALE if disturb else self._began
        for victim in victims:
            self._say(f"cutting {len(victims)} connections: what consumers have in hand is delivered again")
            cut(self._stack, victim)

    def settle(self) -> None:
        """Wait until no queue holds anything. Raises Trouble, naming what is held where, after the limit."""
        deadline = time.monotonic() + self._limit
        while not self._is_settled(figures := held(self._stack)):
            if time.monotonic() > deadline:
                raise Trouble(_still_held(figures, self._limit))
            waiting = ", ".join(f"{name} ({at['messages']})" for name, at in figures.items() if at["messages"])
            self._say(f"waiting for {waiting or 'the last ones'}")
            time.sleep(LOOK)

    def _is_settled(self, figures: Mapping[str, Mapping[str, int]]) -> bool:
        now = time.monotonic()
        self._counters.look()
        for queue, goal in self._goals.items():
            if queue not in self.rates and self._settled(queue) >= BULK * goal:
                self.rates[queue] = self._settled(queue) / (now - self._began)
        open_goals = [queue for queue, goal in self._goals.items() if self._settled(queue) < goal]
        empty = not any(at["messages"] for at in figures.values())
        return empty and now > self._sure_after and (not open_goals or now > self._sure_after + STALE)

    def _consumers(self) -> list[str]:
        """The connections of all consumers, once the broker lists one for every queue."""
        deadline = time.monotonic() + self._limit
        while not all((found := connections(self._stack)).values()):
            if time.monotonic() > deadline:
                absent = ", ".join(queue for queue, names in found.items() if not names)
                raise Trouble(
                    f"{absent} has no consumer: `make status` says which process is down, `make up` starts it"
                )
            self._say("waiting for the consumers")
            time.sleep(LOOK)
        return [name for names in found.values() for name in names]

    def _settled(self, queue: str) -> float:
        return self._counters.total(CONSUMED, queue=queue) + self._counters.total(REJECTED, queue=queue)


async def publish(amqp: str, exchange: str, messages: Sequence[Message]) -> None:
    """Publish in order, many in flight; returns once the broker has confirmed all. Raises Trouble when it does not."""
    publisher, places = ConfirmedPublisher(Broker(amqp), "proof publisher"), asyncio.Semaphore(IN_FLIGHT)
    failures: list[Retry] = []

    async def one(message: Message) -> None:
        async with places:
            if failures:  # the rest is not begun; what is under way ends by itself, so that no connection is left open
                return
            try:
                await publisher.publish(
                    exchange, message.key, message.body, message_id=message.label, mandatory=bool(message.becomes)
                )
            except Retry as failure:
                failures.append(failure)

    try:
        await asyncio.gather(*map(one, messages))
    finally:
        await publisher.close()
        await asyncio.sleep(0.1)  # a connection that was lost closes its socket some turns of the loop later
    if failures:
        raise Trouble(f"publishing failed: {failures[0].detail}; run `make status`, then `make up` again")


def _still_held(figures: dict[str, dict[str, int]], limit: float) -> str:
    kinds = ("ready", "in hand", "between two tries")
    held_where = "; ".join(
        f"{name} holds " + ", ".join(f"{at[kind]} {kind}" for kind in kinds) for name, at in figures.items()
    )
    return (
        f"not settled after {limit:.0f} s: {held_where}."
        f" See `oncall status` and the logs of the consumers, then run `make up` again"
    )
