"""From one queue to another: every message once, confirmed there before it is acknowledged here."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pika
from pika.channel import Channel

from consumers.amqp import Broker, Link, LinkLost, connect
from oncall.endpoints import Endpoints
from oncall.marks import ADDED, LOOK, Way, answer, check, fingerprint, fingerprints, is_marker, ready
from oncall.trouble import Trouble

WINDOW = 100  # messages in hand; a body may have 1 MiB
TELL = 2.0  # seconds between two words to a person
SETTLED_WITHIN = 1.0  # seconds in which what was routed before a binding went has arrived


@dataclass
class Moved:
    """`sent` went over; `known` were there already; `direct` of both had been published straight to the queue.

    `there` were in the target when it began, the known ones among them: `least` must be in it at the end.
    """

    there: int = 0
    sent: int = 0
    known: int = 0
    direct: int = 0
    seconds: float = 0.0

    @property
    def least(self) -> int:
        return self.there + self.sent

    @property
    def rate(self) -> float:
        return (self.sent + self.known) / max(self.seconds, 0.001)


def move(endpoints: Endpoints, way: Way, tell: Callable[[Moved], None]) -> Moved:
    """Empty the source, to which nothing may be bound any more. Raises Trouble; then nothing is lost, and it can go on.

    Needs 100 bytes of memory for each message that the target holds at the beginning.
    """
    try:
        return asyncio.run(_move(endpoints, way, tell))
    except LinkLost as lost:
        raise Trouble(f"{lost}; run it again, it goes on where it was") from None


async def _move(endpoints: Endpoints, way: Way, tell: Callable[[Moved], None]) -> Moved:
    link = await connect(Broker(endpoints.amqp), "oncall")
    try:
        await asyncio.sleep(SETTLED_WITHIN)
        there = await fingerprints(link, way)
        transfer = _Transfer(link, way, there, Moved(there=there.total()))
        await transfer.run(tell)
        return transfer.moved
    finally:
        await link.close()


def as_it_came(properties: pika.BasicProperties) -> pika.BasicProperties:
    """Without what the broker added, and without the first sender's login, which it would not take from us."""
    headers = {name: value for name, value in (properties.headers or {}).items() if name not in ADDED}
    properties.headers, properties.user_id = headers or None, None
    return properties


@dataclass
class _Transfer:
    """One channel that takes and publishes; what it holds when it ends goes back to the source."""

    link: Link
    way: Way
    there: Counter[bytes]
    moved: Moved
    fault: str = ""
    _published: int = 0
    _in_hand: dict[int, int] = field(default_factory=dict)  # publish number: delivery tag

    async def run(self, tell: Callable[[Moved], None]) -> None:
        channel, began = self.link.channel, time.monotonic()
        channel.confirm_delivery(self._settle)
        channel.add_on_return_callback(self._returned)
        await answer(self.link, lambda done: channel.basic_qos(prefetch_count=WINDOW, callback=done))
        channel.basic_consume(self.way.source, self._take)
        last, told, progress = (0, 0), began, began
        while not await self._empty():
            await asyncio.sleep(LOOK)
            now = time.monotonic()
            self.moved.seconds = now - began
            if self.fault:
                raise Trouble(self.fault)
            if (self.moved.sent, self.moved.known) != last:
                last, progress = (self.moved.sent, self.moved.known), now
            if now > told + TELL:
                tell(self.moved)
                told = now
            if now > progress + self.way.patience:
                raise Trouble(
                    f"{self.way.elsewhere()} message(s) of {self.way.source} cannot be taken: somebody holds them"
                    " unacknowledged; close that connection in the management page, then run it again"
                )
        self.moved.seconds = time.monotonic() - began

    async def _empty(self) -> bool:
        """Nothing left: none in our hands, none to be taken, none in anybody else's."""
        check(self.link)
        if self._in_hand or self.fault or await ready(self.link, self.way.source):
            return False
        return not await asyncio.to_thread(self.way.elsewhere)

    def _take(self, channel: Channel, method: Any, properties: pika.BasicProperties, body: bytes) -> None:
        if is_marker(method, properties, self.way):
            channel.basic_ack(method.delivery_tag)
            return
        self.moved.direct += not method.exchange
        mark = fingerprint(method.routing_key, properties, body)
        if self.there[mark]:
            self.there[mark] -= 1
            self.moved.known += 1
            channel.basic_ack(method.delivery_tag)
            return
        channel.basic_publish(self.way.exchange, method.routing_key, body, as_it_came(properties), mandatory=True)
        self._published += 1
        self._in_hand[self._published] = method.delivery_tag

    def _settle(self, frame: Any) -> None:
        said = frame.method
        numbers = [n for n in self._in_hand if n <= said.delivery_tag] if said.multiple else [said.delivery_tag]
        if not isinstance(said, pika.spec.Basic.Ack):
            self.fault = (
                self.fault or f"the broker refused a message for {self.way.target}: is a node down, or the disk full?"
            )
        for number in numbers:
            tag = self._in_hand.pop(number)
            if not self.fault:  # a message that was returned is confirmed as well, right after
                self.link.channel.basic_ack(tag)
                self.moved.sent += 1

    def _returned(self, *_: Any) -> None:
        self.fault = f"queue {self.way.target} is gone, or not bound to {self.way.exchange}: run it again"
