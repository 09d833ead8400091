"""Between a delivery and its verdict: decoded, handled, and buried where it can never succeed, so many at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from catalog import Queue
from consumers import log
from consumers.dead import DeadLetters
from consumers.delivery import Delivery
from consumers.events import Event, decode
from consumers.verdicts import Later, Reject, Retry

Handler = Callable[[Event], Awaitable[bool]]


class Judge:
    """What becomes of one delivery of a queue; at most its prefetch are handled at once."""

    def __init__(self, queue: Queue, handle: Handler, dead: DeadLetters) -> None:
        self._queue, self._handle, self._dead = queue, handle, dead
        self._slots = asyncio.Semaphore(queue.prefetch)

    async def verdict(self, delivery: Delivery) -> bool | Reject | Retry:
        """True when written now, False when it was before; a Reject only once its dead letter is confirmed."""
        async with self._slots:
            delivery.began = time.monotonic()
            verdict = await self._judge(delivery)
            if isinstance(verdict, Reject):
                verdict = await self._bury(delivery, verdict)
        delivery.took = time.monotonic() - delivery.began  # a pause before a retry is no handling
        return verdict

    async def _judge(self, delivery: Delivery) -> bool | Reject | Retry:
        try:
            delivery.event = decode(delivery.body)
            return await self._handle(delivery.event)
        except (Reject, Retry) as verdict:
            return verdict
        except Exception as error:  # noqa: BLE001 - whatever a handler does, its event gets a verdict
            log.failure("the handler failed unexpectedly", error, queue=self._queue.name, key=delivery.key)
            return Retry(Later.UNEXPECTED, repr(error))

    async def _bury(self, delivery: Delivery, verdict: Reject) -> Reject | Retry:
        """Publish the dead letter, since the broker's own dead-lettering can carry no reason."""
        try:
            await self._dead.send(delivery.key, delivery.properties, delivery.body, delivery.attempt, verdict)
        except Retry as error:
            return error
        return verdict
