"""The ledger bites: whatever is done to a sink is reported as exactly that."""

import pytest

from proof.compare import Ledger, compare

PLANNED = {f"risk/{n}.parquet": {"opportunityId": f"opp-{n}", "riskScore": n / 10} for n in range(1, 6)}


def test_a_sink_that_holds_what_was_planned_is_true() -> None:
    """Silence first: every entry equal, no fault, no sentence."""
    ledger = compare("lake", PLANNED, dict(PLANNED))

    assert Ledger(sink="lake", planned=5, equal=5) == ledger
    assert ledger.true
    assert [] == list(ledger.sentences())


def test_a_removed_blob_is_lost() -> None:
    """One blob gone: lost, by its place, and nothing else."""
    found = {place: content for place, content in PLANNED.items() if place != "risk/3.parquet"}

    assert Ledger(sink="lake", planned=5, equal=4, lost=("risk/3.parquet",)) == compare("lake", PLANNED, found)


def test_an_altered_blob_is_different_and_says_how() -> None:
    """One value changed: different, with field, planned and found value."""
    found = {**PLANNED, "risk/2.parquet": {"opportunityId": "opp-2", "riskScore": 0.9}}
    change = ("risk/2.parquet (riskScore: planned 0.2, found 0.9)",)

    assert Ledger(sink="lake", planned=5, equal=4, different=change) == compare("lake", PLANNED, found)


def test_a_column_nobody_planned_is_a_difference() -> None:
    """A field more than planned is not overlooked."""
    found = {**PLANNED, "risk/2.parquet": {**PLANNED["risk/2.parquet"], "extra": 1}}

    assert ("risk/2.parquet (extra: planned None, found 1)",) == compare("lake", PLANNED, found).different


def test_the_same_content_at_a_second_place_is_duplicated() -> None:
    """What random names did: a redelivery that became another blob."""
    found = {**PLANNED, "risk/random.parquet": dict(PLANNED["risk/4.parquet"])}

    assert Ledger(sink="lake", planned=5, equal=5, duplicated=("risk/random.parquet",)) == compare(
        "lake", PLANNED, found
    )


def test_an_added_blob_is_unexpected() -> None:
    """Content that belongs to no planned entry is unexpected."""
    found = {**PLANNED, "risk/stranger.parquet": {"opportunityId": "nobody's"}}

    assert Ledger(sink="lake", planned=5, equal=5, unexpected=("risk/stranger.parquet",)) == compare(
        "lake", PLANNED, found
    )


def test_what_was_there_before_the_run_is_not_its_doing() -> None:
    """Other people's writes do not fail the proof, unless they are at a planned place."""
    found = {**PLANNED, "risk/older.parquet": {"opportunityId": "older"}}

    assert compare("lake", PLANNED, found, before={"risk/older.parquet", "risk/1.parquet"}).true


@pytest.mark.parametrize(("lost", "rest"), [(2, ""), (5, " and 2 more")])
def test_a_sentence_names_the_first_places(lost: int, rest: str) -> None:
    """A person sees the sink, the fate and the first ids; the rest is counted."""
    found = dict(list(PLANNED.items())[lost:])
    names = "; ".join(list(PLANNED)[: min(lost, 3)])

    assert [f"lake: {lost} lost: {names}{rest}"] == list(compare("lake", PLANNED, found).sentences())
