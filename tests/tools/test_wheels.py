"""Where the project's own environment comes from: the Python that made it is the Python that mends it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.cache import Build
from tools.wheels import python


@pytest.mark.parametrize("version", ["3.11.99", ""], ids=["another Python", "ours"])
def test_what_another_python_made_is_made_anew(tmp_path: Path, version: str) -> None:
    """Two Pythons in one folder start, and fail at the first library; what our own made is kept."""
    build = Build(tmp_path / "venv", tmp_path / "venv", tmp_path, tmp_path / "log", {})
    python(build)
    kept, made = build.into / "kept", build.into / "pyvenv.cfg"
    kept.touch()
    if version:
        made.write_text(f"version = {version}\n")

    assert "True" == build.run(python(build), "-c", "import ssl; print(bool(ssl))").strip()
    assert kept.exists() is not bool(version)
