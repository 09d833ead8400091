"""Between a stack's file and its settings: each text is asked for once, and every fault is kept for one message."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

Value = TypeVar("Value")


@dataclass(frozen=True)
class Reading:
    """`values` are the file's, {key: text}, and `secret` the keys that are encrypted in it.

    `faults` grows by a sentence for each value that cannot be read; `asked` holds every key that somebody asked for.
    """

    values: Mapping[str, str]
    secret: Collection[str] = ()
    faults: list[str] = field(default_factory=list)
    asked: dict[str, None] = field(default_factory=dict)

    def has(self, key: str) -> bool:
        return key in self.values

    def value(self, key: str, read: Callable[[str], Value], default: Value) -> Value:
        """What `read` makes of the text, `default` where there is none, or it raises ValueError."""
        self.asked[key] = None
        if key not in self.values:
            return default
        try:
            return read(self.values[key])
        except ValueError as error:
            self.faults.append(f"{key} {error}")
            return default

    def hidden(self, key: str, read: Callable[[str], str]) -> str:
        """A text that must be encrypted in the file, empty where there is none; no fault repeats it."""
        if self.has(key) and key not in self.secret:
            self.faults.append(f"{key} is stored in plain text: pulumi config set --secret {key}")
        return self.value(key, read, "")

    def switch(self, key: str, *, default: bool = False) -> bool:
        return self.value(key, one_of("on", "off"), "on" if default else "off") == "on"

    def need(self, keys: Sequence[str], why: str) -> None:
        """A fault for each key that is not there."""
        self.faults.extend(f"{key} is missing: {why}" for key in keys if not self.has(key))

    def refuse(self, keys: Sequence[str], why: str) -> None:
        """A fault for each key that is there."""
        self.faults.extend(f"{key} {why}" for key in keys if self.has(key))


def one_of(*allowed: str) -> Callable[[str], str]:
    def read(value: str) -> str:
        if value not in allowed:
            raise ValueError(f"is {value!r}: it is {' or '.join(allowed)}")
        return value

    return read


def nearest(key: str, known: Collection[str]) -> str:
    """The key that was probably meant, empty where none is like it."""
    return next(iter(difflib.get_close_matches(key, known, n=1, cutoff=0.6)), "")
