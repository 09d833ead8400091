"""A stack's objects on a real broker, under names of its own, and the operator's command pointed at them."""

from __future__ import annotations

import io
import json
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pika

from catalog import CATALOG, Catalog, Queue, resolve
from catalog.broker import Capabilities
from infra.broker_api import Api, put
from infra.topology import Topology, topology
from oncall.__main__ import main
from tests.brokers import LiveBroker
from tests.samples import body_of


@dataclass(frozen=True)
class Answered:
    """What one command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class Site:
    """`file` is what `pulumi up` would leave, as far as the broker is concerned."""

    broker: LiveBroker
    catalog: Catalog
    file: Path

    @classmethod
    @contextmanager
    def on(cls, broker: LiveBroker, folder: Path, **more: Any) -> Iterator[Site]:
        """Taken away at the end: a queue that is full or hidden by a policy would spoil what others publish."""
        names = {f"{queue.setting}.queue": f"{queue.name}_{uuid.uuid4().hex[:6]}" for queue in CATALOG.queues}
        api = broker.api
        endpoints = {
            "amqp": broker.url,
            "management": {"url": api.url, "user": api.user, "password": api.password},
            "overrides": names,
            **more,
        }
        file = folder / "endpoints.json"
        file.write_text(json.dumps(endpoints))
        site = cls(broker, resolve(CATALOG, names), file)
        yield site
        site.remove()

    @property
    def api(self) -> Api:
        return self.broker.api

    @property
    def wanted(self) -> Topology:
        return topology(self.catalog, Capabilities.of(self.broker.version))

    @property
    def lake(self) -> Queue:
        return self.catalog.queue_of("lake")

    def make(self) -> None:
        """Everything that a stack makes, users included, and no users of another generation."""
        for user in self.api.get("users"):
            if user["name"].rpartition("-")[0] in {service.name for service in self.catalog.services}:
                self.api.delete(f"users/{user['name']}")
        for entry in self.wanted.objects:
            put(self.api, entry.path, entry.body, "throwaway" if entry.owner else "")

    def remove(self) -> None:
        """Every queue and policy that carries one of the site's names; the exchange is shared."""
        names = [queue.name for queue in self.catalog.queues]
        for kind in ("queues", "policies", "operator-policies", "exchanges"):
            for row in self.api.get(f"{kind}/%2F"):
                if any(name in row["name"] for name in names):
                    self.api.delete(f"{kind}/%2F/{row['name']}")

    def take(self, queue: str) -> list[tuple[Any, Any, bytes]]:
        """Everything in a queue, taken off it: (method, properties, body)."""
        channel, taken = self.broker.channel(), []
        for message in channel.consume(queue, auto_ack=True, inactivity_timeout=1):
            if message[0] is None:
                break
            taken.append(message)
        channel.connection.close()
        return taken

    def oncall(self, *arguments: str) -> Answered:
        return oncall(self.file, *arguments)

    @contextmanager
    def publishing(self, queue: Queue, every: float = 0.005) -> Iterator[list[str]]:
        """A producer that goes on meanwhile, key after key: the ids of the events that the broker confirmed."""
        confirmed: list[str] = []
        stop = threading.Event()

        def publish() -> None:
            channel = self.broker.channel()
            while not stop.wait(every):
                identity = f"live-{len(confirmed)}"
                self.send(channel, queue, identity, len(confirmed))
                confirmed.append(identity)
            channel.connection.close()

        producer = threading.Thread(target=publish)
        producer.start()
        try:
            yield confirmed
        finally:
            time.sleep(0.1)
            stop.set()
            producer.join()

    def send(self, channel: Any, queue: Queue, identity: str, number: int) -> None:
        key = queue.keys[number % len(queue.keys)]
        properties = pika.BasicProperties(
            delivery_mode=2,
            message_id=identity,
            content_type="application/json",
            correlation_id=f"c-{number}",
            timestamp=1_767_225_600 + number,
            headers={"traceparent": f"00-{number}", "number": number},
        )
        channel.basic_publish(self.catalog.exchange.name, key, body_of(key, id=identity), properties, mandatory=True)


def oncall(file: Path, *arguments: str) -> Answered:
    """Run one command with an endpoints file."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main([*arguments, "--endpoints", str(file)])
    return Answered(code, out.getvalue(), err.getvalue())


def ids(taken: list[tuple[Any, Any, bytes]]) -> Counter[str]:
    """How often each event is there."""
    return Counter(json.loads(body)["id"] for _, _, body in taken)
