"""The numbers behind an alert, from a real Prometheus with a quarter of an hour of a queue that falls behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from catalog import CATALOG
from catalog.links import LINKS
from consumers.ledger import Run
from oncall.endpoints import ROOT
from oncall.explain import NEXT
from oncall.letters import RUNBOOK, reasons
from tests.brokers import eventually
from tools import servers

pytestmark = pytest.mark.servers

OnCall = Callable[..., Any]


def test_a_queue_that_falls_behind_is_explained(oncall: OnCall, stack: Any) -> None:
    """40 events/s at 1 s each in 10 slots need more replicas than the one there is; the change is ready to paste."""
    lake = stack.catalog.queue_of("lake")
    most = stack.catalog.service("logging").most_replicas

    answer = oncall("explain", "QueueWillNotDrainInTime", lake.name, "--json")

    [reading], [sized] = answer.data["readings"], answer.data["sizing"]
    assert (1, lake.name, True, lake.drain_within.total_seconds()) == (
        answer.code,
        reading["name"],
        reading["beyond"],
        reading["limit"],
    )
    # The last samples grow old while tests run, and rates fall with them.
    assert pytest.approx([40, 8], rel=0.3) == [sized["inputs"]["arrivals"], sized["settled"]]
    assert pytest.approx(1) == sized["inputs"]["handling_time"]
    assert ("most replicas", most, 1) == (sized["binding"], sized["required"], sized["replicas"])
    assert "runbooks/QueueWillNotDrainInTime.md" == answer.data["page"]
    assert [
        "open runbooks/QueueWillNotDrainInTime.md",
        (
            f"{lake.name} needs 10.9 replicas, at most {most} are allowed:"
            " raise most_replicas of logging in catalog/services.py"
        ),
        f"tools/pulumi config set replicas.logging {most}   # commit it, then: make up",
    ] == _rounded(answer.data["next"])


def test_on_kubernetes_the_change_is_one_of_the_stack(oncall: OnCall, stack: Any, tmp_path: Path) -> None:
    """There `make up` would start another stack on the reader's own machine."""
    file, most = tmp_path / "endpoints.json", stack.catalog.service("logging").most_replicas
    file.write_text(json.dumps({**json.loads(stack.file.read_text()), "kubernetes": {"namespace": "bi-risk"}}))

    answer = oncall("explain", "QueueWillNotDrainInTime", stack.catalog.queue_of("lake").name, "--json", endpoints=file)

    setting = f"replicas.logging {most}"
    assert (
        f"pulumi config set {setting} --stack $STACK   # commit it, then: pulumi up --stack $STACK"
        == answer.data["next"][-1]
    )


def _rounded(steps: list[str]) -> list[str]:
    """The steps with the one number that depends on the second in which it was read made stable."""
    head, needs, change = steps
    words = needs.split()
    number = float(words[2])
    assert 9 < number < 13
    return [head, " ".join([*words[:2], "10.9", *words[3:]]), change]


def test_the_page_names_question_value_limit_and_state(oncall: OnCall, stack: Any) -> None:
    """Somebody who was asleep a minute ago reads it from top to bottom."""
    lake = stack.catalog.queue_of("lake")

    answer = oncall("explain", "OldestEventTooOld", lake.name)

    signal = next(signal for signal in CATALOG.signals if signal.alert and signal.alert.name == "OldestEventTooOld")
    for part in (signal.question, "20 min 34 s", "> 15m30s", "arriving/s", "decided by", "Next\n  1. open runbooks/"):
        assert part in answer.out


def test_an_alert_fires_since_a_moment(oncall: OnCall, stack: Any) -> None:
    """A failed run fires at once; the answer says since when, and which command goes on."""
    job = stack.catalog.jobs[0].name

    def firing() -> Any:
        found = oncall("explain", "JobFailed", job, "--json")
        return found if found.data["readings"][0]["state"] == "firing" else None

    answer = eventually(firing, 30)

    assert (True, f"oncall runs {job}") == (bool(answer.data["readings"][0]["since"]), answer.data["next"][1])


def test_behind_a_job_stand_its_runs(oncall: OnCall, stack: Any, elsewhere: Callable[..., Path]) -> None:
    """Replicas do not help a job that failed: its runs are shown, and a silent ledger hides nothing else."""
    now = datetime.now(UTC)
    run = Run(
        id="r", job=stack.catalog.jobs[0].name, trigger="r", status="failed", owner="w", lease_until=now,
        reason="the lake is empty", started_at=now, ended_at=now,
    )  # fmt: skip
    stack.note(run)

    assert "the lake is empty" in oncall("explain", "JobFailed").out

    nowhere = {"endpoint": f"https://127.0.0.1:{servers.free_ports(1)[0]}", "key": "bm9uZQ==", "database": "castiel"}
    answer = oncall("explain", "JobFailed", "--json", endpoints=elsewhere(cosmos=nowhere))
    assert (1, 1, []) == (len(answer.data["readings"]), len(answer.data["troubles"]), answer.data["sizing"])


def test_a_quiet_alert_needs_nobody(oncall: OnCall, stack: Any) -> None:
    """A queue without data is not beyond its limit, and says that there is no data."""
    audit = stack.catalog.queue_of("audit")

    answer = oncall("explain", "DeadLettersWaiting", audit.name)

    assert (0, True) == (answer.code, "no data" in answer.out)


def test_dead_letters_lead_to_their_list(oncall: OnCall, stack: Any) -> None:
    """Without an entry all are shown, and the next step names those beyond the limit."""
    lake = stack.catalog.queue_of("lake")

    answer = oncall("explain", "DeadLettersWaiting", "--json")

    assert len(stack.catalog.queues) == len(answer.data["readings"])
    assert f"oncall dead list {lake.name}" == answer.data["next"][1]


def test_every_alert_can_be_explained(oncall: OnCall) -> None:
    """There is no alert whose numbers cannot be asked for."""
    for alert in CATALOG.alerts:
        answer = oncall("explain", alert.name, "--json")
        assert (alert.name, "") == (answer.data["alert"], answer.err)


def test_every_page_that_is_named_exists() -> None:
    """A command never sends anybody to a page or a heading that is not there."""
    page = (ROOT / RUNBOOK).read_text(encoding="utf-8")
    headings = {line.lstrip("# `").rstrip("`").split("`")[0] for line in page.splitlines() if line.startswith("#")}
    assert set(reasons()) <= headings
    for alert in CATALOG.alerts:
        assert (ROOT / LINKS.page(alert)).is_file()


def test_next_steps_belong_to_signals_that_alert() -> None:
    """A signal that is renamed or loses its alert takes its next step along."""
    assert set(NEXT) <= {signal.name for signal in CATALOG.signals if signal.alert}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("QueueWillNotDrain",), "alert 'QueueWillNotDrain' does not exist: did you mean QueueWillNotDrainInTime?"),
        (("JobFailed", "risk-snapshot"), "job 'risk-snapshot' does not exist: did you mean risk-snapshot-backfill?"),
        (("DeadLettersWaiting", "zzz"), "queue 'zzz' does not exist: there are "),
    ],
)
def test_an_unknown_name_gets_the_nearest(oncall: OnCall, arguments: tuple[str, ...], says: str) -> None:
    """Pages are read at night and names typed wrong."""
    answer = oncall("explain", *arguments)

    assert (2, True) == (answer.code, answer.err.startswith(f"oncall: {says}")), answer.err
