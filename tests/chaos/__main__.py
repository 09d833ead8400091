"""`python -m tests.chaos`: the campaign, by a seed that is printed first; its exit status tells of a row not met."""

from __future__ import annotations

import argparse
import math
import os
import secrets
import signal
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from rich.console import Console

from tests.alone import alone
from tests.chaos.campaign import WIDTH, Lab, Scenario, abreast, show
from tests.chaos.family import end_descendants
from tests.chaos.scenarios import SCENARIOS
from tools.cache import ROOT

HOME = ROOT / ".local/chaos"


def main() -> int:
    """Exit codes: 0 every row met, 1 a row not met, 2 wrong usage, or another campaign is at work."""
    parser = argparse.ArgumentParser("python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, help="of all that is random (default: a new one)")
    parser.add_argument("--scale", type=_share, default=1.0, help="the share of the full size (default 1)")
    parser.add_argument("--only", type=_some, default=SCENARIOS, metavar="N,N", help="some scenarios (default all)")
    parser.add_argument("--home", type=Path, default=HOME, help="a folder for logs and data, emptied first")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else secrets.randbelow(1_000_000)
    print(f"make chaos SEED={seed} SCALE={options.scale:g}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC", flush=True)
    for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(name, _end)
    began, home = time.monotonic(), options.home.absolute()
    try:
        with alone(home):
            played = abreast(Lab(home, seed, options.scale), options.only)
    except (BlockingIOError, FileExistsError) as obstacle:
        print(obstacle, file=sys.stderr)
        return 2
    status = show(Console(width=WIDTH), played)
    print(f"seed {seed}, {time.monotonic() - began:.0f} s; logs: {home}")
    if wrong := ",".join(map(str, sorted({one.scenario.number for one in played if not one.met}))):
        print(f"not met: {wrong}; to see it again: make chaos SEED={seed} SCALE={options.scale:g} ONLY={wrong}")
    return status


def _share(text: str) -> float:
    with suppress(ValueError):
        if (share := float(text)) > 0 and math.isfinite(share):
            return share
    raise argparse.ArgumentTypeError(f"{text!r} is no number above 0; 1 is the full size, 0.02 a small form of it")


def _some(text: str) -> list[Scenario]:
    known = {str(scenario.number): scenario for scenario in SCENARIOS}
    wanted = [number.strip() for number in text.split(",")]
    if unknown := [number for number in wanted if number not in known]:
        raise argparse.ArgumentTypeError(
            f"there is no scenario {', '.join(map(repr, unknown))}; there are {', '.join(known)}"
        )
    return [scenario for number, scenario in known.items() if number in wanted]


def _end(number: int, _: FrameType | None) -> None:
    """End every process of the campaign, and then this one: it would wait for minutes on what happens next."""
    end_descendants()
    with suppress(OSError):  # a terminal that was closed
        print(f"ended by {signal.Signals(number).name}, and with it every process of the campaign", flush=True)
    os._exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
