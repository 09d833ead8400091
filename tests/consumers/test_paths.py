"""Names made of ids: harmless, different for different ids in any case, and the same for the same event."""

from __future__ import annotations

import re
import uuid

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from consumers import paths

DAY = "2026-03-14T23:59:58.250Z"
HARMLESS = re.compile(r"[a-z0-9._=-]+")

nasty = st.text(alphabet=st.sampled_from("aAbB012./\\%=~-_ ?#\n\0é\u0301ß" + "\ud800"), max_size=12)
ids = st.text(min_size=1) | nasty.filter(bool) | st.text(min_size=150, max_size=400)


@pytest.mark.parametrize(
    ("identity", "name"),
    [
        ("5e1a0c01-93d4-4b7e-8c21-7f90a1b2c301", "5e1a0c01-93d4-4b7e-8c21-7f90a1b2c301"),
        ("opp_4711.v2", "opp_4711.v2"),
        ("../up", "=2e.=2fup"),
        ("a%2Fb", "a=252=46b"),
        ("Case", "=43ase"),
        ("dots...", "dots..=2e"),
        ("why? #1", "why=3f=20=231"),
        ("back\\slash", "back=5cslash"),
        ("é", "=c3=a9"),
        ("a=b", "a=3db"),
        ("line\n", "line=0a"),
    ],
)
def test_a_name_is_the_id_with_what_is_harmful_escaped(identity: str, name: str) -> None:
    """A lower-case uuid stays as it is, so that people find it."""
    assert name == paths.document(identity)


def test_an_id_that_is_too_long_keeps_its_beginning_and_ends_in_its_hash() -> None:
    """People still see what it is."""
    name = paths.document("opportunity-" * 100)

    assert name.startswith("opportunity-opportunity-")
    assert re.fullmatch(r".{60}==[0-9a-f]{64}", name)


@given(st.uuids())
def test_uuids_stay_as_they_are(identity: uuid.UUID) -> None:
    """All of them."""
    assert str(identity) == paths.document(str(identity))


@given(ids, ids)
@example("Case", "case")
@example("a/b", "a=2fb")
@example("x" * 300, "x" * 301)
@example("é", "e\u0301")
def test_different_ids_have_names_that_differ_in_more_than_case(one: str, two: str) -> None:
    """A store or a file system that ignores case keeps them apart as well."""
    assert (one == two) == (paths.document(one).lower() == paths.document(two).lower())


@given(st.tuples(ids, ids), st.tuples(ids, ids))
@example(("a-b", "c"), ("a", "b-c"))
def test_key_and_id_cannot_be_mistaken_for_each_other(one: tuple[str, str], two: tuple[str, str]) -> None:
    """Where the key ends is clear from the name."""
    assert (one == two) == (paths.blob("f", *one, DAY, "json").lower() == paths.blob("f", *two, DAY, "json").lower())


@given(ids, ids)
@example("..", "..")
@example("../../../etc/passwd", "/%2e%2e/")
def test_no_id_leaves_its_folder(key: str, identity: str) -> None:
    """One harmless name below the day's folder, short enough for any store."""
    path = paths.blob("ml_audit", key, identity, DAY, "json")
    folder, _, name = path.rpartition("/")

    assert "ml_audit/year=2026/month=03/day=14" == folder
    assert HARMLESS.fullmatch(name)
    assert name[0] != "."
    assert name.endswith(".json")
    assert len(path) < 512


@given(ids)
def test_a_document_id_is_one_that_cosmos_takes(identity: str) -> None:
    """None of the characters it forbids, and at most 255."""
    name = paths.document(identity)

    assert HARMLESS.fullmatch(name)
    assert 0 < len(name) <= 255


def test_the_day_is_that_of_the_event() -> None:
    """However late it arrives: the path asks no clock."""
    path = paths.blob("risk_evaluations", "risk.evaluated", "a", "2024-02-29T00:00:00Z", "parquet")

    assert "risk_evaluations/year=2024/month=02/day=29/risk.evaluated-a.parquet" == path
