"""From the dead letters back to their queue: counted first, confirmed one by one, never lost in between."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from pika.adapters.blocking_connection import BlockingChannel

from catalog.kinds import Queue
from consumers.events import decode
from consumers.verdicts import Reject
from oncall import show
from oncall.broker import channel, publish
from oncall.command import Command
from oncall.dead import limit_argument, no_such_letter
from oncall.endpoints import Endpoints
from oncall.letters import Letter, check_reading_is_free, put_back, queue_named, read, reasons, waiting
from oncall.show import Answer
from oncall.trouble import Trouble


@dataclass(frozen=True)
class Choice:
    """Which letters go back, and the corrected body that replaces the original one, if any."""

    ids: tuple[str, ...]
    reason: str | None
    corrected: bytes | None = None

    def takes(self, letter: Letter) -> bool:
        if self.ids:
            return letter.id in self.ids
        return self.reason in (None, letter.reason)


def run(options: argparse.Namespace, endpoints: Endpoints) -> Answer:
    """Count what is chosen, ask, then publish each event once and acknowledge all its letters."""
    queue, choice = queue_named(endpoints, options.queue), _choice(options)
    check_reading_is_free(endpoints, queue)
    with channel(endpoints) as opened:
        before = waiting(opened, queue)
        chosen = _in_hand(opened, queue, choice, options.limit)
        put_back(opened, queue, before)
    counted = {letter.key for letter in chosen}
    events = len(counted)
    if missing := sorted(set(choice.ids) - {letter.id for letter in chosen}):
        raise no_such_letter(queue, missing)
    if choice.corrected is not None and events > 1:
        raise Trouble(
            f"{events} different events have id {choice.ids[0]}: one corrected body cannot stand for all of them"
        )
    what = f"{events} event(s) in {len(chosen)} letter(s) of {queue.dead}"
    data = {"queue": queue.name, "chosen": events, "letters": len(chosen), "replayed": 0, "left": before}
    if options.dry_run or not chosen:
        return Answer(data, [show.text(f"{what} would go back to {queue.name}; nothing was changed")])
    _ask(what, queue, yes=options.yes)
    # A connection of its own: while a person thinks, heartbeats stop and the broker would take the letters back.
    with channel(endpoints) as opened:
        before = waiting(opened, queue)
        letters = [letter for letter in _in_hand(opened, queue, choice, options.limit) if letter.key in counted]
        replayed, gone = _replay(opened, queue, letters, choice.corrected)
        left = before - gone
        put_back(opened, queue, left)
    needs = [f"{events - replayed} event(s) were in somebody else's hand: run it again"] if replayed < events else []
    words = f"{replayed} event(s) went back to {queue.name}; {left} letter(s) are left"
    return Answer({**data, "replayed": replayed, "left": left}, [show.text(words)], needs)


def _replay(opened: BlockingChannel, queue: Queue, letters: list[Letter], corrected: bytes | None) -> tuple[int, int]:
    """(events replayed, letters gone). All are read first: one that fails again must not be taken for its own copy."""
    done: set[tuple[str, str]] = set()
    for letter in letters:
        if letter.key not in done:
            body = letter.body if corrected is None else corrected
            try:
                publish(opened, "", queue.name, body, letter.revived())
            except Trouble as error:
                raise Trouble(f"{len(done)} event(s) went back, then {letter.id} did not: {error}") from error
            done.add(letter.key)
        opened.basic_ack(letter.tag)  # only now: dying in between makes a duplicate, which handlers know, never a loss
    return len(done), len(letters)


def _in_hand(opened: BlockingChannel, queue: Queue, choice: Choice, limit: int) -> list[Letter]:
    return [letter for letter in read(opened, queue, limit) if choice.takes(letter)]


def _choice(options: argparse.Namespace) -> Choice:
    ids = tuple(options.id or ())
    if sum(map(bool, (ids, options.reason, options.all))) != 1:
        raise Trouble(
            "say which letters go back: exactly one of --id ID (as often as needed), --reason REASON or --all"
        )
    if not options.body:
        return Choice(ids, options.reason)
    if len(ids) != 1:
        raise Trouble(f"--body {options.body} replaces one event: name it with one --id")
    return Choice(ids, None, _corrected(Path(options.body), ids[0]))


def _corrected(file: Path, identity: str) -> bytes:
    """The body in a file, if an event could be made of it with that id. Raises Trouble."""
    try:
        body = file.read_bytes()
        found = decode(body).id
    except OSError as error:
        raise Trouble(f"{file} cannot be read: {error.strerror}") from None
    except Reject as error:
        raise Trouble(f"{file} would become a dead letter again: {error}; correct it first") from None
    if found != identity and not identity.startswith("sha256:"):  # a body without an id gets its first one here
        raise Trouble(f"{file} has id {found!r}, the letter {identity!r}: a corrected event keeps its id")
    return body


def _ask(what: str, queue: Queue, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise Trouble(
            f"{what} would go back to {queue.name}, and nobody is here to agree: add --yes; nothing was changed"
        )
    print(f"{what} will go back to {queue.name}. Go on? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Trouble("nothing was changed")


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("queue", metavar="QUEUE", help="the queue they died in")
    parser.add_argument("--id", action="append", metavar="ID", help="the letters of this event; may be repeated")
    parser.add_argument("--reason", choices=reasons(), metavar="REASON", help=f"one of {', '.join(reasons())}")
    parser.add_argument("--all", action="store_true", help="every letter")
    parser.add_argument("--body", metavar="FILE", help="send this corrected body instead; needs one --id")
    parser.add_argument("--dry-run", action="store_true", help="count, change nothing")
    parser.add_argument("--yes", action="store_true", help="do not ask; needed where no terminal is")
    limit_argument(parser)


COMMAND = Command(
    name="dead replay",
    summary="give dead letters back to their queue",
    description="Publish dead events to their queue again, once each, and remove their letters.\n"
    "Only that queue gets them; other teams' queues on the exchange do not. A crash in between loses nothing:\n"
    "at worst an event goes back twice, and the handlers recognise the second.",
    examples=(
        "oncall dead replay logging_data_lake --all --dry-run",
        "oncall dead replay logging_data_lake --reason delivery_limit --limit 100",
        "oncall dead replay logging_ml_audit --id evt-1 --id evt-2 --yes",
        "oncall dead replay analytics_service --id evt-3 --body corrected.json --yes",
    ),
    one="fewer events went back than were counted: somebody else held them",
    arguments=_arguments,
    run=run,
)
