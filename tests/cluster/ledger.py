"""What was published and confirmed, and what the sinks must hold because of it."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from catalog import Catalog, Queue
from proof import expect
from proof.plan import Message, Plan
from proof.portfolio import Envelope, Window

Span = tuple[float, float]  # a change from its begin to its end, in seconds of one clock


@dataclass(frozen=True)
class Publication:
    """A message that the broker confirmed; both times are of one clock, in seconds."""

    message: Message
    sent: float
    confirmed: float

    @property
    def event(self) -> Envelope:
        event: Envelope = json.loads(self.message.body)
        return event


@dataclass(frozen=True)
class Extra:
    """A key that a queue had for a while, bound and unbound in the middle of the traffic."""

    queue: Queue
    key: str
    added: Span
    removed: Span

    def routed(self, publication: Publication) -> bool | None:
        """Whether the queue got it; None for one that was on its way while the binding came or went."""
        if publication.message.key != self.key:
            return False
        if publication.sent >= self.added[1] and publication.confirmed <= self.removed[0]:
            return True
        if publication.confirmed < self.added[0] or publication.sent > self.removed[1]:
            return False
        return None


def expected(
    catalog: Catalog,
    window: Window,
    publications: Sequence[Publication],
    extra: Extra,
    found: Collection[str],
) -> Plan:
    """The plan that the sinks are compared with; where nobody can tell whether an event was routed, `found` decides."""
    return Plan(catalog, window, tuple(_messages(catalog, publications, extra, found)))


def _messages(
    catalog: Catalog, publications: Sequence[Publication], extra: Extra, found: Collection[str]
) -> Iterator[Message]:
    for publication in publications:
        message, routed = publication.message, extra.routed(publication)
        if routed is False:
            yield message
            continue
        entry = expect.written(catalog, extra.queue, publication.event)
        if routed or entry.place in found:
            yield replace(message, becomes={**message.becomes, extra.queue.name: entry})
        else:
            yield message
