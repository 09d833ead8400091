"""The ledger read, and a trigger sent and followed, with a real broker and a real document store."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from consumers import paths
from consumers.events import decode
from consumers.jobs.request import read
from consumers.ledger import Run
from tests.brokers import eventually

pytestmark = [pytest.mark.servers, pytest.mark.broker]

OnCall = Callable[..., Any]
MORNING = datetime(2026, 3, 1, 6, tzinfo=UTC)


def noted(trigger: str, **changes: Any) -> Run:
    """A run of the one job, completed after 90 s."""
    fields = {
        "id": paths.document(trigger),
        "job": "risk-snapshot-backfill",
        "trigger": trigger,
        "status": "completed",
        "owner": "risk-analytics-0",
        "lease_until": MORNING,
        "counts": {"snapshots": 12},
        "started_at": MORNING,
        "ended_at": MORNING + timedelta(seconds=90),
    }
    return Run(**{**fields, **changes})


def test_runs_are_listed_newest_first(oncall: OnCall, stack: Any) -> None:
    """A failed run needs a person until its job completes again."""
    stack.note(noted("monday"))
    stack.note(noted("tuesday", status="failed", reason="the lake is empty", started_at=MORNING + timedelta(days=1)))

    answer = oncall("runs", "--json")

    listed = [run["trigger"] for run in answer.data["runs"] if run["trigger"] in ("monday", "tuesday")]
    assert (1, ["tuesday", "monday"]) == (answer.code, listed)
    assert ["run tuesday of risk-snapshot-backfill failed: the lake is empty"] == answer.data["needs"]
    assert 90 == next(run["seconds"] for run in answer.data["runs"] if run["trigger"] == "monday")

    stack.note(noted("wednesday", started_at=MORNING + timedelta(days=2)))
    assert 0 == oncall("runs", "risk-snapshot-backfill").code
    assert 1 == len(oncall("runs", "--limit", "1", "--json").data["runs"])


def test_one_run_is_found_by_its_id(oncall: OnCall, stack: Any) -> None:
    """Whatever the id looks like; counts, reason and worker are shown."""
    stack.note(noted("risk-snapshot-backfill:2026-03-01T01:00:00Z"))

    answer = oncall("runs", "--id", "risk-snapshot-backfill:2026-03-01T01:00:00Z")

    for part in ("completed", "1 min 30 s", "snapshots 12", "risk-analytics-0"):
        assert part in answer.out
    missing = oncall("runs", "--id", "nothing")
    assert (
        2,
        "oncall: no run has id 'nothing': no worker took its trigger yet, or `oncall runs` lists others\n",
    ) == (missing.code, missing.err)


def test_a_trigger_is_what_a_worker_reads(oncall: OnCall, stack: Any) -> None:
    """The event passes the consumers' own checks, says manual, and its id is the run's."""
    batch = stack.catalog.queue_of("batch")
    arguments = ("--from", "2026-03-01", "--to", "2026-03-07", "--tenant", "acme", "--tenant", "umbrella")

    answer = oncall("trigger", "risk-snapshot-backfill", *arguments, "--json")

    [(_, body)] = stack.broker.take(batch.name)
    event = decode(body)
    request = read(event, stack.catalog)
    assert (answer.data["id"], "workflow.job.trigger") == (event.id, event.type)
    assert ("2026-03-01", "2026-03-07", {"acme", "umbrella"}) == (
        str(request.first),
        str(request.last),
        set(request.tenants),
    )
    assert "manual" == json.loads(bytes(event.data))["triggeredBy"]


def test_a_trigger_says_how_to_follow_it(oncall: OnCall) -> None:
    """The id may be chosen, and is printed with the command that goes on."""
    answer = oncall("trigger", "risk-snapshot-backfill", "--id", "mine")

    assert (0, "risk-snapshot-backfill is triggered as mine\nFollow it: oncall runs --id mine\n") == (
        answer.code,
        answer.out,
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ("risk-snapshot",),
            "job 'risk-snapshot' does not exist: did you mean risk-snapshot-backfill? There is risk-snapshot-backfill",
        ),
        (
            ("risk-snapshot-backfill", "--from", "2026-03-07", "--to", "2026-03-01"),
            (
                "the worker would refuse this trigger: data.metadata.from is 2026-03-07, after data.metadata.to,"
                " 2026-03-01: swap them"
            ),
        ),
        (
            ("risk-snapshot-backfill", "--from", "0001-01-01", "--to", "9999-12-31"),
            (
                'the worker would refuse this trigger: data.metadata.from is "0001-01-01": give a day such as'
                ' 2026-01-31; data.metadata.to is "9999-12-31": give a day such as 2026-01-31'
            ),
        ),
    ],
)
def test_a_wrong_trigger_publishes_nothing(oncall: OnCall, stack: Any, arguments: tuple[str, ...], says: str) -> None:
    """One message, exit code 2, and no event."""
    answer = oncall("trigger", *arguments)

    assert (2, f"oncall: {says}\n") == (answer.code, answer.err)
    assert 0 == stack.broker.ready(stack.catalog.queue_of("batch").name)


def test_a_second_trigger_of_one_id_says_that_it_starts_nothing(oncall: OnCall, stack: Any) -> None:
    """Once a worker has taken the run, nothing is published any more."""
    stack.note(noted("march"))

    answer = oncall("trigger", "risk-snapshot-backfill", "--id", "march")

    words = "nothing was started: run march is completed; another --id, or none, starts another run\n"
    assert (0, words) == (answer.code, answer.out)
    assert 0 == stack.broker.ready(stack.catalog.queue_of("batch").name)
    assert 0 == oncall("trigger", "risk-snapshot-backfill", "--id", "march", "--wait").code


def test_waiting_ends_when_the_trigger_is_a_dead_letter(oncall: OnCall, stack: Any) -> None:
    """Nobody will run it, so nobody waits hours for it; letters of others do not end it."""
    batch = stack.catalog.queue_of("batch")

    def refuse() -> None:
        [(_, body)] = eventually(lambda: stack.broker.take(batch.name))
        stack.bury(batch, b"another's", "undecodable")
        time.sleep(2)
        stack.bury(batch, body, "unknown_job")

    worker = threading.Thread(target=refuse)
    worker.start()
    answer = oncall("trigger", "risk-snapshot-backfill", "--id", "buried", "--wait")
    worker.join()

    why = "the trigger is a dead letter (unknown_job: seeded as unknown_job)"
    assert (1, True) == (answer.code, f"{why}: `oncall dead show {batch.name} buried`" in answer.out), answer


@pytest.mark.parametrize(("status", "code"), [("completed", 0), ("failed", 1)])
def test_waiting_follows_a_run_to_its_end(oncall: OnCall, stack: Any, status: str, code: int) -> None:
    """It says when a worker takes the run and how far it is, and ends with the run's outcome."""
    trigger = f"followed-{status}"
    reason = "no rows" if status == "failed" else ""

    def work() -> None:
        batch = stack.catalog.queue_of("batch")
        eventually(lambda: stack.broker.take(batch.name))
        stack.note(noted(trigger, status="running", checkpoint={"day": "2026-03-01"}, ended_at=None))
        time.sleep(2.5)
        stack.note(noted(trigger, status=status, reason=reason))

    worker = threading.Thread(target=work)
    worker.start()
    answer = oncall("trigger", "risk-snapshot-backfill", "--id", trigger, "--wait")
    worker.join()

    assert code == answer.code
    assert "attempt 1 on risk-analytics-0, day 2026-03-01, snapshots 12" in answer.err
    assert status in answer.out
