"""What a publisher was promised, held against what the sinks hold: lost, duplicated, unexpected, recovered.

The words are those of Jepsen's total-queue checker.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from catalog import Catalog
from consumers.publish import ConfirmedPublisher
from consumers.verdicts import Retry
from proof.compare import Ledger
from proof.plan import Message, Plan
from proof.portfolio import Envelope
from proof.readback import Lake, Seen
from proof.verify import letters, outcomes, sink
from tests.brokers import SLOWER
from tests.cluster.ledger import Publication
from tests.cluster.publishing import WINDOW, Stream

BETWEEN_TRIES = 0.25  # seconds


class Publishing(Stream):
    """A stream whose messages are published again until they are confirmed, `patience` seconds long.

    `attempts` counts every publish: one without confirmation may have arrived all the same, and then comes twice.
    """

    patience = 60.0 * SLOWER
    attempts = 0

    async def _one(self, publisher: ConfirmedPublisher, message: Message, places: asyncio.Semaphore) -> None:
        sent = time.monotonic()
        try:
            while not await self._confirmed(publisher, message):
                if time.monotonic() > sent + self.patience:
                    self.unconfirmed.append(message.identity)
                    return
                await asyncio.sleep(BETWEEN_TRIES)
            self.confirmed.append(Publication(message, sent, time.monotonic()))
        finally:
            places.release()

    async def _confirmed(self, publisher: ConfirmedPublisher, message: Message) -> bool:
        self.attempts += 1
        key, body, must = message.key, message.body, bool(message.becomes)
        try:
            await publisher.publish(self._exchange, key, body, message_id=message.label, mandatory=must)
        except Retry:
            return False
        return True


@dataclass(frozen=True)
class Account:
    """One run in figures. Places name what is wrong; `dead` counts all new dead letters by queue and reason.

    `sent` counts messages, `attempted` publishes, `confirmed` messages, `written` entries in the sinks that are as they
    must be. `recovered`: written, although the publisher never heard so.
    """

    sent: int
    attempted: int
    confirmed: int
    written: int
    recovered: int
    lost: tuple[str, ...] = ()
    duplicated: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    altered: tuple[str, ...] = ()
    dead: Mapping[tuple[str, str], int] = field(default_factory=dict)

    @property
    def clean(self) -> bool:
        return not (self.lost or self.duplicated or self.unexpected or self.altered)

    @property
    def buried(self) -> int:
        return sum(self.dead.values())

    def __str__(self) -> str:
        fates = ("lost", "duplicated", "unexpected", "altered")
        reasons = ", ".join(f"{number} {reason}" for (_, reason), number in sorted(self.dead.items()))
        return (
            f"{self.attempted:,} attempted, {self.confirmed:,} confirmed, {self.written:,} written, "
            + ", ".join(f"{len(getattr(self, fate))} {fate}" for fate in fates)
            + f", {self.recovered} recovered, {self.buried} dead-lettered"
            + (f" ({reasons})" if reasons else "")
        )


@dataclass(frozen=True)
class Published:
    """What a run published; `unsure` are messages of which no attempt was confirmed, `sent` is how many it had."""

    confirmed: Sequence[Message]
    unsure: Sequence[Message] = ()
    attempts: int = 0
    sent: int = 0

    @classmethod
    def by(cls, stream: Publishing) -> Published:
        unconfirmed = set(stream.unconfirmed)
        unsure = [message for message in stream.messages if message.identity in unconfirmed]
        confirmed = [publication.message for publication in stream.confirmed]
        return cls(confirmed, unsure, stream.attempts, len(stream.messages))

    def plan(self, catalog: Catalog, found: Seen) -> Plan:
        """Everything that must be there; of what nobody knows, all that is."""
        places = found.blobs.union(*found.documents.values(), *found.dead.values())
        return Plan(catalog, WINDOW, (*self.confirmed, *_arrived(self.unsure, places)))


def _arrived(unsure: Sequence[Message], places: frozenset[str]) -> Iterator[Message]:
    for message in unsure:
        becomes = {queue: entry for queue, entry in message.becomes.items() if entry.place in places}
        if becomes:
            yield replace(message, becomes=becomes)


def account(
    catalog: Catalog, published: Published, lake: Lake, before: Seen, after: Seen, heard: Sequence[Envelope] = ()
) -> Account:
    """Compare all sinks, dead-letter queues and the outcomes heard with what was confirmed, content by content."""
    plan = published.plan(catalog, after)
    ledgers = [sink(plan, queue, lake, before, after) for queue in catalog.queues]
    ledgers += [letters(plan, queue, before, after) for queue in catalog.queues]
    ledgers.append(outcomes(plan, heard))
    return Account(
        sent=published.sent,
        attempted=published.attempts,
        confirmed=len(published.confirmed),
        written=sum(ledger.equal for ledger in ledgers[: len(catalog.queues)]),
        recovered=len(plan.messages) - len(published.confirmed),
        lost=_all(ledgers, "lost"),
        duplicated=_all(ledgers, "duplicated"),
        unexpected=_all(ledgers, "unexpected"),
        altered=_all(ledgers, "different"),
        dead=Counter(
            (queue, letter["reason"])
            for queue, letters in after.dead.items()
            for place, letter in letters.items()
            if place not in before.dead[queue]
        ),
    )


def _all(ledgers: Sequence[Ledger], fate: str) -> tuple[str, ...]:
    return tuple(f"{ledger.sink}: {place}" for ledger in ledgers for place in getattr(ledger, fate))
