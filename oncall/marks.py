"""What a queue holds while others fill it, read to a moment's end: so that nothing is moved to where it is already."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pika
from pika.channel import Channel

from consumers.amqp import Link
from consumers.waiting import happens
from oncall.trouble import Trouble

LOOK = 0.2  # seconds between two looks at a queue
MOST = 0xFFFF  # messages in one consumer's hand, as AMQP counts them; where none is named, a quorum queue gives 2,000
ADDED = ("x-delivery-count", "x-acquired-count")  # headers that a quorum queue puts on what it delivers again
CHANGED = (*ADDED, "x-death", "x-first-death-", "x-last-death-")  # headers that may differ between two copies
SENT = (  # without user_id, which we cannot send on
    *("message_id", "correlation_id", "type", "timestamp", "app_id", "reply_to"),
    *("content_type", "content_encoding", "priority", "expiration"),
)
MARKER = "oncall.read-so-far"  # type of the message behind which everything has been read


@dataclass(frozen=True)
class Way:
    """From `source` to `target` through `exchange`, which has no other queue: so the routing key stays the event's.

    `elsewhere` asks how many messages of the source there are at all, those that nobody can take now included.
    """

    source: str
    target: str
    exchange: str
    elsewhere: Callable[[], int]
    patience: float  # seconds without progress


async def fingerprints(link: Link, way: Way) -> Counter[bytes]:
    """What the target holds now, read once and given back: how often each message is there.

    Nothing else tells that all has come: with priorities, or after a return, what was there is not what comes first,
    and the end of a consumer overtakes what is on its way to it. So once all is out at one moment a marker is sent: it
    comes last.
    """
    channel = await answer(link, lambda done: link.connection.channel(on_open_callback=done))
    await answer(link, lambda done: channel.basic_qos(prefetch_count=MOST, callback=done))
    reader = _Reader(way)
    consumers = [channel.basic_consume(way.target, reader.take)]
    until = time.monotonic() + way.patience
    while not await happens(reader.complete, within=LOOK):
        check(link)
        before = reader.seen.total()
        if not await ready(link, way.target):
            reader.send_marker(channel)
        elif before == MOST * len(consumers):  # each holds all that it may
            consumers.append(channel.basic_consume(way.target, reader.take))
        if reader.seen.total() != before:
            until = time.monotonic() + way.patience
        if time.monotonic() > until:
            raise Trouble(f"{way.target} cannot be read to its end: is a node down? Run it again")
    for tag in consumers:
        await answer(link, partial(channel.basic_cancel, tag))
    channel.basic_nack(0, multiple=True, requeue=True)
    channel.close()
    return reader.seen


class _Reader:
    """Counts what comes until its own marker does; those that a killed process left are taken away."""

    def __init__(self, way: Way) -> None:
        self._way, self._mark, self._sent = way, uuid.uuid4().hex, False
        self.seen: Counter[bytes] = Counter()
        self.complete = asyncio.Event()

    def take(self, channel: Channel, method: Any, properties: pika.BasicProperties, body: bytes) -> None:
        if not is_marker(method, properties, self._way):
            self.seen[fingerprint(method.routing_key, properties, body)] += 1
            return
        channel.basic_ack(method.delivery_tag)
        if properties.message_id == self._mark:
            self.complete.set()

    def send_marker(self, channel: Channel) -> None:
        if not self._sent:
            channel.basic_publish(self._way.exchange, "", b"", pika.BasicProperties(message_id=self._mark, type=MARKER))
            self._sent = True


def is_marker(method: Any, properties: pika.BasicProperties, way: Way) -> bool:
    return method.exchange in ("", way.exchange) and properties.type == MARKER


def fingerprint(key: str, properties: pika.BasicProperties, body: bytes) -> bytes:
    """What two copies of one message share, whichever way they came; two that differ in anything stay two."""
    headers = {name: value for name, value in (properties.headers or {}).items() if not name.startswith(CHANGED)}
    sent = [key, headers, *(getattr(properties, name) for name in SENT)]
    head = json.dumps(sent, sort_keys=True, default=repr).encode()
    return hashlib.sha256(head + b"\0" + body).digest()[:16]


async def ready(link: Link, queue: str) -> int:
    """Messages that can be taken now."""
    declared = await answer(link, lambda done: link.channel.queue_declare(queue, passive=True, callback=done))
    return int(declared.method.message_count)


async def answer(link: Link, ask: Callable[[Callable[[Any], None]], Any]) -> Any:
    """What the broker answers to `ask(done)`. Raises LinkLost."""
    said: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    ask(said.set_result)
    await asyncio.wait([said, link.lost], return_when=asyncio.FIRST_COMPLETED)
    if not said.done():
        check(link)
    return said.result()


def check(link: Link) -> None:
    if link.lost.done():
        raise link.lost.result()
