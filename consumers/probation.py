"""Between a delivery and its handler: what may have killed a process is handled with nothing else in hand.

A crash charges every delivered message, so a payload that kills its process takes its neighbours along to the dead
letters, unless it has none.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import AbstractAsyncContextManager, nullcontext
from operator import attrgetter

from consumers.delivery import Delivery

QUIET = 0.5  # seconds without a delivery after which a queue has nothing that one must be careful with
REMEMBERED = 10_000  # answers; a forgotten one costs its event a handling alone, nothing more


class Probation:
    """How many events one subscription takes, and which of them have to wait until they are alone.

    Suspect is what was charged more often than this process charged it by its own answers: whoever rejects an event
    has survived it, so that an event on its way through its retries is none. Between processes nothing tells a
    rejection from a crash; an event that another one rejected is handled alone once, which is cheap.
    A process begins with one event at a time; the first that nothing speaks against opens the whole window.
    Of its queues one at a time handles suspects, by the lock that they share: else what kills it again and again would
    each time be charged to a suspect of another queue as well, which may be innocent.
    """

    def __init__(self, prefetch: int, solitude: asyncio.Lock) -> None:
        self._full, self._solitude = prefetch, solitude
        self._answered: dict[int, int] = {}
        self.turn = asyncio.Event()
        self._waiting: list[Delivery]
        self._admitted: bool | None  # now: suspects, what is none, or nothing
        self.forget()

    @property
    def prefetch(self) -> int:
        """What the next subscription asks for."""
        return 1 if self._alone else self._full

    @property
    def alone(self) -> bool:
        """Whether a subscription takes one event at a time, since it may be a suspect."""
        return self._alone and self._full > 1

    @property
    def patience(self) -> float | None:
        """Seconds without a delivery for which a subscription keeps the other queues from their suspects."""
        return QUIET if self.alone else None

    def solitude(self) -> AbstractAsyncContextManager[None]:
        """What suspects come and are handled in: no other queue of the process handles one meanwhile."""
        return self._solitude if self._next and self._full > 1 else nullcontext()

    @property
    def crowded(self) -> bool:
        """Whether a suspect that comes by an open window would wait beside another one, which may strike meanwhile."""
        return not self.alone and (bool(self._waiting) or self._solitude.locked())

    def admits(self, delivery: Delivery) -> bool:
        """Whether work may begin at once; if not, the subscription must end first (`turn`)."""
        suspect = delivery.charged > self._answered.get(hash(delivery.body), 0)
        delivery.alone = suspect and self._full > 1
        if suspect is self._admitted or self._full == 1:
            return True
        self._next = suspect
        self.turn.set()
        return False

    def leave(self) -> None:
        """Let other queues have their turn: a suspect that comes now waits for the next one of this queue."""
        self._admitted = None if self._alone else False

    def waits(self, delivery: Delivery) -> None:
        """Keep what was not admitted until the subscription has ended.

        The one that opens the window waits, too: unanswered it keeps the next from crossing the cancel on its way,
        which brokers before 4.3 charge.
        """
        self._waiting.append(delivery)

    def line_up(self) -> list[Delivery]:
        """What waited for the end of this subscription; the next one admits what this one did not.

        The least charged go first, and equals in any order: innocents are done before the culprit strikes again.
        """
        self._alone = self._admitted = self._next
        self.turn.clear()
        waiting, self._waiting = self._waiting, []
        random.shuffle(waiting)
        return sorted(waiting, key=attrgetter("charged"))

    def forget(self) -> None:
        """Begin again with one at a time: the connection is a new one, and so is every delivery."""
        self._alone = self._admitted = self._next = True
        self._waiting = []
        self.turn.clear()

    def answered(self, delivery: Delivery) -> None:
        """This process lived to give it back, and the broker charges that too."""
        self._answered.pop(hash(delivery.body), None)  # the newest last
        self._answered[hash(delivery.body)] = delivery.charged + 1
        if len(self._answered) > REMEMBERED:
            del self._answered[next(iter(self._answered))]
