"""One long run at a time in a folder: a second one would take its data away."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def alone(home: Path) -> Iterator[None]:
    """Empty the folder and keep others out of it; raises BlockingIOError while another run uses it.

    Raises FileExistsError when it holds something and no run was ever at work in it: that is somebody's own.
    """
    home.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    mark = home.with_suffix(".lock")
    if not mark.exists() and home.exists() and any(home.iterdir()):
        raise FileExistsError(f"{home} is not empty, and no run made it so: name another folder, or a new one in it")
    with mark.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BlockingIOError(f"another run is at work in {home}: wait for its end") from None
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(mode=0o700)
        yield
