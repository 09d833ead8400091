"""From an answer to the terminal: tables for people, JSON for machines, the exit code for scripts."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TextIO

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

WIDE = 1000  # columns for a file or a pipe: an id that is broken over two lines cannot be pasted


@dataclass(frozen=True)
class Answer:
    """What a command found: `data` for machines, `page` for people, `needs` as sentences on what a person must do."""

    data: dict[str, Any]
    page: Sequence[RenderableType]
    needs: Sequence[str] = ()

    @property
    def code(self) -> int:
        """The exit code: 1 when something needs a person."""
        return 1 if self.needs else 0


def console(stream: TextIO) -> Console:
    """Colour only on a terminal, and never a line cut off because the output goes to a file."""
    return Console(file=stream, highlight=False, soft_wrap=False, width=None if stream.isatty() else WIDE)


def show(answer: Answer, *, as_json: bool) -> int:
    if as_json:
        print(json.dumps({**answer.data, "needs": list(answer.needs)}, indent=2, default=str))
        return answer.code
    out = console(sys.stdout)
    for part in answer.page:
        out.print(part)
    if answer.needs:
        out.print(Text("Needs a person", style="bold red"))
        for need in answer.needs:
            out.print(Text(f"  - {need}"))
    return answer.code


def table(title: str, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> RenderableType:
    """A table; columns whose heading ends in "#" hold numbers, None is shown as a dash."""
    made = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in head:
        made.add_column(name.rstrip("#"), justify="right" if name.endswith("#") else "left", overflow="fold")
    for row in rows:
        made.add_row(*(_cell(value) for value in row))
    return made if made.row_count else Text(f"{title}: none")


def text(words: str) -> RenderableType:
    """Text as it is, without rich's markup."""
    return Text(words)


def _cell(value: Any) -> Text:
    if value is None:
        return Text("-", style="dim")
    if isinstance(value, float):
        return Text(number(value))
    return Text(str(value))


def number(value: float) -> str:
    """Three digits that matter: 0.00123, 4.5, 1,234."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def duration(seconds: float | None) -> str | None:
    """The two largest units: 4.2 s, 3 min 20 s, 5 h, 2 d 3 h."""
    if seconds is None:
        return None
    if seconds < 60:
        return f"{seconds:.3g} s"
    for size, unit, below, part in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= size:
            whole, rest = divmod(seconds, size)
            return f"{whole:.0f} {unit}" + (f" {rest // below:.0f} {part}" if rest >= below else "")
    return None


def age(moment: str | datetime | None) -> float | None:
    """Seconds since an ISO time; None where there is none, or it cannot be read."""
    try:
        then = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    except ValueError:
        return None
    if then is None:
        return None
    return (datetime.now(UTC) - (then if then.tzinfo else then.replace(tzinfo=UTC))).total_seconds()


def unit(value: float | None, kind: str) -> str | None:
    """A signal's value with its unit, as its panel would show it."""
    if value is None:
        return None
    return duration(value) if kind == "s" else number(value) + (" /s" if kind == "cps" else "")
