"""`python -m proof`: what `make up` runs once the stack is up."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime

from azure.core.exceptions import AzureError
from rich.console import Console

from infra.broker_api import Refused
from oncall.trouble import Trouble
from proof.flow import Say
from proof.report import show
from proof.run import prove
from proof.stack import load

DESCRIPTION = """Publishes a week of a sales portfolio to the running stack, some of it repeated, redelivered or spoilt,
runs risk-snapshot-backfill, and compares every write with what was sent. May be run again at any time."""

WIDTH = 160  # of a report that goes to a file


def main() -> int:
    """Exit codes: 0 as planned, 1 something lost, duplicated, unexpected or different, 2 the proof cannot be done."""
    parser = argparse.ArgumentParser("python -m proof", description=DESCRIPTION)
    parser.add_argument("--endpoints", metavar="FILE", help="where `pulumi up` wrote the addresses")
    parser.add_argument(
        "--within", type=float, default=300, metavar="SECONDS", help="the longest wait for the queues (default 300)"
    )
    arguments = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    try:
        stack = load(arguments.endpoints, os.environ)
        with console.status("starting") as status:
            proof = prove(stack, datetime.now(UTC), _sayer(console, status.update), arguments.within)
    except (Trouble, Refused) as error:
        print(f"the proof stopped: {error}", file=sys.stderr)
        return 2
    except AzureError as error:
        print(f"the proof stopped: a store does not answer ({error}): `make up` starts what is down", file=sys.stderr)
        return 2
    show(console, proof, stack)
    return 1 if proof.faults else 0


def _sayer(console: Console, update: Callable[[str], None]) -> Say:
    """Progress on one line of a terminal; in a file one line for each step."""
    step = ""

    def say(text: str) -> None:
        nonlocal step
        if console.is_terminal:
            update(text)
        elif step != (step := text.split(maxsplit=1)[0]):
            console.print(text, soft_wrap=True)

    return say


if __name__ == "__main__":
    sys.exit(main())
