"""The processes of a campaign: none of them outlives it, however it ends."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing import connection, parent_process
from pathlib import Path
from threading import Thread


def descendants(pid: int) -> Iterator[int]:
    """The processes below one, children before theirs, so that none of them starts another. Source: proc(5)."""
    with suppress(FileNotFoundError, ProcessLookupError):  # one that has ended meanwhile has none
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield int(child)
                yield from descendants(int(child))


def end_descendants() -> None:
    """End every process below this one, at once."""
    for pid in list(descendants(os.getpid())):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def end_with_parent() -> None:
    """From now on this process and all below it end when the one that made it does, even by SIGKILL."""
    parent = parent_process()
    assert parent

    def watch() -> None:
        connection.wait([parent.sentinel])
        end_descendants()
        os._exit(1)

    Thread(target=watch, name="end with parent", daemon=True).start()
