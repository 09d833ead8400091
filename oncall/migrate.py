"""A classic queue becomes a quorum queue of the same name, or goes back, while its publishers go on."""

from __future__ import annotations

import argparse
import sys
import time

from rich.console import RenderableType

from infra.broker_api import Refused
from oncall import show
from oncall.adoption import PAGE, Adoption
from oncall.broker import alone
from oncall.command import Command
from oncall.endpoints import BROKER, Endpoints
from oncall.movable import faults
from oncall.moving import Moved
from oncall.show import Answer
from oncall.steps import Found, Kind, Step, next_step, plan
from oncall.trouble import Trouble, unknown

GAP = (
    "{count} event(s) came to {queue} by its name, not through an exchange: while it is replaced (some 50 ms)"
    " such events find no queue. Stop who sends them and run it again, or add --accept-gap"
)
EXPIRING = (
    "{count} of the first {seen} event(s) have a time to live of their own (`expiration`): those whose time passes"
    " while the consumers stand still are dropped by the broker"
)
ROUNDS = 50  # steps; more than this happens only while somebody publishes to the queue by its name


def run(options: argparse.Namespace, endpoints: Endpoints) -> Answer:
    queues = {queue.name: queue for queue in endpoints.catalog.queues}
    if options.queue not in queues:
        raise unknown("queue", options.queue, queues)
    goal: Kind = "classic" if options.rollback else "quorum"
    adoption = Adoption(endpoints, queues[options.queue])
    try:
        if options.dry_run:
            return _planned(adoption, goal)
        with alone(endpoints, f"{options.queue}.moving.lock"):
            return _moved(adoption, goal, options)
    except Refused as refused:
        raise Trouble(str(refused)) from None


def _looked(adoption: Adoption, goal: Kind) -> Found:
    """What is there, where it makes sense to go on. Raises Trouble."""
    found = adoption.found()
    if not (found.queue or found.aside or found.note):
        raise Trouble(
            f"queue {adoption.name} does not exist on broker {adoption.endpoints.broker}: `pulumi up` creates it"
        )
    if goal == "classic" and not found.note and (found.aside or not found.queue or found.queue.kind != goal):
        raise Trouble(
            f"nothing is to be rolled back: no migration of {found.name} is under way"
            f" (the broker has no global parameter {found.beside})"
        )
    return found


def _planned(adoption: Adoption, goal: Kind) -> Answer:
    found = _looked(adoption, goal)
    left = [step.words for step in plan(found, goal)]
    needs, warnings = faults(adoption, found), []
    if not needs and found.queue and found.queue.kind == "classic":
        count, seen = adoption.expiring()
        warnings = [EXPIRING.format(count=count, seen=seen)] if count else []
    data = {"queue": adoption.name, "goal": goal, "done": [], "left": left, "warnings": warnings}
    return Answer(data, [_state(found), _steps(left, goal, found.name), *map(show.text, warnings)], needs)


def _moved(adoption: Adoption, goal: Kind, options: argparse.Namespace) -> Answer:
    done: list[str] = []
    found, needs = _looked(adoption, goal), []
    while step := next_step(found, goal):
        if needs := faults(adoption, found):
            break
        _ask(step, options)
        words, direct = _done(adoption, step, len(done) + 1)
        done.append(words)
        found = adoption.found()
        if direct and step.source == found.name and not options.accept_gap:
            needs = [GAP.format(count=direct, queue=found.name)]
        if needs or options.step:
            break
        if len(done) == ROUNDS:
            raise Trouble(f"after {ROUNDS} steps messages still come to {found.name} by its name: stop who sends them")
    left = [step.words for step in plan(found, goal)]
    data = {"queue": found.name, "goal": goal, "done": done, "left": left}
    return Answer(data, [_state(found), _steps(left, goal, found.name)], needs)


def _done(adoption: Adoption, step: Step, number: int) -> tuple[str, int]:
    """What a step brought, in a line, and how many events came by the queue's name; told as it goes on, too."""
    _tell(f"{number}. {step.words}")
    began = time.monotonic()
    moved = adoption.do(step, lambda so_far: _tell(f"   {_count(so_far)}"))
    words = f"   done in {time.monotonic() - began:.2f} s" + (f": {_count(moved)}" if moved else "")
    _tell(words)
    return f"{step.words}:{words.removeprefix('   done')}", moved.direct if moved else 0


def _count(moved: Moved) -> str:
    return f"{moved.sent:,} moved, {moved.known:,} were there already, {moved.rate:,.0f}/s"


def _tell(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def _ask(step: Step, options: argparse.Namespace) -> None:
    if options.yes or options.step:
        return
    if not sys.stdin.isatty():
        raise Trouble(f"next: {step.words}. Nobody is here to agree: add --step (only this) or --yes (all steps)")
    print(f"{step.words}. Go on? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Trouble("stopped; run it again to go on, or with --rollback to go back")


def _state(found: Found) -> RenderableType:
    rows = [
        (place.name, place.kind, len(place.bound), place.held)
        for place in (found.queue, found.aside)
        if place is not None
    ]
    return show.table("Now", ("queue", "type", "bindings#", "messages#"), rows)


def _steps(left: list[str], goal: Kind, name: str) -> RenderableType:
    if not left:
        return show.text(f"{name} is a {goal} queue, and nothing is left to do")
    return show.table(f"Left to do, until {name} is a {goal} queue", ("#", "step"), enumerate(left, 1))


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("queue", metavar="QUEUE", help="a classic queue with the name of one of ours")
    parser.add_argument("--rollback", action="store_true", help="go back: the queue becomes what it was, from any step")
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--dry-run", action="store_true", help="show what is there and the steps, change nothing")
    chosen.add_argument("--step", action="store_true", help="do only the next step")
    chosen.add_argument("--yes", action="store_true", help="do all steps without asking before each")
    parser.add_argument(
        "--accept-gap",
        action="store_true",
        help="go on although events come by the queue's name, which is away a moment",
    )


COMMAND = Command(
    name="migrate",
    summary="turn a classic queue into the quorum queue of the same name",
    description="Move a queue that existed before us, while its publishers go on: one beside it takes the events\n"
    "over, the queue is replaced, and gets them back. Each event is there once at the end; their order may change.\n"
    "Its consumers have to be stopped. It can be broken off and run again, or rolled back, at every step:\n"
    f"the steps that are left follow from what the broker holds. {PAGE} has the whole procedure.",
    examples=(
        "oncall migrate logging_data_lake --dry-run",
        "oncall migrate logging_data_lake --step",
        "oncall migrate logging_data_lake --yes",
        "oncall migrate logging_data_lake --rollback --yes",
    ),
    one="it is not safe to go on: somebody consumes the queue, or events could be lost; each is named with what to do",
    needs=BROKER,
    arguments=_arguments,
    run=run,
)
