"""What the campaign's table rests on: each fault in a sink is counted as exactly that, and nothing else is touched."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest

from catalog import CATALOG
from proof import expect
from proof.compare import Content
from proof.readback import Found, Seen
from tests.chaos.ledger import Account, Published, account
from tests.cluster.publishing import messages

SENT = [message for message in messages(CATALOG, 300) if message.becomes]
SURE, UNSURE = SENT[:-20], SENT[-20:]
NOTHING = Seen(frozenset(), {}, {queue.name: {} for queue in CATALOG.queues})


class Blobs:
    """A lake in memory, as the ledger reads it."""

    def __init__(self, held: Found) -> None:
        self.held = held

    def contents(self, places: Iterable[str]) -> Found:
        return {place: self.held[place] for place in places}


class Sinks:
    """All sinks in memory, in the state that the events leave behind."""

    def __init__(self, sent: Iterable[Any]) -> None:
        self.blobs: dict[str, Content] = {}
        self.documents: dict[str, dict[str, Content]] = {expect.USAGE: {}, expect.RUNS: {}}
        self.dead: dict[str, dict[str, Content]] = {queue.name: {} for queue in CATALOG.queues}
        for message in sent:
            for queue, entry in message.becomes.items():
                setting = expect.SINKS[next(known.handler for known in CATALOG.queues if known.name == queue)]
                self.documents.get(setting, self.blobs)[entry.place] = entry.content

    def count(self, published: Published) -> Account:
        after = Seen(frozenset(self.blobs), self.documents, self.dead)
        return account(CATALOG, published, Blobs(self.blobs), NOTHING, after)  # type: ignore[arg-type]


def removed(places: dict[str, Content], place: str) -> None:
    del places[place]


def added(places: dict[str, Content], place: str) -> None:
    places[f"{place}.again"] = places[place]


def strange(places: dict[str, Content], place: str) -> None:
    places[f"{place}.stranger"] = {"tenantId": "nobody's"}


def altered(places: dict[str, Content], place: str) -> None:
    places[place] = {**places[place], "tenantId": "somebody else"}


@pytest.mark.parametrize("kind", ["blob", "document"])
@pytest.mark.parametrize(
    ("damage", "fate"),
    [(removed, "lost"), (added, "duplicated"), (strange, "unexpected"), (altered, "altered")],
    ids=["removed", "added", "strange", "altered"],
)
def test_one_fault_is_reported_as_exactly_that(
    damage: Callable[[dict[str, Content], str], None], fate: str, kind: str
) -> None:
    """One blob or document removed, one added, one altered: one of that kind, none of another, the rest as written."""
    sinks, published = Sinks(SURE), Published(SURE, attempts=len(SURE))
    sound = sinks.count(published)
    assert sound.clean
    assert sum(len(message.becomes) for message in SURE) == sound.written
    places = sinks.blobs if kind == "blob" else sinks.documents[expect.USAGE]

    damage(places, next(iter(places)))

    found = sinks.count(published)
    fates = ("lost", "duplicated", "unexpected", "altered")
    assert {**dict.fromkeys(fates, 0), fate: 1} == {name: len(getattr(found, name)) for name in fates}
    assert sound.written - (fate in ("lost", "altered")) == found.written
    assert not found.clean


def test_what_nobody_confirmed_may_be_there_or_not_and_is_counted_as_recovered() -> None:
    """Of twenty messages without confirmation five arrived: five recovered, none lost, none unexpected."""
    found = Sinks([*SURE, *UNSURE[:5]]).count(Published(SURE, UNSURE, len(SENT)))

    assert (True, 5, len(SENT), len(SURE)) == (found.clean, found.recovered, found.attempted, found.confirmed)


def test_what_arrived_of_an_unconfirmed_message_is_compared_like_the_rest() -> None:
    """Nobody knows whether it must be there, but what it must hold."""
    sinks = Sinks(SENT)
    place = next(iter(UNSURE[0].becomes.values())).place
    altered(sinks.blobs if place in sinks.blobs else sinks.documents[expect.USAGE], place)

    assert 1 == len(sinks.count(Published(SURE, UNSURE)).altered)


def test_dead_letters_are_counted_by_reason_and_one_that_nobody_planned_is_unexpected() -> None:
    """An event that became a dead letter instead of a blob is both lost and unexpected."""
    queue = CATALOG.queue_of("lake")
    message = next(message for message in SURE if queue.name in message.becomes)
    sinks = Sinks(SURE)
    del sinks.blobs[message.becomes[queue.name].place]
    sinks.dead[queue.name][f"{queue.dead}/{message.identity}"] = {"reason": "delivery_limit"}

    found = sinks.count(Published(SURE))

    assert {(queue.name, "delivery_limit"): 1} == found.dead
    assert (1, 1) == (len(found.lost), len(found.unexpected))
    assert "1 dead-lettered (1 delivery_limit)" in str(found)


def test_a_planned_dead_letter_has_to_be_there_for_its_reason() -> None:
    """With another reason it is altered; with another body it is another letter."""
    queue = CATALOG.queue_of("lake")
    entry = expect.dead_letter(queue, "bad-1", "no_id", b"sent")
    bad = replace(SURE[0], kind="no_id", identity="bad-1", becomes={queue.name: entry})
    sinks = Sinks(SURE)
    assert 1 == len(sinks.count(Published([*SURE, bad])).lost)

    sinks.dead[queue.name][entry.place] = entry.content
    assert sinks.count(Published([*SURE, bad])).clean

    sinks.dead[queue.name][entry.place] = {"reason": "no_tenant"}
    assert 1 == len(sinks.count(Published([*SURE, bad])).altered)

    cut = expect.dead_letter(queue, "bad-1", "no_id", b"cut")
    sinks.dead[queue.name] = {cut.place: cut.content}
    assert 1 == len(sinks.count(Published([*SURE, bad])).lost)


def test_a_run_whose_outcome_nobody_heard_is_a_loss() -> None:
    """The outcome events are a sink like the others."""
    trigger = next(message for message in messages(CATALOG, 1000) if message.key == "workflow.job.trigger")
    found = Sinks([trigger]).count(Published([trigger]))

    assert (f"outcome events: outcome/{trigger.identity}:completed",) == found.lost
