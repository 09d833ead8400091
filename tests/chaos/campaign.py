"""From scenarios to a table: which there are, in which world each is played, and whether every figure is met."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from tests.chaos.world import Figure, World

WIDTH = 150


@dataclass(frozen=True)
class Row:
    """What one scenario showed; `size` says how much of it was played."""

    size: str
    figures: Sequence[Figure]

    @property
    def met(self) -> bool:
        return bool(self.figures) and all(figure.met for figure in self.figures)


@dataclass
class Lab:
    """The seed and the share of the full size that a campaign plays, and the worlds it has built so far."""

    home: Path
    seed: int
    scale: float
    ending: ExitStack
    _worlds: dict[str, World] = field(default_factory=dict)

    def world(self, version: str) -> World:
        """The world with a broker of this version, shared by all scenarios that break nothing for good."""
        if version not in self._worlds:
            self._worlds[version] = World(self.home / version, self.ending, self.seed, version)
        return self._worlds[version]

    def of(self, full: int, least: int = 1) -> int:
        """So many of something, at this scale."""
        return max(least, round(full * self.scale))


@dataclass(frozen=True)
class Scenario:
    """One line of the table.

    `small`: it is short enough for the form that runs inside `make test`. `waits`: it waits more than it works, so
    that others can be played meanwhile.
    """

    number: int
    title: str
    play: Callable[[Lab, World], Row]
    versions: tuple[str, ...] = ("4.3",)
    small: bool = True
    waits: bool = False


@dataclass(frozen=True)
class Played:
    """One scenario on one broker: its row, or the fault that ended it."""

    scenario: Scenario
    version: str
    seconds: float
    row: Row | None
    fault: str = ""

    @property
    def met(self) -> bool:
        return self.row is not None and self.row.met

    @property
    def told(self) -> str:
        """What was played and seen, or why it broke."""
        return f"{self.row.size}: {', '.join(map(_figure, self.row.figures))}" if self.row else self.fault


def abreast(home: Path, seed: int, scale: float, scenarios: Sequence[Scenario]) -> list[Played]:
    """Play all of them: those that work one after the other, and beside them those that wait, by broker."""
    lanes = {"working": [one for one in scenarios if not one.waits]}
    for version in ("4.3", "4.0"):
        waiting = [replace(one, versions=(version,)) for one in scenarios if one.waits and version in one.versions]
        lanes[f"waiting-{version}"] = waiting

    def lane(name: str) -> list[Played]:
        with ExitStack() as ending:
            return play(Lab(home / name, seed, scale, ending), lanes[name], small=False)

    with ThreadPoolExecutor() as pool:
        played = [one for result in pool.map(lane, lanes) for one in result]
    return sorted(played, key=lambda one: (one.scenario.number, one.version != "4.3"))


def play(lab: Lab, scenarios: Iterable[Scenario], *, small: bool) -> list[Played]:
    """Play each scenario on each of its brokers, in the small form on the default one only."""
    return [
        _play(lab, scenario, version)
        for scenario in scenarios
        for version in (scenario.versions[:1] if small else scenario.versions)
    ]


def _play(lab: Lab, scenario: Scenario, version: str) -> Played:
    began = time.monotonic()
    print(f"{scenario.number:>3}  {scenario.title}, broker {version}", flush=True)
    row, fault = None, ""
    try:
        row = scenario.play(lab, lab.world(version))
    except Exception as error:  # noqa: BLE001 - a scenario that breaks is a row that is not met; the others are played
        fault = f"{type(error).__name__}: {error}"
    played = Played(scenario, version, time.monotonic() - began, row, fault)
    verdict = "met" if played.met else "NOT MET"
    print(f"{scenario.number:>3}  {verdict} on {version} after {played.seconds:.0f} s: {played.told}", flush=True)
    return played


def show(console: Console, played: Sequence[Played]) -> int:
    """Print the table; the exit status."""
    table = Table(title="The campaign", title_justify="left", box=box.SIMPLE_HEAD)
    for head in ("#", "scenario", "broker", "size", "asked for: seen", "met", "s"):
        table.add_column(head, justify="right" if head in ("#", "s") else "left")
    for one in played:
        seen = ", ".join(map(_figure, one.row.figures)) if one.row else one.fault
        size = one.row.size if one.row else ""
        number, title = str(one.scenario.number), one.scenario.title
        table.add_row(number, title, one.version, size, seen, "yes" if one.met else "NO", f"{one.seconds:.0f}")
    console.print(table)
    return 0 if played and all(one.met for one in played) else 1


def _figure(figure: Figure) -> str:
    asked = "" if figure.asked == figure.seen else f" ({figure.asked})"
    return f"{'' if figure.met else 'NOT MET: '}{figure.name} {figure.seen}{asked}"
