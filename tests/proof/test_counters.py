"""Counters are added up over processes, and go on through a restart."""

from catalog.metrics import CONSUMED, REJECTED
from proof.counters import STARTED, Counters, Samples

LAKE = (CONSUMED.name, (("queue", "lake"),))


def scrape(started: float, consumed: float) -> Samples:
    return {(STARTED, ()): started, LAKE: consumed}


def test_what_was_counted_before_the_first_look_is_not_ours() -> None:
    """The first scrape of a process that ran already is the base line."""
    counters = Counters({})
    counters.add("a", scrape(started=1, consumed=100))

    assert 0 == counters.total(CONSUMED, queue="lake")

    counters.add("a", scrape(started=1, consumed=107))

    assert 7 == counters.total(CONSUMED, queue="lake")


def test_a_restart_does_not_take_anything_back() -> None:
    """A process that began anew counts from 0, even when it has already counted further than before."""
    counters = Counters({})
    for started, consumed in [(1, 5), (1, 8), (2, 9)]:
        counters.add("a", scrape(started, consumed))

    assert 3 + 9 == counters.total(CONSUMED, queue="lake")


def test_a_process_that_started_during_the_run_counts_from_zero() -> None:
    """Nothing of a process that was not there at the first look is lost."""
    counters = Counters({})
    counters.add("a", scrape(started=1, consumed=5))
    counters.add("b", scrape(started=4e12, consumed=6))

    assert 6 == counters.total(CONSUMED, queue="lake")


def test_other_labels_tell_the_parts() -> None:
    """Rejections of a queue come by reason; a reason that did not occur is left out."""
    counters = Counters({})
    for seen in (0.0, 2.0):
        reasons = {
            (REJECTED.name, (("queue", "lake"), ("reason", reason))): seen * n
            for reason, n in [("no_id", 1), ("conflict", 0)]
        }
        counters.add("a", {(STARTED, ()): 1, **reasons})

    assert {"no_id": 2.0} == counters.by(REJECTED, queue="lake")
