"""From a person to the batch workers: one trigger, published as the scheduler would, then followed."""

from __future__ import annotations

import argparse
import secrets
import sys
from datetime import UTC, date, datetime
from typing import Any

import pika

from consumers import envelope
from consumers.events import decode
from consumers.jobs.request import read
from consumers.verdicts import Reject
from oncall import show
from oncall.broker import channel, publish
from oncall.command import Command
from oncall.endpoints import Endpoints
from oncall.runs import Ledger, answer, follow
from oncall.show import Answer
from oncall.trouble import Trouble, unknown


def run(options: argparse.Namespace, endpoints: Endpoints) -> Answer:
    catalog = endpoints.catalog
    if options.job not in (names := {job.name for job in catalog.jobs}):
        raise unknown("job", options.job, names)
    now = datetime.now(UTC)
    # The id becomes the run's: the same one twice is one run.
    identity = options.id or f"{options.job}:manual:{now:%Y%m%dT%H%M%SZ}:{secrets.token_hex(3)}"
    key = catalog.handler("batch").types[0]
    body = envelope.encode(identity, key, now, "oncall", trigger(options, now), None)
    try:
        read(decode(body), catalog)
    except Reject as refusal:  # as the worker would: better said now than by a dead letter
        raise Trouble(f"the worker would refuse this trigger: {refusal.detail}") from None
    with channel(endpoints) as opened:
        publish(opened, catalog.exchange.name, key, body, pika.BasicProperties(message_id=identity))
    words = f"{options.job} is triggered as {identity}\nFollow it: oncall runs --id {identity}"
    if not options.wait:
        return Answer({"id": identity, "job": options.job}, [show.text(words)])
    print(words, file=sys.stderr, flush=True)
    within = catalog.queue_of("batch").late_after.total_seconds()
    return answer([follow(Ledger(endpoints), options.job, identity, within)])


def trigger(options: argparse.Namespace, now: datetime) -> dict[str, Any]:
    """The `data` of the trigger; what is not given is left to the job."""
    given = {
        "from": options.start and options.start.isoformat(),
        "to": options.end and options.end.isoformat(),
        "tenantIds": options.tenant,
    }
    return {
        "job": options.job,
        "metadata": {name: value for name, value in given.items() if value},
        "triggeredBy": "manual",
        "timestamp": envelope.iso(now),
    }


def _day(value: str) -> date:
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{value!r} is not a day such as 2025-03-31") from None


def _identity(value: str) -> str:
    if not value.strip():
        raise argparse.ArgumentTypeError(
            "an empty id would not keep a second run from starting: give one, or leave it out"
        )
    return value


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job", metavar="JOB", help="its name; `oncall runs` shows those that ran")
    parser.add_argument(
        "--from", dest="start", type=_day, metavar="DAY", help="first day, UTC (default: the job's own)"
    )
    parser.add_argument("--to", dest="end", type=_day, metavar="DAY", help="last day, UTC")
    parser.add_argument("--tenant", action="append", metavar="ID", help="only this tenant; may be repeated")
    parser.add_argument(
        "--id", type=_identity, metavar="ID", help="the run's id; a second trigger with the same id starts nothing"
    )
    parser.add_argument("--wait", action="store_true", help="follow the run until it ends")


COMMAND = Command(
    name="trigger",
    summary="start a batch job now",
    description="Publish a trigger for a batch job, confirmed by the broker, and say how to follow the run.",
    examples=(
        "oncall trigger risk-snapshot-backfill",
        "oncall trigger risk-snapshot-backfill --from 2025-03-01 --to 2025-03-07 --tenant acme --wait",
        "oncall trigger risk-snapshot-backfill --id backfill-march --json",
    ),
    one="with --wait: the run failed",
    arguments=_arguments,
    run=run,
)
