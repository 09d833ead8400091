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

QUIET = 0.5  # seconds without a delivery after which a queue has nothing that a new process must be careful with
REMEMBERED = 10_000  # answers; a forgotten one costs its event a handling alone, nothing more


class Probation:
    """How many events one subscription takes, and which of them have to wait until they are alone.

    Suspect is what was charged more often than this process charged it by its own answers: whoever rejects an event
    has survived it, so that an event on its way through its retries is none. Between processes nothing tells a
    rejection from a crash; an event that another one rejected is handled alone once, which is cheap.
    A process begins with one event at a time; the first that nothing speaks against opens the whole window.
    Its queues begin one after the other, by the lock that they share: else what kills it at once, again and again,
    would each time be charged to the first event of every other queue as well.
    """

    def __init__(self, prefetch: int, beginning: asyncio.Lock) -> None:
        self._full, self._beginning = prefetch, beginning
        self._alone = True
        self._waiting: list[Delivery] = []
        self._answered: dict[int, int] = {}
        self.turn = asyncio.Event()

    @property
    def prefetch(self) -> int:
        """What the next subscription asks for."""
        return 1 if self._alone else self._full

    def beginning(self) -> AbstractAsyncContextManager[None]:
        """What the next subscription begins in: alone in its process, unless its window is open."""
        return self._beginning if self.prefetch < self._full else nullcontext()

    def admits(self, delivery: Delivery) -> bool:
        """Whether work may begin at once; if not, the subscription must end first (`turn`), and it waits in `line_up`.

        The one that opens the window waits as well: unanswered it keeps the next from crossing the cancel on its way,
        which brokers before 4.3 charge.
        """
        suspect = delivery.charged > self._answered.get(hash(delivery.body), 0)
        delivery.alone = suspect and self._full > 1
        if suspect == self._alone or self._full == 1:
            return True
        self._waiting.append(delivery)
        self.turn.set()
        return False

    def line_up(self) -> list[Delivery]:
        """Begin the next subscription; what waited for the end of the last one, each to be handled alone.

        The least charged go first, and equals in any order: innocents are done before the culprit strikes again.
        """
        self._alone = not self._alone if self.turn.is_set() else self._alone
        self.turn.clear()
        waiting, self._waiting = self._waiting, []
        random.shuffle(waiting)
        return sorted(waiting, key=attrgetter("charged"))

    def forget(self) -> None:
        """Begin again with one at a time: the connection is a new one, and so is every delivery."""
        self._alone, self._waiting = True, []
        self.turn.clear()

    def answered(self, delivery: Delivery) -> None:
        """This process lived to give it back, and the broker charges that too."""
        self._answered.pop(hash(delivery.body), None)  # the newest last
        self._answered[hash(delivery.body)] = delivery.charged + 1
        if len(self._answered) > REMEMBERED:
            del self._answered[next(iter(self._answered))]
