"""What follows from a queue's longest run and its retries."""

from datetime import timedelta

import pytest

from catalog import CATALOG
from catalog.broker import Capabilities, UnsupportedBroker
from catalog.kinds import DRAIN_CAP, buckets
from catalog.queues import BATCH_JOBS, DATA_LAKE


def test_a_long_job_is_not_delivered_twice_while_it_runs() -> None:
    """The broker waits three times the longest run, and never less than its own default of half an hour."""
    assert timedelta(hours=3) == BATCH_JOBS.ack_timeout
    assert timedelta(minutes=30) == DATA_LAKE.ack_timeout


def test_no_grace_period_outlasts_a_node_drain() -> None:
    """Ten minutes is what an autoscaler grants, so longer jobs have to save their place."""
    assert DRAIN_CAP == BATCH_JOBS.grace
    assert timedelta(seconds=60) == DATA_LAKE.grace
    assert all(queue.finish_within < queue.grace for queue in CATALOG.queues)


def test_retries_grow_apart_and_outlast_a_quarter_of_an_hour() -> None:
    """Ten seconds more each time, at most a minute."""
    assert [10, 20, 60, 60] == [DATA_LAKE.retry_delay(n).total_seconds() for n in (1, 2, 6, 20)]
    assert timedelta(minutes=17, seconds=30) == DATA_LAKE.patience


def test_buckets_reach_past_the_longest_run() -> None:
    """A run of twice the longest is still told from one that is longer."""
    bounds = buckets(timedelta(hours=1))

    assert (1.0, 10000.0) == (bounds[0], bounds[-1])
    assert sorted(set(bounds)) == list(bounds)


def test_fault_10_job_buckets_stop_at_five_minutes_no_more() -> None:
    """The histogram of job durations tells an hour from two."""
    assert any(300 < bound < 3600 for bound in buckets(BATCH_JOBS.longest_run))
    assert buckets(BATCH_JOBS.longest_run)[-1] >= 7200


@pytest.mark.parametrize(("version", "delays"), [("4.0.5", False), ("4.2.1", False), ("4.3.6", True), ("5.0.0", True)])
def test_a_broker_is_asked_once_what_it_can(version: str, delays: bool) -> None:
    """From 4.3 on a retry is delayed by the broker and a return costs nothing."""
    assert Capabilities(delays, delays) == Capabilities.of(version)


@pytest.mark.parametrize("version", ["3.13.7", "unknown"])
def test_an_old_broker_is_refused_by_name(version: str) -> None:
    """The message says which version was seen and which is the oldest."""
    with pytest.raises(UnsupportedBroker, match=f"announces version '{version}': 4.0 is the oldest"):
        Capabilities.of(version)
