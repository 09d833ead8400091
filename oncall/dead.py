"""Dead letters for a person: how many wait, why, and what each one says."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from catalog.kinds import Queue
from oncall import show
from oncall.broker import channel
from oncall.command import Command
from oncall.endpoints import Endpoints
from oncall.letters import (
    RUNBOOK,
    Letter,
    check_reading_is_free,
    pretty,
    put_back,
    queue_named,
    read,
    reasons,
    sentence,
    waiting,
)
from oncall.show import Answer
from oncall.trouble import Trouble

LIMIT = 1000  # letters looked at; a body may have 1 MiB


@dataclass
class Event:
    """The letters of one event: the first of them, without its body, and how many there are."""

    queue: Queue
    letter: Letter
    copies: int = 1

    @property
    def data(self) -> dict[str, Any]:
        letter = self.letter
        return {
            "queue": self.queue.name,
            "id": letter.id,
            "reason": letter.reason,
            "detail": letter.detail,
            "attempts": letter.attempts,
            "at": letter.at,
            "key": letter.routing_key,
            "copies": self.copies,
        }


def listing(options: argparse.Namespace, endpoints: Endpoints) -> Answer:
    """Every event that lies dead, by queue and reason."""
    queues = [queue_named(endpoints, options.queue)] if options.queue else list(endpoints.catalog.queues)
    events: list[Event] = []
    letters = unseen = 0
    with channel(endpoints) as opened:
        for queue in queues:
            check_reading_is_free(endpoints, queue)
            before = waiting(opened, queue)
            unseen += before
            found: dict[tuple[str, str], Event] = {}
            for letter in read(opened, queue, options.limit - letters):
                letters += 1
                if letter.key in found:
                    found[letter.key].copies += 1
                elif options.reason in (None, letter.reason):
                    found[letter.key] = Event(queue, replace(letter, body=b""))
            put_back(opened, queue, before)
            events += found.values()
    return _listed(events, unseen - letters)


def _listed(events: Sequence[Event], unseen: int) -> Answer:
    counts = Counter((event.queue.name, event.letter.reason) for event in events)
    by_reason = [(queue, reason, count, sentence(reason)) for (queue, reason), count in sorted(counts.items())]
    rows = [
        (event.queue.name, letter.id, letter.reason, letter.detail, letter.attempts, _age(letter), event.copies)
        for event in events
        for letter in [event.letter]
    ]
    page = [
        show.table("Dead letters by reason", ("queue", "reason", "events#", "which means"), by_reason),
        show.table("Letters", ("queue", "id", "reason", "detail", "tries#", "dead for#", "copies#"), rows),
    ]
    if unseen > 0:
        page.append(show.text(f"{unseen} more were not looked at: raise --limit"))
    needs = [
        f"{count} event(s) of {queue} are dead because {reason}: see {RUNBOOK}#{reason}"
        for queue, reason, count, _ in by_reason
    ]
    counted = [{"queue": queue, "reason": reason, "events": count} for queue, reason, count, _ in by_reason]
    data = {"counts": counted, "letters": [event.data for event in events], "not_looked_at": max(unseen, 0)}
    return Answer(data, page, needs)


def _age(letter: Letter) -> str | None:
    return show.duration(show.age(letter.at))


def showing(options: argparse.Namespace, endpoints: Endpoints) -> Answer:
    """One letter whole."""
    queue = queue_named(endpoints, options.queue)
    check_reading_is_free(endpoints, queue)
    with channel(endpoints) as opened:
        before = waiting(opened, queue)
        letters = [letter for letter in read(opened, queue, options.limit) if letter.id == options.id]
        put_back(opened, queue, before)
    if not letters:
        raise no_such_letter(queue, [options.id])
    letter = letters[0]
    data = {**Event(queue, letter, len(letters)).data, "headers": letter.headers, "body": pretty(letter.body)}
    different = len({other.key for other in letters})
    page = [
        show.table(f"{letter.id} of {queue.name}", ("header", "value"), sorted(letter.headers.items())),
        show.text(f"{letter.reason}: {sentence(letter.reason)}\n{letter.detail}".rstrip()),
        show.text(f"What to do: {RUNBOOK}#{letter.reason}"),
        show.text(f"\n{pretty(letter.body)}"),
    ]
    if different > 1:
        page.append(show.text(f"{different} letters with different bodies have this id; this is the oldest"))
    return Answer(data, page)


def no_such_letter(queue: Queue, ids: Sequence[str]) -> Trouble:
    return Trouble(
        f"{queue.dead} has no letter {', '.join(ids)}: `oncall dead list {queue.name}` shows which there are"
    )


def limit_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--limit", type=positive, default=LIMIT, metavar="N", help=f"look at the N oldest letters (default {LIMIT})"
    )


def positive(value: str) -> int:
    """A whole number above 0, as argparse wants its types."""
    if not value.isdecimal() or int(value) < 1:
        raise argparse.ArgumentTypeError(f"{value!r} is not a whole number above 0")
    return int(value)


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("queue", nargs="?", metavar="QUEUE", help="one queue; all without it")
    parser.add_argument("--reason", choices=reasons(), metavar="REASON", help=f"only these: {', '.join(reasons())}")
    limit_argument(parser)


def _show_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("queue", metavar="QUEUE", help="the queue it died in")
    parser.add_argument("id", metavar="ID", help="its event id, as `oncall dead list` shows it")
    limit_argument(parser)


LIST = Command(
    name="dead list",
    summary="dead letters by queue and reason",
    description="Count the dead letters by queue and reason and list them; copies of one event count once.\n"
    "Looking takes nothing away: every letter is put back.",
    examples=(
        "oncall dead list",
        "oncall dead list logging_data_lake --reason no_tenant",
        "oncall dead list --limit 50 --json",
    ),
    one="dead letters wait",
    arguments=_list_arguments,
    run=listing,
)

SHOW = Command(
    name="dead show",
    summary="one dead letter whole",
    description="Show the headers, the reason in words, the body, and where the runbook goes on.",
    examples=("oncall dead show logging_data_lake 6f1c9f0e-0b3b-4a53-9a0e-5d1f4f9f2a77",),
    arguments=_show_arguments,
    run=showing,
)
