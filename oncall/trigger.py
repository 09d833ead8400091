"""From a person to the batch workers: one trigger, published as the scheduler would, then followed."""

from __future__ import annotations

import argparse
import secrets
import sys
from datetime import UTC, date, datetime
from typing import Any

import pika

from catalog.kinds import Queue
from consumers import envelope
from consumers.events import decode
from consumers.jobs.request import read
from consumers.verdicts import Reject
from oncall import letters, show
from oncall.broker import channel, publish
from oncall.command import Command
from oncall.dead import LIMIT
from oncall.endpoints import Endpoints
from oncall.runs import Ledger, answer, follow
from oncall.show import Answer
from oncall.trouble import Looked, Trouble, unknown


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
    burial = Burial(endpoints, catalog.queue_of("batch"), identity) if options.wait else None
    there = Looked().at(lambda: Ledger(endpoints).find(options.job, identity)) if options.id else None
    if there:
        words = f"nothing was started: run {identity} is {there.status}; another --id, or none, starts another run"
    else:
        with channel(endpoints) as opened:
            publish(opened, catalog.exchange.name, key, body, pika.BasicProperties(message_id=identity))
        words = f"{options.job} is triggered as {identity}\nFollow it: oncall runs --id {identity}"
    if burial is None:
        return Answer({"id": identity, "job": options.job, "started": not there}, [show.text(words)])
    print(words, file=sys.stderr, flush=True)
    within = catalog.queue_of("batch").late_after.total_seconds()
    run = follow(Ledger(endpoints), options.job, identity, within, burial.happened)
    return answer([run]) if run else burial.answer()


class Burial:
    """Whether a trigger becomes a dead letter from now on: looked for only while the number of letters changes."""

    def __init__(self, endpoints: Endpoints, queue: Queue, identity: str) -> None:
        self._endpoints, self._queue, self._identity, self._letters = endpoints, queue, identity, 0
        self._before = len(self._found())
        self.letter: letters.Letter | None = None

    def happened(self) -> bool:
        if len(found := self._found()) > self._before:
            self.letter = found[-1]
        return self.letter is not None

    def _found(self) -> list[letters.Letter]:
        """The letters of the trigger, where their number is another than at the last look."""
        with channel(self._endpoints) as opened:
            before, self._letters = self._letters, letters.waiting(opened, self._queue)
            if before == self._letters:
                return []
            letters.check_reading_is_free(self._endpoints, self._queue)
            found = [letter for letter in letters.read(opened, self._queue, LIMIT) if letter.id == self._identity]
            letters.put_back(opened, self._queue, self._letters)
        return found

    def answer(self) -> Answer:
        assert self.letter
        why = f"{self.letter.reason}: {self.letter.detail}".rstrip(": ")
        need = f"the trigger is a dead letter ({why}): `oncall dead show {self._queue.name} {self._identity}`"
        return Answer({"id": self._identity, "reason": self.letter.reason, "detail": self.letter.detail}, [], [need])


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
    one="with --wait: the run failed, or no worker could read the trigger",
    arguments=_arguments,
    run=run,
)
