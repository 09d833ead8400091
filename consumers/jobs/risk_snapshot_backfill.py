"""From the lake's risk evaluations of a window of days to one snapshot document per evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from consumers import paths
from consumers.jobs import Deps, Outcome, Request
from consumers.lake import TABLES, RiskEvaluated

DAYS = 7  # the default window: full days before the one in which the run was asked for
TABLE = TABLES["risk.evaluated"]
STORE = "cosmos_db.containers.risk_snapshots"
MOST_NAMED = 20  # unreadable blobs that are named; all are counted

# What reading a blob that is no row of ours raises: pyarrow the first two.
UNREADABLE = (ValueError, OSError, msgspec.MsgspecError)


class Row(RiskEvaluated, kw_only=True, rename="camel"):
    """One row of the lake, its JSON columns decoded."""

    tenant_id: str
    timestamp: str


class Progress(msgspec.Struct):
    """How far a run is: the last path that is done with, and what was counted up to it."""

    path: str = ""
    blobs: int = 0
    snapshots: int = 0
    unreadable: int = 0
    named: list[str] = []

    def note(self, path: str, why: str) -> None:
        self.unreadable += 1
        if len(self.named) < MOST_NAMED:
            self.named.append(f"{path} ({why})")


def run(request: Request, deps: Deps) -> Outcome:
    """Upsert a snapshot for each row, in the order of paths, so that a second run gives equal documents.

    A blob that cannot be read holds up no other: the rest is written, then the run fails and names it.
    """
    progress = msgspec.convert(deps.saved, Progress)
    for day in days(request):
        for batch in deps.paths(paths.day(TABLE.folder, day.isoformat())):
            if todo := [path for path in batch if path > progress.path]:
                _copy(todo, request, deps, progress)
                deps.checkpoint(msgspec.to_builtins(progress))
    counts = {"blobs": progress.blobs, "snapshots": progress.snapshots, "unreadable": progress.unreadable}
    return Outcome(counts, _fault(progress))


def days(request: Request) -> Iterator[date]:
    """The days of the window, both ends included: those asked for, else the last DAYS full ones."""
    yesterday = request.asked.date() - timedelta(days=1)
    last = request.last or max(yesterday, request.first or yesterday)
    first = request.first or last - timedelta(days=DAYS - 1)
    return (first + timedelta(days=n) for n in range((last - first).days + 1))


def _copy(todo: list[str], request: Request, deps: Deps, progress: Progress) -> None:
    """Write the snapshots of some blobs. Of rows with the same id the last one counts."""
    documents: dict[tuple[str, str], dict[str, Any]] = {}
    for path, body in zip(todo, deps.read(todo), strict=True):
        try:
            found = list(snapshots(body))
        except UNREADABLE as error:
            progress.note(path, str(error))
            continue
        for document in found:
            if not request.tenants or document["tenantId"] in request.tenants:
                documents[document["tenantId"], document["id"]] = document
    deps.upsert(STORE, documents.values())
    progress.path = todo[-1]
    progress.blobs += len(todo)
    progress.snapshots += len(documents)


def snapshots(body: bytes | None) -> Iterator[dict[str, Any]]:
    """The documents of one Parquet blob, one a row; a column without a value is left out.

    Raises one of UNREADABLE when a row is not what the lake holds.
    """
    if body is None:
        raise FileNotFoundError("it was deleted after it had been listed")
    table = pq.ParquetFile(pa.BufferReader(body)).read(use_threads=False)  # a fifth of the CPU of read_table
    for columns in table.to_pylist():
        document = {
            column.name: msgspec.json.decode(value) if column.name in TABLE.documents else value
            for column in TABLE.columns
            if (value := columns.get(column.name)) is not None
        }
        row = msgspec.convert(document, Row)
        identity = row.evaluation_id or f"{row.opportunity_id}_{row.timestamp}"
        yield {"id": paths.document(identity), **document}


def _fault(progress: Progress) -> str:
    if not progress.unreadable:
        return ""
    more = progress.unreadable - len(progress.named)
    names = "; ".join(progress.named) + (f"; and {more} more" if more else "")
    return f"{progress.unreadable} of {progress.blobs} blobs cannot be read, all others are written: {names}"
