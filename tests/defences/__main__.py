"""`python -m tests.defences [--write]`: take out one defence after the other, and see its test fail."""

from __future__ import annotations

import argparse
import sys
import time

from alerts.pages import filled
from catalog.text import table
from tests.defences.play import Survived, checked, copied, without
from tests.defences.table import DEFENCES, ROOT

PAGE = ROOT / "docs" / "reliability.md"
SHORT = 110  # characters of what a test said


def page() -> str:
    """The page as it should be, with the pairs in its generated passage."""
    rows = [(one.name, one.without, f"`{one.test.rpartition('::')[2].partition('[')[0]}`") for one in DEFENCES]
    return filled(PAGE.read_text(), {"defences": table(("defence", "without it", "the test that then fails"), rows)})


def play() -> int:
    """Exit code: 0 when every test passes with its defence and fails without it."""
    with copied() as root:
        done = checked(root, dict.fromkeys(one.test for one in DEFENCES))
    if done.returncode:
        print(f"with all defences in place some tests fail already:\n{done.stdout[-3000:]}", file=sys.stderr)
        return 1
    print(f"all {len(DEFENCES)} in place: {done.stdout.strip().splitlines()[-1]}", flush=True)
    survived = 0
    for number, one in enumerate(DEFENCES, 1):
        began = time.monotonic()
        try:
            said = f"ok  {without(one)[:SHORT]}"
        except Survived as error:
            said, survived = f"SURVIVED  {error}", survived + 1
        seconds = time.monotonic() - began
        print(f"{number:2} {one.name} -> {one.test.rpartition('::')[2]} ({seconds:.0f} s)\n   {said}", flush=True)
    print(f"{len(DEFENCES) - survived} of {len(DEFENCES)} defences cannot be taken out without their test failing")
    return 1 if survived else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.defences", description="Show that each defence matters.")
    parser.add_argument("--write", action="store_true", help="only write the table of docs/reliability.md anew")
    if parser.parse_args().write:
        PAGE.write_text(page())
        return 0
    return play()


if __name__ == "__main__":
    sys.exit(main())
