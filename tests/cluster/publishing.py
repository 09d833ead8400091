"""The traffic: a seeded stream of events that goes on whatever happens to the pods, each remembered once confirmed."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock

from catalog import Catalog
from consumers.amqp import Broker
from consumers.publish import ConfirmedPublisher
from consumers.verdicts import Retry
from proof.plan import Message, good
from proof.portfolio import DAYS, Window, backfill, events
from tests.cluster.ledger import Publication

SEED = 7
FIRST = date(2026, 3, 2)  # the day after the first week of events; a Monday like all others
IN_FLIGHT = 200
TRIGGER_EVERY = 1_000


def messages(catalog: Catalog, count: int) -> list[Message]:
    """So many messages, week after week of the portfolio, with a trigger for one day of the first week now and then."""
    found: list[Message] = []
    days = list(WINDOW.days())
    week = 0
    while len(found) < count:
        happened = [good(catalog, event) for event in events(FIRST + week * timedelta(days=DAYS), SEED)]
        for message in happened:
            found.append(message)
            if len(found) % TRIGGER_EVERY == TRIGGER_EVERY - 1:
                number = len(found) // TRIGGER_EVERY
                found.append(trigger(catalog, number, Window(days[number % DAYS], days[number % DAYS])))
        week += 1
    return found[:count]


def trigger(catalog: Catalog, number: int, window: Window) -> Message:
    """The trigger of a backfill; the same number is the same run."""
    at = datetime.combine(FIRST, clock(), UTC) + timedelta(minutes=number)
    return good(catalog, backfill(at, window))


WINDOW = Window.before(FIRST)


class Stream(threading.Thread):
    """Publishes in order at `rate` events/s, which may be changed at any time; `confirmed` grows as it goes."""

    def __init__(self, amqp: str, exchange: str, messages: Sequence[Message], rate: float) -> None:
        super().__init__(name="stream", daemon=True)
        self.rate = rate
        self.confirmed: list[Publication] = []
        self.unconfirmed: list[str] = []
        self._amqp, self._exchange, self.messages = amqp, exchange, messages

    def run(self) -> None:
        asyncio.run(self._publish())

    @property
    def done(self) -> bool:
        return not self.is_alive()

    async def _publish(self) -> None:
        publisher, places = ConfirmedPublisher(Broker(self._amqp), "stream"), asyncio.Semaphore(IN_FLIGHT)
        due = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for message in self.messages:
                due = max(due, time.monotonic() - 1) + 1 / self.rate
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                await places.acquire()
                group.create_task(self._one(publisher, message, places))
        await publisher.close()

    async def _one(self, publisher: ConfirmedPublisher, message: Message, places: asyncio.Semaphore) -> None:
        sent = time.monotonic()
        try:
            await publisher.publish(
                self._exchange, message.key, message.body, message_id=message.label, mandatory=bool(message.becomes)
            )
        except Retry as refusal:
            self.unconfirmed.append(f"{message.identity}: {refusal.detail}")
        else:
            self.confirmed.append(Publication(message, sent, time.monotonic()))
        finally:
            places.release()
