"""Which steps turn a queue of one type into one of the other: derived from what the broker holds, and pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

Kind = Literal["classic", "quorum"]
Do = Literal["remember", "make", "redirect", "move", "swap", "declare", "remove", "forget"]


@dataclass(frozen=True)
class Binding:
    """One binding of a queue; `arguments` as sorted JSON."""

    source: str
    key: str
    arguments: str = "{}"


@dataclass(frozen=True)
class Place:
    """One queue: its declaration, what is bound to it, and how many messages it holds, in whosever hand."""

    name: str
    kind: Kind
    body: Mapping[str, Any]
    bound: frozenset[Binding] = frozenset()
    held: int = 0


@dataclass(frozen=True)
class Note:
    """What cannot be seen any more once the first queue is gone: its declaration and its bindings."""

    body: Mapping[str, Any]
    bound: frozenset[Binding]
    moved: int = 0  # messages that are known to have been in the queue beside: as many must come back


@dataclass(frozen=True)
class Found:
    """The queue itself, the one beside it, and the note; each None where there is none."""

    name: str
    queue: Place | None
    aside: Place | None
    note: Note | None

    @property
    def beside(self) -> str:
        return f"{self.name}.moving"

    @property
    def wanted(self) -> frozenset[Binding]:
        """Every binding that brought events, or does: none may be forgotten, wherever it is at this moment."""
        everywhere = (self.note, self.queue, self.aside)
        return frozenset[Binding]().union(*(place.bound for place in everywhere if place))


@dataclass(frozen=True)
class Step:
    """`words` say what it does to what was found, `after` what is found once it is done; some have two ends."""

    do: Do
    words: str
    after: Found
    source: str = ""
    target: str = ""


def plan(found: Found, goal: Kind) -> Iterator[Step]:
    """All steps that are left until the queue is of type `goal` and nothing is beside it."""
    while step := next_step(found, goal):
        yield step
        found = step.after


def next_step(found: Found, goal: Kind) -> Step | None:
    if found.queue and found.queue.kind != goal:
        return _leave(found, found.queue, goal)
    return _arrive(found, goal)


def _leave(found: Found, queue: Place, goal: Kind) -> Step:
    """The queue is of the wrong type: everything goes to the one beside it, then it is replaced."""
    if found.note is None:
        words = f"keep the declaration and {len(queue.bound)} binding(s) of {queue.name} in the broker"
        return Step("remember", words, replace(found, note=Note(queue.body, queue.bound)))
    if found.aside is None:
        made = Place(found.beside, "quorum", {})
        return Step("make", f"make quorum queue {made.name}, without limits", replace(found, aside=made))
    if queue.bound or found.wanted - found.aside.bound:
        return _redirect(found, queue, found.aside)
    if queue.held:
        return _move(found, queue, found.aside)
    words = f"delete {queue.name}, which is empty, and declare it as a {goal} queue: both in one breath"
    return Step("swap", words, replace(found, queue=Place(queue.name, goal, {})))


def _arrive(found: Found, goal: Kind) -> Step | None:
    """The queue is of the right type, or there is none: it gets back what is beside it."""
    if found.queue is None:
        words = f"declare {found.name} as a {goal} queue"
        return Step("declare", words, replace(found, queue=Place(found.name, goal, {})))
    if found.wanted - found.queue.bound or (found.aside and found.aside.bound):
        return _redirect(found, found.aside, found.queue)
    if found.aside and found.aside.held:
        return _move(found, found.aside, found.queue)
    if found.aside:
        return Step("remove", f"delete {found.aside.name}, which is empty", replace(found, aside=None))
    if found.note:
        return Step("forget", f"forget how {found.name} was: the end", replace(found, note=None))
    return None


def _redirect(found: Found, source: Place | None, target: Place) -> Step:
    missing = len(found.wanted - target.bound)
    words = f"bind {target.name} to {missing} key(s)" + (f", then unbind {source.name}" if source else "")
    after = _changed(found, source, replace(target, bound=found.wanted), bound=frozenset())
    return Step("redirect", words, after, source.name if source else "", target.name)


def _move(found: Found, source: Place, target: Place) -> Step:
    words = f"move {source.held} message(s) from {source.name} to {target.name}; those that are in both go once"
    after = _changed(found, source, replace(target, held=target.held + source.held), held=0)
    return Step("move", words, after, source.name, target.name)


def _changed(found: Found, source: Place | None, target: Place, **changes: Any) -> Found:
    """`found` with `target`, and with some fields of the source changed."""
    left = replace(source, **changes) if source else None
    queue, aside = (target, left) if target.name == found.name else (left, target)
    return replace(found, queue=queue, aside=aside)
