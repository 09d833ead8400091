"""What becomes of a run when its worker crashes, stops, freezes or is cancelled, or a sink or the broker is away."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from catalog.metrics import JOB_RUNS
from consumers.jobs import Deps, Outcome, Request
from consumers.ledger import MOST_ATTEMPTS
from consumers.verdicts import Later, Retry
from tests.runs import JOB, Crash, CrashAfter, Platform, ScriptedJob, Worker, trigger, until
from tests.stories import run


async def die(worker: Worker, identity: str = "trigger-1") -> None:
    """Deliver a trigger to a worker that crashes on the way."""
    with pytest.raises((Crash, BaseExceptionGroup)) as death:
        await worker.handle(trigger(identity))
    assert isinstance(death.value, Crash) or death.value.subgroup(Crash)


@pytest.mark.parametrize("owner", ["a", "b"], ids=["restarted", "another"])
@pytest.mark.parametrize(
    ("boundary", "repeated"),
    [("upsert", [3]), ("running", []), ("completed", []), ("outcome", []), ("published", [])],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_crash_at_any_boundary_leaves_one_outcome_and_equal_documents(
    job: ScriptedJob, boundary: str, repeated: list[int], owner: str
) -> None:
    """After a write, a checkpoint, the end, the outcome, and the note of it: the next worker goes on from there."""

    async def story() -> None:
        platform, undisturbed = Platform(), Platform()
        job.counts_to(5)
        await undisturbed.worker().handle(trigger())
        job.steps.clear()

        sound = platform.documents
        platform.documents = CrashAfter(sound, boundary, 3 if boundary in ("upsert", "running") else 1)
        platform.outbox.fail = [Crash()] if boundary == "outcome" else []
        await die(platform.worker("a"))
        platform.documents = sound
        await platform.worker(owner).handle(trigger())

        assert sorted([*range(1, 6), *repeated]) == sorted(job.steps)
        assert {"trigger-1:completed"} == set(platform.outcomes)
        assert all(sent == platform.outbox.sent[0] for sent in platform.outbox.sent)
        assert await undisturbed.snapshots() == await platform.snapshots()
        found = await platform.run_of(trigger())
        assert ("completed", {"steps": 5}, True) == (found.status, found.counts, found.published_at is not None)

    run(story())


def test_a_run_that_kills_its_workers_again_and_again_fails_with_that_reason(job: ScriptedJob) -> None:
    """After a bounded number of attempts without progress, so that the queue behind it goes on."""

    async def story() -> None:
        platform = Platform()
        job.fails_with(Crash())
        for _ in range(MOST_ATTEMPTS):
            await die(platform.worker("a"))
        worker = platform.worker("a")
        assert await worker.handle(trigger())

        found = await platform.run_of(trigger())
        assert ("failed", "no progress in 5 attempts: its workers died or were lost") == (found.status, found.reason)
        assert ["trigger-1:failed"] == platform.outcomes
        assert 1 == worker.count(JOB_RUNS, JOB, "failed")

    run(story())
    assert MOST_ATTEMPTS == job.begun


def test_a_stop_saves_the_run_and_the_next_worker_goes_on_from_there(job: ScriptedJob) -> None:
    """The trigger goes back as nobody's failure, and no step before the checkpoint is done again."""

    async def story() -> None:
        platform = Platform()
        job.counts_to(6)
        a, inner = platform.worker("a"), job.script

        def stop_at_three(request: Request, deps: Deps) -> Outcome:
            saved = deps.checkpoint

            def checkpoint(state: Any) -> None:
                if state["step"] == 3:
                    a.stopping.set()
                saved(state)

            deps.checkpoint = checkpoint  # type: ignore[method-assign]
            return inner(request, deps)

        job.script = stop_at_three
        with pytest.raises(Retry, match="stopping: run 'trigger-1' is saved and goes on elsewhere"):
            await a.handle(trigger())
        assert [] == platform.outcomes
        assert {"step": 3} == (await platform.run_of(trigger())).checkpoint

        job.script = inner
        began = asyncio.get_running_loop().time()
        assert await platform.worker("b").handle(trigger())
        assert asyncio.get_running_loop().time() - began < platform.lease.total_seconds()
        assert [1, 2, 3, 4, 5, 6] == job.steps
        assert ["trigger-1:completed"] == platform.outcomes

    run(story())


def test_a_process_that_is_ending_begins_nothing(job: ScriptedJob) -> None:
    """A trigger that arrives meanwhile goes back."""

    async def story() -> None:
        platform = Platform()
        worker = platform.worker()
        worker.stopping.set()
        with pytest.raises(Retry, match="stopping"):
            await worker.handle(trigger())

    run(story())
    assert 0 == job.begun


def test_a_process_that_is_ending_waits_for_nobody(job: ScriptedJob) -> None:
    """Who waits for another worker's run gives the trigger back at once."""

    async def story() -> None:
        platform = Platform(lease=timedelta(minutes=1))
        job.go.clear()
        holder = asyncio.ensure_future(platform.worker("a").handle(trigger()))
        await until(lambda: job.begun)
        waiting = platform.worker("b")
        task = asyncio.ensure_future(waiting.handle(trigger()))
        await asyncio.sleep(0.05)
        waiting.stopping.set()
        with pytest.raises(Retry, match="stopping"):
            await asyncio.wait_for(task, 1)
        job.go.set()
        assert await holder

    run(story())


