"""From trigger to outcome: one run and one outcome id, however often the trigger is delivered."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from catalog import CATALOG, Queue
from catalog.metrics import JOB_DURATION, JOB_RUNNING, JOB_RUNS, JOB_TRIGGERS
from consumers.jobs import Outcome
from consumers.verdicts import Retry
from tests.brokers import lines
from tests.runs import JOB, Platform, ScriptedJob, Worker, trigger, until
from tests.stories import run


def test_a_run_that_ends_well_is_in_the_ledger_and_announced(job: ScriptedJob) -> None:
    """Completed with its counts and times; the outcome is a whole event on the shared exchange."""

    async def story() -> None:
        platform = Platform()
        assert await platform.worker("a").handle(trigger())

        found = await platform.run_of(trigger())
        assert ("completed", "a", {"blobs": 3}, "") == (found.status, found.owner, found.counts, found.reason)
        assert found.ended_at
        assert found.published_at
        assert found.started_at <= found.ended_at <= found.published_at
        ended = found.ended_at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        event = {
            "id": "trigger-1:completed",
            "type": "workflow.job.completed",
            "version": "1.0",
            "timestamp": ended,
            "tenantId": "00000000-0000-0000-0000-000000000001",
            "source": "risk-analytics",
            "data": {"job": JOB, "completedAt": ended, "status": "completed"},
            "metadata": {"correlationId": trigger().correlation_id},
        }
        sent = {"exchange": "coder_events", "key": "workflow.job.completed", "id": event["id"], "mandatory": False}
        assert [{**sent, "event": event}] == platform.outbox.sent

    run(story())
    assert 1 == job.begun


def test_fault_05_a_jobs_error_is_recorded_and_published_before_its_trigger_is_acknowledged(
    job: ScriptedJob, capfd: pytest.CaptureFixture[str]
) -> None:
    """Failed with the reason in ledger, outcome, metrics and log; nothing of it is swallowed."""

    async def story() -> None:
        platform = Platform()
        worker = platform.worker()
        job.fails_with(RuntimeError("the month has no days"))
        assert await worker.handle(trigger())

        found = await platform.run_of(trigger())
        assert found.ended_at
        assert ("failed", "RuntimeError: the month has no days") == (found.status, found.reason)
        [sent] = platform.outbox.sent
        assert ("trigger-1:failed", "workflow.job.failed") == (sent["id"], sent["key"])
        failed = found.ended_at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        assert {"job": JOB, "error": found.reason, "failedAt": failed} == sent["event"]["data"]
        assert (1, 0) == (worker.count(JOB_RUNS, JOB, "failed"), worker.count(JOB_RUNS, JOB, "completed"))

    run(story())
    [said] = [line for line in lines(capfd.readouterr().out) if line["level"] == "error"]
    assert ("the job failed", JOB, "trigger-1") == (said["message"], said["job"], said["run"])
    assert "the month has no days" in said["traceback"]


def test_an_outcome_with_a_fault_is_a_failed_run(job: ScriptedJob) -> None:
    """A job that got to its end, but not as it should, keeps its counts."""

    async def story() -> None:
        platform = Platform()
        job.script = lambda _request, _deps: Outcome({"blobs": 9}, "1 of 9 blobs cannot be read")
        assert await platform.worker().handle(trigger())

        found = await platform.run_of(trigger())
        assert ("failed", {"blobs": 9}, "1 of 9 blobs cannot be read") == (found.status, found.counts, found.reason)
        assert ["trigger-1:failed"] == platform.outcomes

    run(story())


def test_a_redelivery_of_a_finished_run_repeats_its_outcome_and_runs_nothing(job: ScriptedJob) -> None:
    """The same event to the last byte, whoever says it; the delivery counts as a duplicate."""

    async def story() -> None:
        platform = Platform()
        assert await platform.worker("a").handle(trigger())
        assert not await platform.worker("b").handle(trigger())

        assert platform.outbox.sent[0] == platform.outbox.sent[1]

    run(story())
    assert 1 == job.begun


def test_fault_09_a_redelivery_of_a_run_in_progress_waits_for_it(job: ScriptedJob) -> None:
    """The broker lost patience and delivered again: one run, one outcome, and both deliveries end."""

    async def story() -> None:
        platform = Platform()
        worker = platform.worker()
        job.go.clear()
        first = asyncio.ensure_future(worker.handle(trigger()))
        await until(lambda: job.begun)
        again = [asyncio.ensure_future(worker.handle(trigger())) for _ in range(2)]
        await asyncio.sleep(0.05)
        assert [False] * 3 == [task.done() for task in (first, *again)]

        job.go.set()
        assert [True, False, False] == [await task for task in (first, *again)]
        assert ["trigger-1:completed"] == platform.outcomes

    run(story())
    assert 1 == job.begun


def test_a_redelivery_that_is_given_up_leaves_the_run_alone(job: ScriptedJob) -> None:
    """Who only waits can be cancelled without ending what the other delivery began."""

    async def story() -> None:
        platform = Platform()
        worker = platform.worker()
        job.go.clear()
        first = asyncio.ensure_future(worker.handle(trigger()))
        await until(lambda: job.begun)
        again = asyncio.ensure_future(worker.handle(trigger()))
        await asyncio.sleep(0.05)
        again.cancel()
        await asyncio.sleep(0.05)

        job.go.set()
        assert await first
        assert again.cancelled()
        assert ["trigger-1:completed"] == platform.outcomes

    run(story())


def test_fault_09_a_redelivery_to_another_worker_waits_for_the_run_too(job: ScriptedJob) -> None:
    """The lease is renewed however long the run takes, so that nobody else begins it."""

    async def story() -> None:
        platform = Platform()
        job.go.clear()
        holder = asyncio.ensure_future(platform.worker("a").handle(trigger()))
        await until(lambda: job.begun)
        other = asyncio.ensure_future(platform.worker("b").handle(trigger()))
        await asyncio.sleep(3 * platform.lease.total_seconds())
        assert not other.done()

        job.go.set()
        assert [True, False] == [await holder, await other]
        assert {"trigger-1:completed"} == set(platform.outcomes)

    run(story())
    assert 1 == job.begun


def test_a_run_that_is_held_too_long_goes_back_to_the_broker(job: ScriptedJob, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the broker itself loses patience with the one who only waits."""
    monkeypatch.setattr(Queue, "ack_timeout", timedelta(seconds=0.4))

    async def story() -> None:
        platform = Platform()
        job.go.clear()
        holder = asyncio.ensure_future(platform.worker("a").handle(trigger()))
        await until(lambda: job.begun)
        with pytest.raises(Retry, match="busy: a holds run 'trigger-1' until "):
            await platform.worker("b").handle(trigger())
        job.go.set()
        assert await holder

    run(story())


