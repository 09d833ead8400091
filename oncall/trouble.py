"""What every command says when it cannot go on: one message instead of a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class Trouble(Exception):
    """An expected failure, in words for a person: the thing, its value (never a password) and the next step."""


def unknown(kind: str, name: str, known: Iterable[str]) -> Trouble:
    """`kind` `name` does not exist: the nearest name, or all there are."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}? " if near else ""
    return Trouble(f"{kind} {name!r} does not exist: {hint}There are {', '.join(names)}".replace(": There", ": there"))