def test_a_handler_that_is_cancelled_ends_its_job_at_the_next_step(job: ScriptedJob) -> None:
    """The thread cannot be ended from outside; it writes nothing more, and the run is taken over later."""

    async def story() -> None:
        platform = Platform()
        job.counts_to(3)
        job.go.clear()
        task = asyncio.ensure_future(platform.worker("a").handle(trigger()))
        await until(lambda: job.begun)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        job.go.set()
        await until(lambda: job.steps == [1])
        await asyncio.sleep(0.05)
        assert ({}, []) == (await platform.snapshots(), platform.outcomes)

        assert await platform.worker("b").handle(trigger())
        assert [1, 1, 2, 3] == job.steps

    run(story())


def test_a_worker_that_lost_its_lease_stops_without_side_effects(job: ScriptedJob) -> None:
    """It was frozen for longer than its lease: what it does afterwards reaches no sink, and it announces nothing."""

    async def story() -> None:
        platform = Platform()
        job.counts_to(2)
        slow = platform.worker("a")
        slow.ledger.lease = timedelta(seconds=-1)  # as if it had run out while the worker was frozen
        job.go.clear()
        task = asyncio.ensure_future(slow.handle(trigger()))
        await until(lambda: job.begun)
        quick = asyncio.ensure_future(platform.worker("b").handle(trigger()))
        await until(lambda: job.begun == 2)
        job.go.set()

        with pytest.raises(Retry, match="fenced: a lost the lease of run 'trigger-1'"):
            await task
        assert await quick
        found = await platform.run_of(trigger())
        assert ("b", "completed") == (found.owner, found.status)
        assert ["trigger-1:completed"] == platform.outcomes

    run(story())


@pytest.mark.parametrize("lost", [False, True], ids=["unreachable", "answer lost"])
def test_an_outage_of_a_sink_is_not_a_failure_of_the_job(job: ScriptedJob, lost: bool) -> None:
    """The trigger is tried again from the last checkpoint, as the same attempt, until the sink is back."""

    async def story() -> None:
        platform = Platform()
        job.counts_to(4)
        inner = job.script

        def script(request: Request, deps: Deps) -> Outcome:
            if deps.saved.get("step") == 2:
                if lost:
                    platform.documents.lose_next_response()
                else:
                    platform.documents.unavailable = True
            return inner(request, deps)

        def first(request: Request, deps: Deps) -> Outcome:
            deps.upsert("cosmos_db.containers.risk_snapshots", [{"id": "0", "tenantId": "t"}])
            deps.checkpoint({"step": 2})
            return script(request, deps)

        job.script = first
        with pytest.raises(Retry, match="sink_unavailable"):
            await platform.worker("a").handle(trigger())
        platform.documents.unavailable = False
        found = await platform.run_of(trigger())
        assert ("running", {"step": 2}, []) == (found.status, found.checkpoint, platform.outcomes)

        job.script, job.steps = inner, []
        assert await platform.worker("a").handle(trigger())
        assert [3, 4] == job.steps

    run(story())


def test_outages_that_the_process_lives_through_are_no_attempts(job: ScriptedJob) -> None:
    """However many: the ledger could not be told either, so that the worker remembers it."""

    async def story() -> None:
        platform = Platform()

        def cut_off(_request: Request, deps: Deps) -> Outcome:
            platform.documents.unavailable = True
            deps.checkpoint({"step": 1})
            return Outcome()

        job.script, worker = cut_off, platform.worker("a")
        for _ in range(2 * MOST_ATTEMPTS):
            with pytest.raises(Retry, match="sink_unavailable"):
                await worker.handle(trigger())
            platform.documents.unavailable = False
        job.counts_to(2)
        assert await worker.handle(trigger())
        assert ("completed", 1) == ((found := await platform.run_of(trigger())).status, found.attempt)

    run(story())


def test_an_end_whose_answer_was_lost_is_found_at_the_next_delivery(job: ScriptedJob) -> None:
    """The ledger knows that the run ended, so that it is announced and not repeated."""

    async def story() -> None:
        platform = Platform()

        def script(_request: Request, _deps: Deps) -> Outcome:
            platform.documents.lose_next_response()
            return Outcome({"blobs": 1})

        job.script = script
        with pytest.raises(Retry, match="the answer was lost"):
            await platform.worker().handle(trigger())
        assert [] == platform.outcomes

        worker = platform.worker()
        assert not await worker.handle(trigger())
        assert ["trigger-1:completed"] == platform.outcomes
        assert 1 == worker.count(JOB_RUNS, JOB, "completed")

    run(story())
    assert 1 == job.begun


def test_an_outcome_that_the_broker_does_not_take_is_published_at_the_next_delivery(job: ScriptedJob) -> None:
    """Until then the ledger says that it is not out."""

    async def story() -> None:
        platform = Platform()
        platform.outbox.fail = [Retry(Later.SINK_UNAVAILABLE, "the broker did not confirm")]
        with pytest.raises(Retry, match="the broker did not confirm"):
            await platform.worker().handle(trigger())
        assert None is (await platform.run_of(trigger())).published_at

        assert not await platform.worker().handle(trigger())
        assert ["trigger-1:completed"] == platform.outcomes

    run(story())
    assert 1 == job.begun