def test_a_trigger_id_may_be_longer_than_a_message_id(job: ScriptedJob) -> None:
    """AMQP takes 255 bytes; the outcome's own id stays whole."""

    async def story() -> None:
        platform = Platform()
        assert await platform.worker().handle(trigger("x" * 300))

        [sent] = platform.outbox.sent
        assert f"{'x' * 300}:completed" == sent["event"]["id"]
        assert len(sent["id"]) <= 255

    run(story())
    assert 1 == job.begun


def test_different_triggers_run_at_the_same_time(job: ScriptedJob) -> None:
    """Each has a run of its own."""

    async def story() -> None:
        platform = Platform()
        worker = platform.worker()
        job.go.clear()
        tasks = [asyncio.ensure_future(worker.handle(trigger(name))) for name in "xy"]
        await until(lambda: job.begun == 2)
        job.go.set()
        assert [True, True] == await asyncio.gather(*tasks)
        assert ["x:completed", "y:completed"] == sorted(platform.outcomes)

    run(story())


def test_what_runs_and_what_ran_is_counted(job: ScriptedJob) -> None:
    """A trigger and a run count once, however often they are delivered; the age is that of the run in progress."""

    async def story() -> None:
        platform = Platform()
        worker = platform.worker()
        job.go.clear()
        task = asyncio.ensure_future(worker.handle(trigger()))
        await until(lambda: job.begun)
        assert 0 < age(worker) < 30
        assert (1, 0) == (worker.count(JOB_TRIGGERS, JOB), worker.count(JOB_RUNS, JOB, "completed"))

        job.go.set()
        await task
        await worker.handle(trigger())
        assert 0 == age(worker)
        assert (1, 1) == (worker.count(JOB_TRIGGERS, JOB), worker.count(JOB_RUNS, JOB, "completed"))
        assert 1 == worker.meters.registry.get_sample_value(f"{JOB_DURATION.name}_count", {"job_name": JOB})

    run(story())


def age(worker: Worker) -> float:
    found = worker.meters.registry.get_sample_value(JOB_RUNNING.name, {"job_name": JOB})
    assert found is not None
    return found


def test_the_service_may_publish_every_outcome(job: ScriptedJob) -> None:
    """Its permissions at the broker are derived from what the catalog says it publishes."""

    async def story() -> None:
        platform = Platform()
        await platform.worker().handle(trigger("good"))
        job.fails_with(ValueError("no"))
        await platform.worker().handle(trigger("bad"))
        said = {sent["key"] for sent in platform.outbox.sent}
        assert set() == said - set(CATALOG.service("risk-analytics").publishes)

    run(story())
