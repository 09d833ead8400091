"""From scenarios to a table: which there are, in which world each is played, and whether every figure is met."""

from __future__ import annotations

import multiprocessing
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from tests.chaos.family import end_with_parent
from tests.chaos.figures import Figure, Row
from tests.chaos.world import World

WIDTH = 150


@dataclass(frozen=True)
class Lab:
    """The seed and the share of the full size that a campaign plays, and where it keeps logs and data."""

    home: Path
    seed: int
    scale: float

    def of(self, full: int, least: int = 1) -> int:
        """So many of something, at this scale."""
        return max(least, round(full * self.scale))

    @property
    def measures(self) -> bool:
        """Whether it is large enough for rates and slopes, and the machine its own: the small form looks for faults."""
        return self.scale >= 0.1

    def within(self, bound: float) -> float:
        """A bound on what the load of a machine moves, as times; wider where others may be at work beside it."""
        return bound if self.measures else 10 * bound

    @contextmanager
    def world(self, name: str, version: str) -> Iterator[World]:
        """A world with a broker of this version, until the block ends."""
        with ExitStack() as ending:
            yield World(self.home / name, ending, self.seed, version)


@dataclass(frozen=True)
class Scenario:
    """One line of the table.

    Those of one `lane` are played one after the other, beside those of the others: so that what waits more than it
    works holds nobody up. In the small form each is a lane of its own, or in one with those of the same `company`: they
    leave a world as they found it, and play in one.
    """

    number: int
    title: str
    play: Callable[[Lab, World], Row]
    lane: str
    versions: tuple[str, ...] = ("4.3",)
    company: str = ""


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


def abreast(lab: Lab, scenarios: Sequence[Scenario]) -> list[Played]:
    """Play all of them, lane beside lane; the small form has its own lanes, and the default broker only.

    In full each is played in a world of its own: what one of them breaks or fills is nothing to the next. A lane is a
    process: the wires to the sinks are in it, and must not wait while another one counts what it wrote.
    """
    lanes: dict[str, list[tuple[Scenario, str]]] = defaultdict(list)
    for one in scenarios:
        for version in one.versions if lab.measures else one.versions[:1]:
            lanes[one.lane.format(version=version) if lab.measures else one.company or one.title].append((one, version))

    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["tests.chaos.scenarios"])  # loaded once, and not by each lane
    with ProcessPoolExecutor(len(lanes), processes, initializer=end_with_parent) as pool:
        played = [one for lane in pool.map(partial(one_by_one, lab), lanes.values()) for one in lane]
    return sorted(played, key=lambda one: (one.scenario.number, one.version != "4.3"))


def one_by_one(lab: Lab, lane: Sequence[tuple[Scenario, str]]) -> list[Played]:
    warnings.filterwarnings("ignore", message="Unverified HTTPS request")  # the emulator's certificate
    warnings.filterwarnings("ignore", message="Generating overly large repr")  # Hypothesis, of a whole strategy
    with ExitStack() as ending:
        first = lane[0][0].number
        shared = cache(lambda version: ending.enter_context(lab.world(f"{first}-{version}", version)))
        return [play(lab, *one, None if lab.measures else shared) for one in lane]


def play(lab: Lab, scenario: Scenario, version: str, shared: Callable[[str], World] | None = None) -> Played:
    """Play one scenario, in a world of its own or in a `shared` one. One that breaks is a row that is not met."""
    began = time.monotonic()
    print(f"{scenario.number:>3}  {scenario.title}, broker {version}", flush=True)
    row, fault = None, ""
    try:
        with nullcontext(shared(version)) if shared else lab.world(f"{scenario.number}-{version}", version) as world:
            row = scenario.play(lab, world)
    except Exception as error:  # noqa: BLE001 - the others are played all the same
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
