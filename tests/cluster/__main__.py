"""`python -m tests.cluster`: the whole scenario on a node of its own; its exit status tells of any loss."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time

import tools
from tests.alone import alone
from tests.cluster import inside, namespaces
from tests.cluster.scenario import EVENTS
from tools.cache import ROOT, PartError
from tools.parts import FOR_CLUSTER

HOME = ROOT / ".local/cluster"


def main() -> int:
    """Exit codes: 0 all as planned, 1 something lost, doubled or left behind, 2 it cannot be run here."""
    parser = argparse.ArgumentParser("python -m tests.cluster", description=__doc__)
    parser.add_argument("--events", type=int, default=EVENTS, help=f"how many to publish (default {EVENTS:,})")
    parser.add_argument("--shell", action="store_true", help="a shell on the node instead of the scenario")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        return inside.main(HOME, options.events, shell=options.shell)
    if obstacles := list(namespaces.obstacles()):
        print(*obstacles, sep="\n", file=sys.stderr)
        return 2
    try:
        for part in FOR_CLUSTER:
            tools.folder(part.name)
        with alone(HOME):
            return _run()
    except (PartError, BlockingIOError, FileExistsError) as obstacle:
        print(obstacle, file=sys.stderr)
        return 2


def _run() -> int:
    began = time.monotonic()
    command = [sys.executable, "-m", "tests.cluster", "--inside", *sys.argv[1:]]
    status, remains = namespaces.run(command, f"cluster-{os.getpid()}")
    shutil.rmtree(HOME / "node", ignore_errors=True)
    print(f"left behind: {remains}; the whole took {time.monotonic() - began:.0f} s; logs: {HOME / 'logs'}")
    return status or int(bool(remains))


if __name__ == "__main__":
    sys.exit(main())
