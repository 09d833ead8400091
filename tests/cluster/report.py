"""The end of the scenario: what was measured and counted as a table, and the faults that make it fail."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich import box
from rich.console import Console
from rich.table import Table

from proof.compare import Ledger

WIDTH = 140


@dataclass
class Report:
    """Filled while the story is told; `faults` are sentences, none when everything is as planned."""

    began: float = field(default_factory=time.monotonic)
    rows: list[tuple[str, str, str]] = field(default_factory=list)
    ledgers: list[tuple[Ledger, int]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        """Progress, on one line with the time since the beginning."""
        print(f"{time.monotonic() - self.began:6.1f} s  {text}", flush=True)

    def took(self, what: str, seconds: float, goal: float | None = None) -> None:
        verdict = "" if goal is None else f"goal {goal:g} s" + ("" if seconds <= goal else ", missed")
        self.note(what, f"{seconds:.1f} s", verdict)

    def note(self, what: str, value: str, remark: str = "") -> None:
        self.rows.append((what, value, remark))
        self.say(f"{what}: {value} {remark}")

    def expect(self, what: str, expected: object, actual: object) -> None:
        """A fault where both are not the same."""
        if expected != actual:
            self.fault(f"{what}: expected {expected}, found {actual}")

    def fault(self, sentence: str) -> None:
        self.faults.append(sentence)
        self.say(f"NOT AS PLANNED: {sentence}")

    def count(self, ledger: Ledger, redelivered: int) -> None:
        self.ledgers.append((ledger, redelivered))
        for sentence in ledger.sentences():
            self.fault(sentence)

    def show(self) -> int:
        """Print everything; the exit status."""
        console = Console(width=WIDTH)
        console.print(_counts(self.ledgers))
        console.print(_figures(self.rows))
        for fault in self.faults:
            console.print(f"[red]not as planned[/]: {fault}", soft_wrap=True)
        if not self.faults:
            console.print("[green]as planned[/]: 0 lost, 0 doubled, 0 altered, 0 refused")
        return 1 if self.faults else 0


def _counts(ledgers: Sequence[tuple[Ledger, int]]) -> Table:
    table = Table(title="Confirmed events against the sinks", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("sink")
    for head in ("planned", "redelivered", "found as planned", "lost", "doubled", "altered", "unexpected"):
        table.add_column(head, justify="right")
    for ledger, redelivered in ledgers:
        faults = dict(ledger.faults())
        fates = [len(faults[fate]) for fate in ("lost", "duplicated", "different", "unexpected")]
        table.add_row(ledger.sink, *(f"{figure:,}" for figure in (ledger.planned, redelivered, ledger.equal, *fates)))
    return table


def _figures(rows: Sequence[tuple[str, str, str]]) -> Table:
    table = Table(title="Measured", title_justify="left", box=box.SIMPLE_HEAD, show_header=False)
    for row in rows:
        table.add_row(*row)
    return table
