"""What tests ask of other people's programs: run one to its end, and read what it said."""

from __future__ import annotations

import subprocess
from pathlib import Path

import tools


def run(program: str, *arguments: str | Path, folder: Path | None = None) -> str:
    """What a program prints, both streams. Raises AssertionError with all of it when it ends with an error."""
    command = [tools.path(program), *arguments]
    done = subprocess.run(command, check=False, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, f"{program} {' '.join(map(str, arguments))}\n{done.stdout}"
    return done.stdout
