"""What one scenario shows: figures, each with what was asked for and what was seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.chaos.ledger import Account


@dataclass(frozen=True)
class Figure:
    """One thing that a scenario must show: what was asked for and what was seen."""

    name: str
    asked: str
    seen: str
    met: bool = True


def none(name: str, number: int) -> Figure:
    return Figure(name, "0", str(number), number == 0)


def exactly(name: str, wanted: int, number: int) -> Figure:
    return Figure(name, f"{wanted:,}", f"{number:,}", wanted == number)


def at_most(name: str, limit: float, value: float, unit: str = "s") -> Figure:
    return Figure(name, f"<= {limit:g} {unit}", f"{value:.1f} {unit}", value <= limit)


def at_least(name: str, limit: float, value: float, unit: str) -> Figure:
    return Figure(name, f">= {limit:g} {unit}", f"{value:.1f} {unit}", value >= limit)


def fates(found: Account, dead: int = 0) -> list[Figure]:
    """That all was confirmed; the four fates, and as many dead letters as there must be."""
    return [
        none("unconfirmed", found.sent - found.confirmed),
        *(none(fate, len(getattr(found, fate))) for fate in ("lost", "duplicated", "unexpected", "altered")),
        exactly("dead-lettered", dead, found.buried),
    ]


@dataclass(frozen=True)
class Row:
    """What one scenario showed; `size` says how much of it was played."""

    size: str
    figures: Sequence[Figure]

    @property
    def met(self) -> bool:
        return bool(self.figures) and all(figure.met for figure in self.figures)
