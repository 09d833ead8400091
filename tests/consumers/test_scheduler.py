"""The scheduler with a clock in its hands: what is published when, and under which id."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest

from catalog import CATALOG
from consumers import jobs
from consumers.events import decode
from consumers.scheduler import LATE, Scheduler, last_due
from consumers.verdicts import Later, Retry
from tests.brokers import lines
from tests.runs import JOB, Outbox

SUNDAY = datetime(2026, 1, 4, 1, tzinfo=UTC)  # the cron line of the job: 0 1 * * 0
SECOND = timedelta(seconds=1)
IDENTITY = f"{JOB}:2026-01-04T01:00:00Z"


class Watch:
    """A scheduler whose time is set by hand."""

    def __init__(self, outbox: Outbox | None = None) -> None:
        self.outbox, self.ticks = outbox or Outbox(), list[datetime]()
        self.now = SUNDAY
        self.scheduler = Scheduler(CATALOG, self.outbox, self.ticks.append, lambda: self.now)

    def at(self, *moments: datetime) -> list[str]:
        """The ids published so far, after a look at the clock at each moment."""
        for self.now in moments:
            asyncio.run(self.scheduler.tick())
        return [sent["id"] for sent in self.outbox.sent]


def test_a_trigger_is_published_once_when_it_falls_due() -> None:
    """Nothing before, one at the second, none after."""
    watch = Watch()

    assert [] == watch.at(SUNDAY - 2 * SECOND, SUNDAY - SECOND)
    assert [IDENTITY] == watch.at(SUNDAY)
    assert [IDENTITY] == watch.at(SUNDAY + SECOND, SUNDAY + timedelta(minutes=5), SUNDAY + timedelta(days=3))


def test_a_trigger_says_what_a_person_would_want_to_know() -> None:
    """An event of the system tenant that the batch handler takes, for which a queue must exist."""
    watch = Watch()
    watch.at(SUNDAY + 3 * SECOND)

    [sent] = watch.outbox.sent
    assert ("coder_events", "workflow.job.trigger", True) == (sent["exchange"], sent["key"], sent["mandatory"])
    assert {
        "id": IDENTITY,
        "type": "workflow.job.trigger",
        "version": "1.0",
        "timestamp": "2026-01-04T01:00:00Z",
        "tenantId": "00000000-0000-0000-0000-000000000001",
        "source": "risk-analytics",
        "data": {
            "job": JOB,
            "metadata": {"schedule": "0 1 * * 0"},
            "triggeredBy": "scheduler",
            "timestamp": "2026-01-04T01:00:00Z",
        },
    } == sent["event"]


def test_the_batch_handler_understands_the_trigger() -> None:
    """Scheduled triggers are read by the same code as those of people."""
    watch = Watch()
    watch.at(SUNDAY)
    body = json.dumps(watch.outbox.sent[0]["event"]).encode()

    request = jobs.read(decode(body), CATALOG)

    assert (JOB, IDENTITY, SUNDAY) == (request.job.name, request.trigger, request.asked)


def test_two_schedulers_publish_the_same_id() -> None:
    """Their triggers are one run, since the ledger knows a run by its trigger's id."""
    outbox = Outbox()

    Watch(outbox).at(SUNDAY + SECOND)
    Watch(outbox).at(SUNDAY + 20 * SECOND)

    assert outbox.sent[0] == outbox.sent[1]


@pytest.mark.parametrize(
    ("late", "published"),
    [(timedelta(), 1), (timedelta(minutes=59), 1), (LATE - SECOND, 1), (LATE, 0), (timedelta(days=1), 0)],
    ids=str,
)
def test_what_fell_due_while_nobody_was_awake_is_made_up_for_within_an_hour(late: timedelta, published: int) -> None:
    """A scheduler that starts late publishes the last due time, unless it is stale."""
    assert published == len(Watch().at(SUNDAY + late))


def test_a_trigger_that_the_broker_does_not_take_is_tried_again() -> None:
    """Until it is confirmed, and then no more."""
    watch = Watch(Outbox(fail=[Retry(Later.SINK_REFUSED, "no queue"), Retry(Later.SINK_UNAVAILABLE, "down")]))

    assert [] == watch.at(SUNDAY, SUNDAY + 5 * SECOND)
    assert [IDENTITY] == watch.at(SUNDAY + 10 * SECOND, SUNDAY + 15 * SECOND)


def test_a_trigger_that_could_not_be_published_for_an_hour_is_given_up(capfd: pytest.CaptureFixture[str]) -> None:
    """A run at an odd hour is worse than none; it is said once, with how to run it by hand."""
    watch = Watch(Outbox(fail=[Retry(Later.SINK_UNAVAILABLE, "down")]))

    assert [] == watch.at(SUNDAY, SUNDAY + LATE, SUNDAY + LATE + SECOND)
    assert [("error", f"run it by hand: oncall trigger {JOB}")] == _left_out(capfd)


def test_a_due_time_that_was_slept_through_is_left_out_and_said(capfd: pytest.CaptureFixture[str]) -> None:
    """Another process may have published it, so that it is no error."""
    assert [] == Watch().at(SUNDAY + LATE, SUNDAY + 2 * LATE)
    assert [("info", "oncall runs shows whether another process published it")] == _left_out(capfd)


def _left_out(capfd: pytest.CaptureFixture[str]) -> list[tuple[str, str]]:
    told = lines(capfd.readouterr().out)
    return [(line["level"], line["detail"]) for line in told if line["message"] == "trigger left out"]


def test_every_look_at_the_clock_is_told() -> None:
    """Also when nothing is due: the gauge shows that somebody is awake."""
    watch = Watch()
    moments = [SUNDAY - timedelta(days=1), SUNDAY]
    watch.at(*moments)

    assert moments == watch.ticks


def test_it_ticks_until_it_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cancelling ends it at once, as the end of a process does."""
    monkeypatch.setattr("consumers.scheduler.TICK", 0.01)
    watch = Watch()

    async def story() -> None:
        ticking = asyncio.create_task(watch.scheduler.run())
        async with asyncio.timeout(5):
            while len(watch.ticks) < 3:  # noqa: ASYNC110 - no event tells of a tick
                await asyncio.sleep(0.01)
        ticking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await ticking

    asyncio.run(story())
    assert [IDENTITY] == [sent["id"] for sent in watch.outbox.sent]


def test_every_job_of_the_catalog_has_a_due_time() -> None:
    """Its cron line is one that the library reads, and it comes at least once a month."""
    for job in CATALOG.jobs:
        due = last_due(job, SUNDAY)
        assert SUNDAY - timedelta(days=31) < due <= SUNDAY
