"""From a defence to the word of its test: a copy of the tree, the change, one run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.defences.table import ROOT, Defence

LEFT_OUT = shutil.ignore_patterns(".git", ".venv", ".local", "__pycache__", ".*_cache", ".hypothesis", "build")
_FAILED = re.compile(r"^FAILED (?P<test>.+?)(?: - (?:AssertionError: )?(?P<said>.*))?$", re.MULTILINE)
# What Python says of a change that took out the code with the defence.
_BROKEN = re.compile(r"(Attribute|Import|Indentation|ModuleNotFound|Name|Syntax|Type|UnboundLocal)Error\b")
FAILED = 1  # pytest's exit code for tests that ran and failed


class Survived(Exception):
    """The test does not fail without the defence, or failed for another reason; the text has what pytest said."""


@contextmanager
def copied() -> Iterator[Path]:
    """A copy of the tree, which ends with the block."""
    with tempfile.TemporaryDirectory(prefix="defences-") as folder:
        yield Path(shutil.copytree(ROOT, Path(folder) / "tree", ignore=LEFT_OUT))


def checked(root: Path, tests: Iterable[str]) -> subprocess.CompletedProcess[str]:
    """Run tests, by node id, in a tree, with this virtualenv."""
    command = [sys.executable, "-m", "pytest", "-q", "--no-header", "--tb=short", "-p", "no:cacheprovider", *tests]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(root), "COLUMNS": "400"}
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)


def without(defence: Defence) -> str:
    """What its test says in a tree without it, in one line. Raises Survived when it says nothing."""
    with copied() as root:
        defence.removed_from(root)
        done = checked(root, [defence.test])
    found = _FAILED.search(done.stdout)
    if done.returncode != FAILED or found is None or found["test"] != defence.test:
        raise Survived(f"{defence.test} does not fail without this defence:\n{done.stdout[-2000:]}{done.stderr[-500:]}")
    if broken := _BROKEN.match(found["said"] or ""):
        raise Survived(f"{defence.test} fails by a {broken[0]}, so the change broke the code: {found['said']}")
    return found["said"] or "failed"
