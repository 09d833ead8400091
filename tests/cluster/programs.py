"""The programs of the node: started side by side, each with a log of its own, watched until the world ends."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tools import path

TAIL = 15  # lines of a log in a message


class Failed(Exception):
    """The cluster is not as it must be; the text says what, and in which log to look."""


@dataclass
class Programs:
    """Nothing here is ended: all of it ends with the first process of the namespaces."""

    logs: Path
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, command: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        self.logs.mkdir(parents=True, exist_ok=True)
        with self.log(name).open("ab") as log:
            self.running[name] = subprocess.Popen(
                command, env={**os.environ, **(env or {})}, cwd=self.logs,
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def check(self) -> None:
        """Raises Failed with the end of its log when one of them has ended."""
        for name, process in self.running.items():
            if (status := process.poll()) is not None:
                last = self.log(name).read_text(errors="replace").splitlines()[-TAIL:]
                said = "\n".join(f"  | {line}" for line in last)
                raise Failed(f"{name} ended with status {status}:\n{said}\n  All of it: {self.log(name)}")

    def wait(self, what: str, holds: Callable[[], object], within: float = 60.0) -> float:
        """Wait until it holds; the seconds it took. Raises Failed, naming `what` did not happen, or who ended."""
        began = time.monotonic()
        while not holds():
            self.check()
            if time.monotonic() - began > within:
                raise Failed(f"{what}: not within {within:.0f} s; the logs of everything are in {self.logs}")
            time.sleep(0.1)
        return time.monotonic() - began


def flags(program: str, **values: object) -> list[str]:
    """The command line of a program whose options look like --name-of-it=value."""
    return [str(path(program)), *(f"--{name.replace('_', '-')}={value}" for name, value in values.items())]
