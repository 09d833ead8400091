"""What tests ask of a real broker: put a topology there, publish, count, and break connections."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Timer
from typing import Any
from urllib.parse import quote

import pika

from catalog import Catalog, Queue
from catalog.broker import Capabilities
from infra.broker_api import Api, put
from infra.topology import topology
from tools import servers
from tools.servers import Server

SLOWER = 5  # so many times may what a test waits for take on a busy machine; a broker was seen to start in 69 s


@dataclass(frozen=True)
class LiveBroker:
    """One running broker; `version` as in the catalog's defaults ("4.3", "4.0"), `node` its program."""

    version: str
    url: str
    api: Api
    node: Server | None = None

    def prepare(self, catalog: Catalog) -> None:
        """Create what a stack would create, users excepted."""
        wanted = topology(catalog, Capabilities.of(self.version))
        for entry in (*wanted.exchanges, *wanted.queues, *wanted.policies, *wanted.dead_bindings, *wanted.bindings):
            put(self.api, entry.path, entry.body, "")

    def clear(self) -> None:
        """Back to an empty broker, but for the administrator."""
        for kind in ("queues", "exchanges", "policies", "operator-policies"):
            for row in self.api.get(f"{kind}/%2F"):
                if row["name"] and not row["name"].startswith("amq."):
                    self.api.delete(f"{kind}/%2F/{quote(row['name'], safe='')}")
        for kind, kept in (("users", self.api.user), ("vhosts", "/")):
            for row in self.api.get(kind):
                if row["name"] != kept:
                    self.api.delete(f"{kind}/{quote(row['name'], safe='')}")

    @contextmanager
    def held_disk(self, seconds: float) -> Iterator[None]:
        """What quorum queues are told takes so long to be written, and to be seen."""
        assert self.node
        servers.rabbitmqctl(self.node, "eval", "sys:suspend(ra_log_wal).")
        resume = Timer(seconds, servers.rabbitmqctl, (self.node, "eval", "sys:resume(ra_log_wal)."))
        resume.start()
        yield
        resume.join()

    def channel(self) -> Any:
        """A blocking channel whose publishes return only when confirmed."""
        channel = pika.BlockingConnection(pika.URLParameters(self.url)).channel()
        channel.confirm_delivery()
        return channel

    def publish(self, queue: Queue, bodies: Iterable[bytes], **properties: Any) -> None:
        """Publish straight to one queue, as the exchange would route it there."""
        channel = self.channel()
        for body in bodies:
            channel.basic_publish("", queue.name, body, pika.BasicProperties(delivery_mode=2, **properties), True)
        channel.connection.close()

    def ready(self, queue: str) -> int:
        """Messages that wait now."""
        channel = self.channel()
        try:
            return int(channel.queue_declare(queue, passive=True).method.message_count)
        finally:
            channel.connection.close()

    def consumers(self, queue: str) -> int:
        channel = self.channel()
        try:
            return int(channel.queue_declare(queue, passive=True).method.consumer_count)
        finally:
            channel.connection.close()

    def take(self, queue: str) -> list[tuple[dict[str, Any], bytes]]:
        """Everything in a queue, taken off it: (headers, body)."""
        channel, taken = self.channel(), []
        while True:
            method, properties, body = channel.basic_get(queue, auto_ack=True)
            if method is None:
                channel.connection.close()
                return taken
            taken.append((dict(properties.headers or {}), body))

    def drop_connections(self, name: str) -> int:
        """Close the connections that carry this name, as an operator would; the number closed."""
        dropped = 0
        for connection in self.api.get("connections"):
            if connection.get("user_provided_name") == name:
                self.api.delete(f"connections/{connection['name'].replace(' ', '%20').replace('>', '%3E')}")
                dropped += 1
        return dropped


def eventually(what: Callable[[], Any], seconds: float = 15.0, every: float = 0.05) -> Any:
    """The first true answer; `seconds` are those of a quiet machine. Raises AssertionError with the last answer.

    Asked every so many seconds, and what takes long less and less often: to answer is work for who is waited for, too.
    """
    began = time.monotonic()
    while not (answer := what()):
        waited = time.monotonic() - began
        assert waited < SLOWER * seconds, f"still {answer!r} after {waited:.0f} s"
        time.sleep(max(every, min(0.5, waited / 20)))
    return answer


def lines(text: str) -> list[dict[str, Any]]:
    """The JSON lines of a log."""
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]
