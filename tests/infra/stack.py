"""A stack of a test's own: the real program and CLI, with state, home and ports beside a person's."""

from __future__ import annotations

import json
import os
import random
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pika

from catalog import CATALOG
from infra.broker_api import Api
from infra.ports import Ports
from infra.supervision import ask, strays
from tests import stacks
from tests.brokers import LiveBroker
from tools.servers import reserve

CONSUMERS = {f"{service.name}-{index}" for service in CATALOG.services for index in range(service.replicas)}
SERVERS = {"epmd", "rabbitmq", "cosmos", "azurite", "prometheus", "alertmanager"}
USAGE = CATALOG.queue_of("usage")


def free_offset() -> int:
    """An offset at which every port of a stack, with three replicas each, is ours."""
    while True:
        offset = random.randrange(100, 7000)  # below the ports of outgoing connections
        ports = Ports.moved(offset)
        services = [port + more for service in CATALOG.services for port in ports.of(service) for more in (0, 1, 2)]
        if all(reserve(port) for port in {*vars(ports).values(), *services} if port > offset):
            return offset


def kill(*pids: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):  # it ended by itself meanwhile
            os.kill(pid, signal.SIGKILL)


@dataclass(frozen=True)
class Stack(stacks.Stack):
    """Stack `local`, on ports of its own."""

    @classmethod
    def made(cls, folder: Path) -> Stack:
        stack = cls(folder, "local")
        stack.prepare()
        stack.set({"local.home": "home", "local.port_offset": str(free_offset())})
        return stack

    @contextmanager
    def running(self) -> Iterator[Stack]:
        """Everything runs, until the block ends."""
        try:
            self.up()
            yield self
        finally:
            kill(*self.all_pids())

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def endpoints(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.home / "endpoints.json").read_text())
        return found

    @property
    def broker(self) -> LiveBroker:
        url, found = self.endpoints["amqp"], self.endpoints["management"]
        return LiveBroker("4.3", url, Api(found["url"], url, found["user"], found["password"]))

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

    def leave_letter(self, body: bytes) -> None:
        """Put a dead letter where nobody consumes, durably."""
        channel = self.broker.channel()
        channel.basic_publish("", USAGE.dead, body, pika.BasicProperties(delivery_mode=2), mandatory=True)
        channel.connection.close()

    def beside_files(self, done: Iterable[stacks.Step]) -> dict[str, str]:
        """What is done to processes and at the broker; files that show settings follow every change."""
        found = {step.name: step.doing for step in done}
        assert "endpoints.json" in found
        return {name: doing for name, doing in found.items() if not (self.home / name).is_file()}
