"""The table of defences does not rot: every text and test in it exists, and the quick ones are played."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.defences.__main__ import PAGE, page
from tests.defences.play import Survived, checked, without
from tests.defences.table import DEFENCES, ROOT, Defence


@pytest.mark.parametrize("defence", DEFENCES, ids=lambda one: one.name)
def test_what_takes_a_defence_out_is_there_exactly_once(defence: Defence) -> None:
    """Else the change would take out something else, or nothing."""
    assert 1 == (ROOT / defence.file).read_text().count(defence.old)


def test_every_test_of_the_table_exists() -> None:
    """By pytest's own collection; a name that is gone is an error there."""
    wanted = {one.test for one in DEFENCES}

    done = checked(ROOT, ["--collect-only", *sorted(wanted)])

    assert wanted == {line for line in done.stdout.splitlines() if "::" in line}, done.stdout + done.stderr


def test_the_page_shows_the_table() -> None:
    """`make generate` writes it."""
    assert page() == PAGE.read_text()


@pytest.mark.parametrize("defence", [one for one in DEFENCES if one.quick], ids=lambda one: one.name)
def test_a_defence_is_missed_when_it_is_taken_out(defence: Defence) -> None:
    """The others, which need servers, are played by `make defences`."""
    assert without(defence)


def test_a_test_that_does_not_care_survives() -> None:
    """The machinery itself: a change without effect is reported, with what pytest said."""
    first = next(one for one in DEFENCES if one.quick)
    harmless = Defence("nothing", "", first.file, first.old, first.old, first.test)

    with pytest.raises(Survived, match=r"does not fail without this defence:\n(.|\n)*1 passed"):
        without(harmless)


def test_a_change_that_breaks_the_code_shows_nothing() -> None:
    """The test fails for another reason than the one it is there for."""
    first = next(one for one in DEFENCES if one.quick)
    broken = replace(first, new=first.old.replace("(", "(no_such_name, ", 1))

    with pytest.raises(Survived, match="so the change broke the code"):
        without(broken)
