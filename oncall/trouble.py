"""What every command says when it cannot go on: one message instead of a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")


class Trouble(Exception):
    """An expected failure, in words for a person: the thing, its value (never a password) and the next step."""


def unknown(kind: str, name: str, known: Iterable[str]) -> Trouble:
    """`kind` `name` does not exist: the nearest name, or all there are."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}? There" if near else "there"
    return Trouble(f"{kind} {name!r} does not exist: {hint} {'are' if len(names) > 1 else 'is'} {', '.join(names)}")


@dataclass
class Looked:
    """What was found, and what did not answer: one silent server must not hide what the others know."""

    troubles: list[str] = field(default_factory=list)

    def at(self, look: Callable[[], T]) -> T | None:
        try:
            return look()
        except Trouble as trouble:
            if str(trouble) not in self.troubles:
                self.troubles.append(str(trouble))
            return None
