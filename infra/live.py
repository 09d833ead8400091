"""What a live broker is compared with and by: the lists of its management API, and a difference as a sentence."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

Row = Mapping[str, Any]
Fault = Literal["missing", "extra", "different", "hidden", "foreign", "wider"]


@dataclass(frozen=True)
class Live:
    """What a broker holds, as its management API lists it: of virtual host / where the kind belongs to one."""

    exchanges: Sequence[Row] = ()
    queues: Sequence[Row] = ()
    bindings: Sequence[Row] = ()
    policies: Sequence[Row] = ()
    operator_policies: Sequence[Row] = ()
    consumers: Sequence[Row] = ()
    users: Sequence[Row] = ()
    permissions: Sequence[Row] = ()
    topic_permissions: Sequence[Row] = ()

    @classmethod
    def of(cls, get: Callable[[str], Any]) -> Live:
        """From `get(path below /api)`; only an administrator may list users and their rights."""
        everywhere = ("users", "permissions", "topic_permissions")
        paths = {field.name: field.name.replace("_", "-") for field in fields(cls)}
        return cls(**{name: get(path if name in everywhere else f"{path}/%2F") for name, path in paths.items()})


@dataclass(frozen=True)
class Finding:
    """One difference: the object, what is the matter with it in words, and what a person does next."""

    kind: str
    name: str
    fault: Fault
    what: str
    next_step: str

    @property
    def severity(self) -> Literal["fault", "warning"]:
        """Who else consumes is theirs to explain; everything else is ours to mend."""
        return "warning" if self.fault == "foreign" else "fault"

    def __str__(self) -> str:
        return f"{self.kind} {self.name} {self.what}: {self.next_step}"


def row_of(rows: Iterable[Row], name: str) -> Row | None:
    """The row of a name, None where there is none."""
    return next((row for row in rows if row["name"] == name), None)


def matches(pattern: str, name: str) -> bool:
    """Whether a broker's pattern covers a name; one that only PCRE understands is taken to cover any."""
    try:
        return re.search(pattern, name) is not None
    except re.error:
        return True


def shown(value: Any) -> str:
    """A property in a sentence, a pattern as it is typed."""
    return "nothing" if value in (None, "") else str(value)
