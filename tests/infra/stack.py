"""A stack of a test's own: the real program and CLI, with state, home and ports beside a person's."""

from __future__ import annotations

import json
import os
import random
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catalog import CATALOG
from infra.ports import Ports
from infra.supervision import ask, strays
from tests import stacks
from tools.servers import port_is_free


def free_offset() -> int:
    """An offset at which no port of a stack, with three replicas each, is taken."""
    while True:
        offset = random.randrange(100, 7000)  # below the ports of outgoing connections
        ports = Ports.moved(offset)
        services = [port + more for service in CATALOG.services for port in ports.of(service) for more in (0, 1, 2)]
        if all(port_is_free(port) for port in [*vars(ports).values(), *services] if port > offset):
            return offset


def kill(*pids: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):  # it ended by itself meanwhile
            os.kill(pid, signal.SIGKILL)


@dataclass(frozen=True)
class Stack(stacks.Stack):
    """Stack `local`, on ports of its own."""

    @classmethod
    def made(cls, folder: Path, **config: str) -> Stack:
        stack = cls(folder, "local")
        stack.prepare()
        stack.set({"local.home": "home", **config})
        return stack

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def endpoints(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.home / "endpoints.json").read_text())
        return found

    @property
    def offset(self) -> int:
        return int(self._read()[self._key("local.port_offset")])

    def pids(self) -> dict[str, int]:
        """{program: pid} of what the supervisor runs."""
        return {info["name"]: info["pid"] for info in ask(self.home, "getAllProcessInfo")}

    def all_pids(self) -> list[int]:
        """Every process of the stack, the supervisor first."""
        file = self.home / "supervisord.pid"
        return [*([int(file.read_text())] if file.exists() else []), *(pid for _, pid in strays(self.home))]
