"""Between the broker and a handler: one connection, bounded work, one verdict per message."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pika.channel import Channel
from pika.spec import Basic, BasicProperties

from catalog import Queue
from catalog.broker import Capabilities, UnsupportedBroker
from catalog.metrics import CONSUMED, DUPLICATES, HANDLING, OLDEST, REJECTED, RETRIED
from consumers import log
from consumers.amqp import Broker, Link, LinkLost, connect, pause
from consumers.dead import DeadLetters
from consumers.events import Event, decode
from consumers.metrics import Meters
from consumers.verdicts import Later, Reject, Retry
from consumers.waiting import happens

Handler = Callable[[Event], Awaitable[bool]]

# Reasons that are nobody's failure: the event goes back without counting as a try, where the broker can do that.
NOT_A_TRY = (Later.STOPPING, Later.BUSY)


@dataclass(eq=False)
class Delivery:
    """One message in hand, on the channel that brought it; its tag means nothing on any other."""

    channel: Channel
    tag: int
    key: str
    properties: BasicProperties
    body: bytes
    began: float = 0.0
    took: float = 0.0
    event: Event | None = None

    @property
    def headers(self) -> Mapping[str, Any]:
        return self.properties.headers or {}

    @property
    def attempt(self) -> int:
        """1 for the first delivery; the broker counts the earlier ones."""
        return int(self.headers.get("x-delivery-count", 0)) + 1


class Worker:
    """Consumes one queue until it is stopped, through any number of connections."""

    def __init__(
        self, queue: Queue, handle: Handler, broker: Broker, dead: DeadLetters, meters: Meters, stopping: asyncio.Event
    ) -> None:
        self._queue, self._handle, self._broker, self._dead = queue, handle, broker, dead
        self._stopping = stopping
        self._slots = asyncio.Semaphore(queue.prefetch)
        self._in_hand: dict[Delivery, asyncio.Task[None]] = {}
        self._link: Link | None = None
        self._can = Capabilities.of("4.0")
        self.trouble = "not connected yet"
        self.consuming = asyncio.Event()
        self._meters = meters
        self._consumed = meters[CONSUMED].labels(queue.name)
        self._duplicates = meters[DUPLICATES].labels(queue.name)
        self._handling = meters[HANDLING].labels(queue.name)
        meters[OLDEST].labels(queue.name).set_function(self._oldest_age)

    @property
    def name(self) -> str:
        return self._queue.name

    @property
    def at_stake(self) -> int:
        """Seconds of work that would be done again, at most, if the process ended now."""
        return round(len(self._in_hand) * self._queue.longest_run.total_seconds())

    async def run(self) -> None:
        """Consume until stopping, and come back after whatever ends a connection."""
        attempt = 0
        while not self._stopping.is_set():
            try:
                await self._session()
            except (LinkLost, UnsupportedBroker) as error:
                self.trouble = str(error)
                log.line("warning", queue=self.name, message="not consuming", detail=self.trouble)
            attempt = 0 if self.consuming.is_set() else attempt + 1
            self.consuming.clear()
            await happens(self._stopping, pause(attempt))
        self.trouble = "stopped"

    async def _session(self) -> None:
        """One connection, from opening it to losing it (LinkLost) or to the end of the process (return)."""
        self._link = link = await connect(self._broker, f"{self.name} consumer")
        try:
            self._can = Capabilities.of(link.broker_version)
            tag = await self._consume(link)
            await _first(link.lost, self._stopping)
            if not link.lost.done():
                await self._finish(link, tag)
        finally:
            await link.close()
        if not self._stopping.is_set():
            raise link.lost.result()

    async def _consume(self, link: Link) -> str:
        consuming: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        link.channel.basic_qos(prefetch_count=self._queue.prefetch)
        link.channel.add_on_cancel_callback(lambda _: self._cancelled(link))
        tag: str = link.channel.basic_consume(self.name, self._take, callback=consuming.set_result)
        await asyncio.wait([consuming, link.lost], return_when=asyncio.FIRST_COMPLETED)
        if not consuming.done():
            raise link.lost.result()
        self.trouble = ""
        self.consuming.set()
        log.line("info", queue=self.name, message="consuming", prefetch=self._queue.prefetch)
        return tag

    def _cancelled(self, link: Link) -> None:
        """From 4.3 on a broker also ends a subscription when an acknowledgement takes too long."""
        if not link.lost.done():
            why = f"its queue was deleted, or an event took longer than {self._queue.ack_timeout}"
            link.lost.set_result(LinkLost(f"the broker cancelled the consumer of {self.name}: {why}"))

    def _take(self, channel: Channel, method: Basic.Deliver, properties: BasicProperties, body: bytes) -> None:
        delivery = Delivery(channel, method.delivery_tag, method.routing_key, properties, body)
        task = asyncio.get_running_loop().create_task(self._settle(delivery))
        self._in_hand[delivery] = task
        task.add_done_callback(lambda _: self._in_hand.pop(delivery, None))

    async def _settle(self, delivery: Delivery) -> None:
        """Judge one delivery and tell the broker. Work from a lost connection still holds its slot until it is done."""
        try:
            async with self._slots:
                delivery.began = time.monotonic()
                verdict = await self._judge(delivery)
                if isinstance(verdict, Reject):
                    verdict = await self._bury(delivery, verdict)
            delivery.took = time.monotonic() - delivery.began  # a pause before a retry is no handling
            if isinstance(verdict, Retry):
                answered = await self._give_back(delivery, verdict)
            else:
                answered = self._answer(delivery, delivery.channel.basic_ack)
            self._record(delivery, verdict, answered)
        except asyncio.CancelledError:
            self._answer(delivery, delivery.channel.basic_nack)

    async def _judge(self, delivery: Delivery) -> bool | Reject | Retry:
        try:
            delivery.event = decode(delivery.body)
            return await self._handle(delivery.event)
        except (Reject, Retry) as verdict:
            return verdict
        except Exception as error:  # noqa: BLE001 - whatever a handler does, its event gets a verdict
            log.failure("the handler failed unexpectedly", error, queue=self.name, key=delivery.key)
            return Retry(Later.UNEXPECTED, repr(error))

    async def _bury(self, delivery: Delivery, verdict: Reject) -> Reject | Retry:
        """Publish the dead letter, since the broker's own dead-lettering can carry no reason."""
        try:
            await self._dead.send(delivery.key, delivery.properties, delivery.body, delivery.attempt, verdict)
        except Retry as error:
            return error
        return verdict

    async def _give_back(self, delivery: Delivery, verdict: Retry) -> bool:
        if verdict.reason in NOT_A_TRY:
            return self._answer(delivery, delivery.channel.basic_nack)
        if not self._can.delays_retries:  # an immediate reject would burn all tries within a second
            await happens(self._stopping, self._queue.retry_delay(delivery.attempt).total_seconds())
        # reject, not nack: where a nack is free, a broken event would circle for ever
        return self._answer(delivery, delivery.channel.basic_reject)

    def _answer(self, delivery: Delivery, how: Callable[[int], None]) -> bool:
        """Acknowledge or return on the channel that delivered; on any other the tag is somebody else's.

        False when that channel is gone: the broker delivers the event again.
        """
        current = self._link is not None and delivery.channel is self._link.channel and delivery.channel.is_open
        if current:
            how(delivery.tag)
        return current

    async def _finish(self, link: Link, consumer_tag: str) -> None:
        """Take nothing new, let work in hand end, give back what does not end in time."""
        cancelled: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        link.channel.basic_cancel(consumer_tag, callback=cancelled.set_result)
        await asyncio.wait([cancelled, link.lost], return_when=asyncio.FIRST_COMPLETED)
        tasks = list(self._in_hand.values())
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=self._queue.finish_within.total_seconds())
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _record(self, delivery: Delivery, verdict: bool | Reject | Retry, answered: bool) -> None:
        """One log line, and the counters; what the broker did not hear is counted when it comes again."""
        self._handling.observe(delivery.took)
        word, why = _in_words(verdict)
        if not answered:
            why = {**why, "unanswered": "its connection was lost, it is delivered again"}
        elif isinstance(verdict, Retry):
            self._meters[RETRIED].labels(self.name, verdict.reason.value).inc()
        elif isinstance(verdict, Reject):
            self._meters[REJECTED].labels(self.name, verdict.reason.value).inc()
        else:
            self._consumed.inc()
            if not verdict:
                self._duplicates.inc()
        event = delivery.event
        log.line(
            "warning" if why else "info",
            queue=self.name,
            key=delivery.key,
            id=event.id if event else delivery.properties.message_id,
            tenant=event.tenant if event else None,
            attempt=delivery.attempt,
            verdict=word,
            ms=round(delivery.took * 1000, 1),
            correlation_id=event.correlation_id if event else None,
            **why,
        )

    def _oldest_age(self) -> float:
        """Seconds; read from the thread that answers scrapes, so it looks at a copy."""
        times = [delivery.event.timestamp for delivery in list(self._in_hand) if delivery.event]
        return max(0.0, (datetime.now(UTC) - min(times)).total_seconds()) if times else 0.0


def _in_words(verdict: bool | Reject | Retry) -> tuple[str, dict[str, str]]:
    if isinstance(verdict, Reject):
        return "dead_lettered", {"reason": verdict.reason.value, "detail": verdict.detail}
    if isinstance(verdict, Retry):
        word = "returned" if verdict.reason in NOT_A_TRY else "retried"
        return word, {"reason": verdict.reason.value, "detail": verdict.detail}
    return ("written" if verdict else "duplicate"), {}


async def _first(lost: asyncio.Future[LinkLost], stopping: asyncio.Event) -> None:
    waiting = asyncio.ensure_future(stopping.wait())
    either: list[asyncio.Future[Any]] = [lost, waiting]
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
