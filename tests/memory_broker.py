"""A broker and its time in memory: quorum queue rules as measured, without a server and without waiting."""

from __future__ import annotations

import asyncio
import selectors
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from pika.spec import BasicProperties

from consumers.amqp import Link, LinkLost


class _NoWait(selectors.SelectSelector):
    """Instead of waiting, time jumps."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        assert timeout is not None, "everything waits for something that never comes"
        self.now += max(0.0, timeout)
        return []


class InstantLoop(asyncio.SelectorEventLoop):
    """A loop in which an hour of sleep takes no time."""

    def __init__(self) -> None:
        self._no_wait = _NoWait()
        super().__init__(self._no_wait)

    def time(self) -> float:
        return self._no_wait.now


@dataclass(eq=False)
class Message:
    body: bytes
    charged: int = 0


@dataclass
class MemoryBroker:
    """One quorum queue; `faults` names what a client did that a real broker would punish."""

    version: str
    limit: int = 1_000_000
    ready: deque[Message] = field(default_factory=deque)
    channels: list[MemoryChannel] = field(default_factory=list)
    acked: list[bytes] = field(default_factory=list)
    dead: list[bytes] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    async def connect(self, *_: Any) -> Link:
        channel, closed = MemoryChannel(self), asyncio.Event()
        self.channels.append(channel)
        lost: asyncio.Future[LinkLost] = asyncio.get_running_loop().create_future()

        def close() -> None:
            channel.drop()
            closed.set()

        connection: Any = SimpleNamespace(is_open=True, close=close, server_properties={"version": f"{self.version}.0"})
        channel.link = Link(connection, channel, lost, closed)  # type: ignore[arg-type]
        return channel.link

    def give_back(self, message: Message, *, charge: bool) -> None:
        message.charged += charge
        if message.charged > self.limit:
            self.dead.append(message.body)
        else:
            self.ready.append(message) if charge and self.version == "4.3" else self.ready.appendleft(message)

    def deliver(self, most: int) -> int:
        """Hand out up to so many messages, in turn to the channels with room; the number handed out."""
        for count in range(most):
            free = [channel for channel in self.channels if channel.has_room]
            if not free or not self.ready:
                return count
            self.channels.remove(free[0])
            self.channels.append(free[0])
            free[0].take(self.ready.popleft())
        return most


class MemoryChannel:
    """What the worker calls of a channel."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        self.link: Link | None = None
        self.is_open = True
        self.unacked: dict[int, Message] = {}
        self._tags = 0
        self._prefetch, self._consumer, self._first = 0, 0, 0
        self._callback: Callable[..., None] | None = None
        self.on_cancel: Callable[[Any], None] = lambda _: None
        self._cancelled: set[str] = set()

    @property
    def has_room(self) -> bool:
        return self.is_open and self._callback is not None and self._of_consumer() < self._prefetch

    def _of_consumer(self) -> int:
        """What the present consumer holds; that of a cancelled one no longer counts, as with a real broker."""
        return sum(tag > self._first for tag in self.unacked)

    def basic_qos(self, prefetch_count: int) -> None:
        self._prefetch = prefetch_count

    def basic_consume(self, _: str, take: Callable[..., None], callback: Callable[[Any], None]) -> str:
        self._callback, self._first = take, self._tags
        self._consumer += 1
        asyncio.get_running_loop().call_soon(callback, None)
        return f"consumer-{self._consumer}"

    def basic_cancel(self, _: str, callback: Callable[[Any], None]) -> None:
        def cancelled() -> None:
            self._callback = None
            callback(None)

        asyncio.get_running_loop().call_soon(cancelled)

    def add_on_cancel_callback(self, callback: Callable[[Any], None]) -> None:
        self.on_cancel = callback

    def take(self, message: Message) -> None:
        assert self._callback
        self._tags += 1
        self.unacked[self._tags] = message
        headers = {"x-delivery-count": message.charged} if message.charged else {}
        method = SimpleNamespace(delivery_tag=self._tags, routing_key="risk.evaluated")
        self._callback(self, method, BasicProperties(headers=headers), message.body)

    def basic_ack(self, tag: int) -> None:
        if message := self._settle(tag):
            self._broker.acked.append(message.body)

    def basic_reject(self, tag: int) -> None:
        if message := self._settle(tag):
            self._broker.give_back(message, charge=True)

    def basic_nack(self, tag: int) -> None:
        if message := self._settle(tag):
            self._broker.give_back(message, charge=self._broker.version != "4.3")

    def _settle(self, tag: int) -> Message | None:
        if not self.is_open or tag not in self.unacked:
            self._broker.faults.append(f"tag {tag} settled twice, or on a channel that is gone")
            return None
        return self.unacked.pop(tag)

    def drop(self) -> None:
        """The connection ends: everything in hand is charged."""
        if not self.is_open:
            return
        self.is_open = False
        self._broker.channels.remove(self)
        for message in list(self.unacked.values())[::-1]:
            self._broker.give_back(message, charge=True)
        self.unacked = {}
        if self.link and not self.link.lost.done():
            self.link.connection.is_open = False
            self.link._closed.set()
            self.link.lost.set_result(LinkLost("dropped"))
