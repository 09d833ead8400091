"""The report says what a person needs: figures, missed goals, and every fault by its id."""

import io
import re
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from catalog import CATALOG
from infra.broker_api import Api
from oncall.endpoints import Account, Endpoints, Login
from proof.compare import Ledger
from proof.counters import Process
from proof.plan import plan
from proof.report import show
from proof.run import Proof, QueueResult
from proof.stack import Stack

STACK = Stack(
    endpoints=Endpoints(
        file=Path("endpoints.json"),
        amqp="amqp://a:b@127.0.0.1:5672/",
        management=Login("", "", ""),
        prometheus="http://127.0.0.1:9090",
        alertmanager="http://127.0.0.1:9093",
        cosmos=Account("", "", ""),
        services={},
        catalog=CATALOG,
    ),
    api=Api("", "", "", ""),
    blobs="",
    boards=(".local/boards/bi-risk-batch-jobs.json",),
)
LAKE = QueueResult(
    name=CATALOG.queue_of("lake").name,
    published=875,
    consumed=866,
    duplicates=41,
    redelivered=12,
    rate=123.4,
    sink=Ledger(sink="lake", planned=825, equal=825),
    dead=Ledger(sink="lake.dead", planned=8, equal=8),
    reasons=Counter({"undecodable": 2, "conflict": 2}),
)
GOOD = Proof(
    plan=plan(CATALOG, datetime(2026, 3, 10, 12, tzinfo=UTC)),
    queues=(LAKE,),
    snapshots=Ledger(sink="risk_snapshots", planned=825, equal=825),
    processes=(
        Process("logging", "http://127.0.0.1:3014", startup=0.84, memory=96e6),
        Process("analytics-service", "http://127.0.0.1:3030", startup=2.31, memory=141e6),
        Process("risk-analytics", "http://127.0.0.1:3048", startup=None, memory=None),
    ),
    outcomes=Ledger(sink="outcome events", planned=4, equal=4),
    run={"status": "completed", "counts": {"blobs": 825, "snapshots": 825}},
    faults=(),
)


def printed(proof: Proof) -> str:
    """What goes to a file: no frames that move, no colours."""
    file = io.StringIO()
    show(Console(file=file, width=160), proof, STACK)
    return file.getvalue()


def test_a_good_run_is_told_with_its_figures_and_links() -> None:
    """Each figure of the table, the job's end, the addresses, and the verdict in one sentence."""
    text = printed(GOOD)
    row = next(line for line in text.splitlines() if LAKE.name in line)

    cells = ["875", "12", "866", "825 of 825", "41", "conflict 2, undecodable 2", "123"]
    assert [LAKE.name, *cells] == re.split(r" {2,}", row.strip())
    assert "Parquet rows compared with what was sent: 825 of 825 equal" in text
    assert "risk-snapshot-backfill of 2026-03-03 to 2026-03-09: completed (blobs 825, snapshots 825)" in text
    assert "http://127.0.0.1:9090" in text
    assert ".local/boards/bi-risk-batch-jobs.json" in text
    assert "as planned: 825 writes and 4 dead letters; nothing lost, duplicated or unexpected" in text
    assert "\x1b" not in text


def test_a_missed_goal_is_marked() -> None:
    """What is within its goal is plain; what is not says so, and a silent process too."""
    lines = {
        process.service: line
        for process in GOOD.processes
        for line in printed(GOOD).splitlines()
        if f" {process.service} " in line
    }

    assert "missed" not in lines["logging"]
    assert "2.3 s, missed" in lines["analytics-service"]
    assert "141 MB, missed" in lines["analytics-service"]
    assert "no answer" in lines["risk-analytics"]


def test_faults_are_named_instead_of_praise() -> None:
    """With anything lost the report ends with the sentence that names it."""
    text = printed(replace(GOOD, faults=("lake: 1 lost: risk/3.parquet",)))

    assert "not as planned: lake: 1 lost: risk/3.parquet" in text
    assert "\nas planned" not in text


def test_a_job_that_failed_says_why() -> None:
    """The ledger's reason is printed where the counts would be."""
    text = printed(replace(GOOD, run={"status": "failed", "reason": "2 of 9 blobs cannot be read", "counts": {}}))

    assert "failed (2 of 9 blobs cannot be read)" in text
