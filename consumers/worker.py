"""Between the broker and a handler: one connection, bounded work, one verdict per message."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

from pika.channel import Channel
from pika.spec import Basic, BasicProperties

from catalog import Queue
from catalog.broker import Capabilities, UnsupportedBroker
from catalog.metrics import OLDEST, PAUSED
from consumers import log
from consumers.amqp import Broker, Link, LinkLost, connect, pause
from consumers.dead import DeadLetters
from consumers.delivery import NOT_A_TRY, Delivery
from consumers.judgement import Handler, Judge
from consumers.metrics import Meters
from consumers.outage import Outage, Probe, no_sink
from consumers.probation import Probation
from consumers.tally import Tally
from consumers.verdicts import Later, Retry
from consumers.waiting import first, happens


class Worker:
    """Consumes one queue until it is stopped, through any number of connections."""

    def __init__(  # noqa: PLR0913 - it stands between all of them
        self,
        queue: Queue,
        handle: Handler,
        broker: Broker,
        dead: DeadLetters,
        meters: Meters,
        stopping: asyncio.Event,
        *,
        probe: Probe = no_sink,
        solitude: asyncio.Lock | None = None,
    ) -> None:
        self._queue, self._broker, self._stopping = queue, broker, stopping
        self._judge = Judge(queue, handle, dead)
        self._in_hand: dict[Delivery, asyncio.Task[None]] = {}
        self._rests = asyncio.Event()  # something in hand began to rest
        self._link: Link | None = None
        self._can = Capabilities.of("4.0")
        self._probation = Probation(queue.prefetch, solitude or asyncio.Lock())
        self.outage = Outage(queue.name, probe, meters[PAUSED].labels(queue.name))
        self.trouble = "not connected yet"
        self.consuming = asyncio.Event()
        self._tally = Tally(queue.name, meters)
        meters[OLDEST].labels(queue.name).set_function(self._oldest_age)

    @property
    def name(self) -> str:
        return self._queue.name

    @property
    def at_stake(self) -> int:
        """Seconds of work that would be done again, at most, if the process ended now."""
        return round(len(self._in_hand) * self._queue.longest_run.total_seconds())

    @property
    def paused(self) -> str:
        """Why it takes nothing, on purpose or while its sink is down; empty otherwise."""
        return self.outage.why

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
        await self._finish()  # what outlived its connection
        self.outage.end()
        self.trouble = "stopped"

    async def _session(self) -> None:
        """One connection, from opening it to losing it (LinkLost) or to the end of the process (return)."""
        self._link = link = await connect(self._broker, f"{self.name} consumer")
        try:
            self._can = Capabilities.of(link.broker_version)
            self._probation.forget()
            link.channel.add_on_cancel_callback(lambda _: self._cancelled(link))
            while not link.lost.done() and not self._stopping.is_set():
                await self._subscription(link)
            if not link.lost.done():
                await self._finish()
        finally:
            await link.close()
        if not self._stopping.is_set():
            raise link.lost.result()

    async def _subscription(self, link: Link) -> None:
        """Consume until the defences ask for another subscription; at its end nothing is left in hand."""
        if self.outage.lasts:
            self.trouble = ""  # paused on purpose is ready
        await first(self.outage.over, self._stopping, link.lost)
        ends = self._probation.turn, self.outage.began, self._stopping, link.lost
        async with self._probation.solitude():
            if self._ends(link):
                return
            tag = await self._consume(link)
            while not await first(*ends, within=self._probation.patience) and self._busy:
                pass  # a suspect is being handled
        self._probation.leave()
        await first(*ends)
        if not link.lost.done():  # before any waiting for others: what was given back would come again and again
            await link.cancel(tag)
        async with self._probation.solitude():
            await self._idle(link, self.outage.began)
            waiting = self._probation.line_up()
            if waiting and not self._busy and not self._ends(link):
                self._begin(waiting.pop(0))
                await self._idle(link, self.outage.began)
        await self._idle(link)
        await self._handle(link, waiting)

    def _ends(self, link: Link) -> bool:
        return self._stopping.is_set() or link.lost.done()

    async def _consume(self, link: Link) -> str:
        consuming: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        prefetch = self._probation.prefetch
        link.channel.basic_qos(prefetch_count=prefetch)

        def begun(answer: Any) -> None:  # before the first delivery, which may come with it
            self.trouble = ""
            self.consuming.set()
            consuming.set_result(answer)

        tag: str = link.channel.basic_consume(self.name, self._take, callback=begun)
        await first(consuming, link.lost)
        if not consuming.done():
            raise link.lost.result()
        log.line("info", queue=self.name, message="consuming", prefetch=prefetch)
        return tag

    async def _idle(self, link: Link, *unless: asyncio.Event) -> None:
        """Wait until nothing is being handled, unless one of these happens."""
        while busy := self._busy:
            self._rests.clear()
            await first(*busy, self._rests, self._stopping, link.lost, *unless)
            if self._ends(link) or any(event.is_set() for event in unless):
                return

    @property
    def _busy(self) -> list[asyncio.Task[None]]:
        """What is being handled. What rests before its next try harms nobody."""
        return [task for delivery, task in self._in_hand.items() if not delivery.resting]

    async def _handle(self, link: Link, waiting: list[Delivery]) -> None:
        """One after the other; suspects with nothing beside them that a crash would charge too."""
        while waiting and not self._ends(link):
            async with self._probation.solitude():
                if not self._ends(link):
                    self._begin(waiting.pop(0))
                await self._idle(link, self.outage.began)
            await self._idle(link)
        self._return(waiting, Retry(Later.STOPPING, "its turn did not come"))

    def _return(self, deliveries: list[Delivery], why: Retry) -> None:
        for delivery in deliveries:
            answered = self._answer(delivery, delivery.channel.basic_nack)
            if answered and not self._can.nack_is_free:
                self._probation.answered(delivery)
            self._tally.ended(delivery, why, answered=answered)

    def _cancelled(self, link: Link) -> None:
        """From 4.3 on a broker also ends a subscription when an acknowledgement takes too long."""
        if not link.lost.done():
            why = f"its queue was deleted, or an event took longer than {self._queue.ack_timeout}"
            link.lost.set_result(LinkLost(f"the broker cancelled the consumer of {self.name}: {why}"))

    def _take(self, channel: Channel, method: Basic.Deliver, properties: BasicProperties, body: bytes) -> None:
        delivery = Delivery(channel, method.delivery_tag, method.routing_key, properties, body)
        if self._probation.admits(delivery):
            self._begin(delivery)
        elif self._can.nack_is_free and self._probation.crowded:  # it comes again
            self._return([delivery], Retry(Later.BUSY, "a suspect, which is handled alone"))
        else:
            self._probation.waits(delivery)

    def _begin(self, delivery: Delivery) -> None:
        task = asyncio.get_running_loop().create_task(self._settle(delivery))
        self._in_hand[delivery] = task
        task.add_done_callback(partial(self._ended, delivery))
        self._tally.begun(delivery)

    def _ended(self, delivery: Delivery, task: asyncio.Task[None]) -> None:
        """Whatever nobody foresaw must not leave an event unanswered: its connection ends, so that it comes again."""
        self._in_hand.pop(delivery, None)
        if not task.cancelled() and (error := task.exception()):
            if self._link and self._is_current(delivery) and not self._link.lost.done():
                self._link.lost.set_result(LinkLost(f"given up by its consumer, which failed unexpectedly: {error!r}"))
            log.failure("an event may be unanswered", error, queue=self.name, key=delivery.key)

    async def _settle(self, delivery: Delivery) -> None:
        """Judge one delivery and tell the broker. Work from a lost connection still holds its slot until it is done."""
        try:
            verdict = await self._judge.verdict(delivery)
            while isinstance(verdict, Retry) and await self.outage.explains(verdict):
                delivery.held = True
                # over all outages since it came: the broker's patience does not begin anew with each
                left = self._queue.ack_timeout.total_seconds() / 2 - delivery.age
                if not await self.outage.passes(self._stopping, left):
                    verdict = Retry(Later.PAUSED, verdict.detail)
                elif self._is_current(delivery):
                    verdict = await self._judge.verdict(delivery)
                else:
                    break
            if isinstance(verdict, Retry):
                answered = await self._give_back(delivery, verdict)
            else:
                answered = self._answer(delivery, delivery.channel.basic_ack)
            self._tally.ended(delivery, verdict, answered=answered)
        except asyncio.CancelledError:
            self._return([delivery], Retry(Later.STOPPING, f"not done within {self._queue.finish_within}"))

    async def _give_back(self, delivery: Delivery, verdict: Retry) -> bool:
        if verdict.reason in NOT_A_TRY:
            how, charged = delivery.channel.basic_nack, not self._can.nack_is_free
        else:  # reject, not nack: where a nack is free, a broken event would circle for ever
            how, charged = delivery.channel.basic_reject, True
            if not self._can.delays_retries:  # an immediate reject would burn all tries within a second
                delivery.resting = True
                self._rests.set()
                await happens(self._stopping, self._queue.retry_delay(delivery.attempt).total_seconds())
        if charged:
            self._probation.answered(delivery)
        return self._answer(delivery, how)

    def _answer(self, delivery: Delivery, how: Callable[[int], None]) -> bool:
        """Acknowledge or return on the channel that delivered. False when it is gone: the broker delivers again."""
        if current := self._is_current(delivery):
            how(delivery.tag)
        return current

    def _is_current(self, delivery: Delivery) -> bool:
        """Whether its tag still means it; on any other channel the same tag is somebody else's."""
        return self._link is not None and delivery.channel is self._link.channel and delivery.channel.is_open

    async def _finish(self) -> None:
        """Let work in hand end, and give back what does not end in time."""
        tasks = list(self._in_hand.values())
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=self._queue.finish_within.total_seconds())
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _oldest_age(self) -> float:
        """Seconds; read from the thread that answers scrapes, so it looks at a copy."""
        times = [delivery.event.timestamp for delivery in list(self._in_hand) if delivery.event]
        return max(0.0, (datetime.now(UTC) - min(times)).total_seconds()) if times else 0.0
