"""The ledger of the batch jobs for a person: which runs there were, how they ended, and how one goes on."""

from __future__ import annotations

import argparse
import logging
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec
from azure.core.exceptions import AzureError
from azure.cosmos import ContainerProxy, CosmosClient
from azure.cosmos.exceptions import CosmosHttpResponseError, CosmosResourceNotFoundError
from urllib3.exceptions import InsecureRequestWarning

from catalog.jobs import JOBS
from consumers import paths
from consumers.ledger import Run
from oncall import show
from oncall.command import Command
from oncall.dead import positive
from oncall.endpoints import Endpoints
from oncall.show import Answer
from oncall.trouble import Trouble, unknown

HEAD = ("job", "run", "status", "attempt#", "started (UTC)", "took#", "counts", "reason", "worker")
PAUSE = 1.0  # seconds between two looks at a run that is followed
PATIENCE: dict[str, Any] = {"retry_total": 1, "connection_timeout": 5, "timeout": 10}  # seconds; a person waits


class Ledger:
    """The runs of a stack, read only; every method raises Trouble when the store does not answer."""

    def __init__(self, endpoints: Endpoints) -> None:
        logging.getLogger("azure").setLevel(logging.CRITICAL)  # it logs what it also raises
        self._account, self._file = endpoints.cosmos, endpoints.file
        self._name = endpoints.catalog.store("cosmos_db.containers.batch_job_runs").name
        self._opened: ContainerProxy | None = None

    def newest(self, job: str, limit: int) -> list[Run]:
        """The runs of a job, the last one started first."""
        query = "SELECT TOP @limit * FROM c WHERE c.job = @job ORDER BY c.startedAt DESC"
        parameters: list[dict[str, object]] = [{"name": "@job", "value": job}, {"name": "@limit", "value": limit}]
        with self._asking() as container:
            rows = list(container.query_items(query, parameters=parameters, partition_key=job))
        return [msgspec.convert(row, Run) for row in rows]

    def find(self, job: str, trigger: str) -> Run | None:
        """The run that a trigger started, if a worker has taken it."""
        query = "SELECT * FROM c WHERE c.job = @job AND c.id = @id"
        parameters: list[dict[str, object]] = [
            {"name": "@job", "value": job},
            {"name": "@id", "value": paths.document(trigger)},
        ]
        with self._asking() as container:
            rows = list(container.query_items(query, parameters=parameters, partition_key=job))
        return msgspec.convert(rows[0], Run) if rows else None

    @contextmanager
    def _asking(self) -> Iterator[ContainerProxy]:
        with warnings.catch_warnings():
            # The library checks no certificate on loopback, where the emulator is, and would say so at every request.
            warnings.simplefilter("ignore", InsecureRequestWarning)
            try:
                if self._opened is None:
                    client = CosmosClient(self._account.endpoint, self._account.key, **PATIENCE)
                    database = client.get_database_client(self._account.database)
                    self._opened = database.get_container_client(self._name)
                yield self._opened
            except AzureError as error:
                raise self._trouble(error) from error

    def _trouble(self, error: AzureError) -> Trouble:
        where = f"ledger {self._account.database}/{self._name} at {self._account.endpoint}"
        if isinstance(error, CosmosResourceNotFoundError):
            return Trouble(f"{where} does not exist: `pulumi up` creates it")
        if isinstance(error, CosmosHttpResponseError) and error.status_code in (401, 403):
            return Trouble(f"{where} refuses the key in {self._file}: `make up` writes it anew")
        reason = str(error).splitlines()[0][:200]
        return Trouble(f"{where} does not answer ({reason}): is it running? `make up` starts what is down")


def run(options: argparse.Namespace, endpoints: Endpoints) -> Answer:
    names = [job.name for job in endpoints.catalog.jobs]
    if options.job and options.job not in names:
        raise unknown("job", options.job, names)
    ledger, wanted = Ledger(endpoints), [options.job] if options.job else names
    if options.id:
        found = [run for job in wanted if (run := ledger.find(job, options.id))]
        if not found:
            raise Trouble(
                f"no run has id {options.id!r}: no worker took its trigger yet, or `oncall runs` lists others"
            )
        return answer(found)
    runs = sorted(
        (run for job in wanted for run in ledger.newest(job, options.limit)),
        key=lambda run: run.started_at,
        reverse=True,
    )
    return answer(runs[: options.limit])


def answer(runs: Sequence[Run]) -> Answer:
    """Runs, the newest first, as a table; a failed one needs a person unless its job completed after it."""
    recovered, needs = set(), []
    for run in runs:
        if run.status == "completed":
            recovered.add(run.job)
        elif run.status == "failed" and run.job not in recovered:
            needs.append(f"run {run.trigger} of {run.job} failed: {run.reason}")
    return Answer({"runs": [as_data(run) for run in runs]}, [show.table("Runs", HEAD, map(row, runs))], needs)


def row(run: Run) -> tuple[Any, ...]:
    counts = ", ".join(f"{name} {count}" for name, count in run.counts.items())
    started = f"{run.started_at:%Y-%m-%d %H:%M:%S}"
    return (
        run.job,
        run.trigger,
        run.status,
        run.attempt,
        started,
        show.duration(took(run)),
        counts,
        run.reason,
        run.owner,
    )


def took(run: Run) -> float:
    """Seconds from its start to its end, or to now."""
    return ((run.ended_at or datetime.now(UTC)) - run.started_at).total_seconds()


def as_data(run: Run) -> dict[str, Any]:
    """The ledger's document, with seconds beside the times."""
    return {**msgspec.to_builtins(run), "seconds": round(took(run), 3)}


def follow(ledger: Ledger, job: str, trigger: str, within: float, never: Callable[[], bool]) -> Run | None:
    """Wait for the end of a run, saying on standard error whenever it gets further. Raises Trouble after `within` s.

    None where no run has begun and `never` knows that none will.
    """
    until, said = time.monotonic() + within, ""
    while time.monotonic() < until:
        run = ledger.find(job, trigger)
        if run and run.status != "running":
            return run
        if run is None and never():
            return None
        words = f"{job}: {_progress(run)}"
        if words != said:
            print(words, file=sys.stderr, flush=True)
            said = words
        time.sleep(PAUSE)
    raise Trouble(
        f"run {trigger} has not ended after {show.duration(within)}: `oncall runs --id {trigger}` looks again"
    )


def _progress(run: Run | None) -> str:
    if run is None:
        return "waiting for a worker"
    state = ", ".join(f"{name} {value}" for name, value in {**run.checkpoint, **run.counts}.items())
    return f"attempt {run.attempt} on {run.owner}" + (f", {state}" if state else "")


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "job", nargs="?", metavar="JOB", help=f"one job; all without it ({', '.join(j.name for j in JOBS)})"
    )
    parser.add_argument("--id", metavar="ID", help="only the run of this trigger")
    parser.add_argument("--limit", type=positive, default=20, metavar="N", help="the N newest (default 20)")


COMMAND = Command(
    name="runs",
    summary="batch runs: status, duration, counts, reason",
    description="List the runs in the ledger, the newest first.",
    examples=(
        "oncall runs",
        "oncall runs risk-snapshot-backfill --limit 5",
        "oncall runs --id backfill-march --json",
    ),
    one="a run that is shown failed, and its job has not completed since",
    arguments=_arguments,
    run=run,
)
