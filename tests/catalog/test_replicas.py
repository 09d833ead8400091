"""What follows for one replica from what is declared: how much of a backlog it may be given, and how much memory."""

from dataclasses import replace
from datetime import timedelta

from catalog import CATALOG
from catalog.kinds import Queue
from catalog.queues import DATA_LAKE
from catalog.services import LOGGING


def test_a_replica_is_given_what_it_can_handle_in_time() -> None:
    """Ten at a time, half a minute each at worst, for a quarter of an hour."""
    assert 300 == DATA_LAKE.backlog_per_replica


def test_a_promise_that_is_just_kept_leaves_one_event_each() -> None:
    """With the shortest promise that the laws allow, a replica still has something to do."""
    shortest = replace(DATA_LAKE, prefetch=1, drain_within=DATA_LAKE.longest_run)

    assert 1 == shortest.backlog_per_replica


def test_every_queue_gives_a_replica_something() -> None:
    assert [] == [queue.name for queue in CATALOG.queues if queue.backlog_per_replica < 1]


def test_a_long_job_does_not_wait_behind_others() -> None:
    """Four jobs of an hour each fit into a promise of four hours, the fifth needs another worker."""
    batch: Queue = CATALOG.queue("bi_batch_jobs")

    assert timedelta(hours=4) == batch.drain_within
    assert 4 == batch.backlog_per_replica


def test_memory_follows_from_what_was_measured() -> None:
    """89 MiB and a quarter are asked for; twice as much, and the bodies in hand, are allowed."""
    assert 112 == LOGGING.memory_request
    assert 198 == LOGGING.memory_limit(bodies=20)
