"""What the table of `make test-cluster` rests on: each fault is counted as exactly that, the rest not touched."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from catalog import CATALOG
from proof import expect
from proof.compare import Content, compare
from tests.cluster.ledger import Extra, Publication, expected
from tests.cluster.publishing import TRIGGER_EVERY, WINDOW, messages

LAKE = CATALOG.queue_of("lake")
ADDED = "ml.prediction.completed"
EXTRA = Extra(LAKE, ADDED, added=(10.0, 20.0), removed=(30.0, 40.0))
STREAM = messages(CATALOG, 400)
PREDICTION = next(message for message in STREAM if message.key == ADDED)
EVALUATION = next(message for message in STREAM if message.key == "risk.evaluated")


def planned(*publications: Publication, found: Mapping[str, Content] | None = None) -> dict[str, Content]:
    return expected(CATALOG, WINDOW, publications, EXTRA, found or {}).written(LAKE)


def at(sent: float, confirmed: float) -> Publication:
    return Publication(PREDICTION, sent, confirmed)


PLACE = expect.written(CATALOG, LAKE, at(0, 0).event).place


def lost(found: dict[str, Any], place: str) -> None:
    del found[place]


def duplicated(found: dict[str, Any], place: str) -> None:
    found[f"{place}.again"] = found[place]


def different(found: dict[str, Any], place: str) -> None:
    found[place] = {**found[place], "tenantId": "somebody else"}


@pytest.mark.parametrize("damage", [lost, duplicated, different], ids=lambda damage: str(damage.__name__))
def test_one_fault_is_counted_as_what_it_is(damage: Callable[[dict[str, Any], str], None]) -> None:
    """Of 400 events one is missing, doubled or altered: one of that kind is found, and none of another."""
    wanted = planned(*(Publication(message, 0.0, 1.0) for message in STREAM))
    assert compare("lake", wanted, wanted).true
    found = dict(wanted)

    damage(found, next(iter(wanted)))

    counts = {fate: len(places) for fate, places in compare("lake", wanted, found).faults()}
    assert {**dict.fromkeys(counts, 0), damage.__name__: 1} == counts


def test_an_event_without_confirmation_is_not_missed() -> None:
    """Nobody promised to keep what the broker did not confirm."""
    assert {} == planned()
    assert 1 == len(planned(Publication(EVALUATION, 0.0, 1.0)))


@pytest.mark.parametrize(
    ("sent", "confirmed", "routed"),
    [(1, 9, False), (1, 15, None), (15, 16, None), (20, 30, True), (29, 31, None), (41, 42, False)],
)
def test_a_key_counts_for_its_queue_while_it_is_bound(sent: float, confirmed: float, routed: bool | None) -> None:
    """Before and after it must not be written there, in between it must, and around a change it may."""
    publication = at(sent, confirmed)

    assert routed is EXTRA.routed(publication)
    assert (routed is True) == (PLACE in planned(publication))
    assert (routed is not False) == (PLACE in planned(publication, found={PLACE: {}}))


def test_the_stream_is_the_same_every_time_and_reaches_every_queue() -> None:
    """So many messages with ids of their own, the triggers among them, in the same order in every run."""
    stream = messages(CATALOG, 3 * TRIGGER_EVERY)

    assert messages(CATALOG, 3 * TRIGGER_EVERY) == stream
    assert len(stream) == len({message.identity for message in stream})
    assert {queue.name for queue in CATALOG.queues} == {queue for message in stream for queue in message.becomes}
    assert 3 == sum(message.key == "workflow.job.trigger" for message in stream)
