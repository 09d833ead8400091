"""Where the project's own environment comes from: the Python that made it is the Python that mends it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import wheels
from tools.cache import ROOT, Build
from tools.wheels import python


@pytest.mark.parametrize("version", ["3.11.99", ""], ids=["another Python", "ours"])
def test_what_another_python_made_is_made_anew(tmp_path: Path, version: str) -> None:
    """Two Pythons in one folder start, and fail at the first library; what our own made is kept."""
    build = Build(tmp_path / "venv", tmp_path / "venv", tmp_path, tmp_path / "log", {})
    python(build, "--without-pip")
    kept, made = build.into / "kept", build.into / "pyvenv.cfg"
    kept.touch()
    if version:
        made.write_text(f"version = {version}\n")

    assert "True" == build.run(python(build, "--without-pip"), "-c", "import ssl; print(bool(ssl))").strip()
    assert kept.exists() is not bool(version)


WANTED, OWN = f"pip install --require-hashes -r {ROOT / 'requirements.txt'}", "pip install --no-deps"


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (0, [f"uv {WANTED}", f"uv {OWN}"]),
        (2, [f"uv {WANTED}", "python -m ensurepip", f"python -m {WANTED}", f"python -m {OWN}"]),
    ],
)
def test_where_uv_finds_no_index_pip_installs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, told: list[str]
) -> None:
    """Both get the same words, hashes included; pip is the one that Python brings."""
    for name, ends in (("uv", status), ("python", 0)):
        (tmp_path / name).write_text(f'#!/bin/sh\necho {name} "$@" >> {tmp_path}/said\nexit {ends}\n')
        (tmp_path / name).chmod(0o755)
    monkeypatch.setattr(wheels, "python", lambda *_: tmp_path / "python")

    wheels.project(Build(tmp_path, tmp_path, tmp_path, tmp_path / "log", {"uv": tmp_path / "uv"}))

    said = (tmp_path / "said").read_text().splitlines()
    assert told == [line[: len(start)] for start, line in zip(told, said, strict=True)]
