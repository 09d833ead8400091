"""The laboratory of the campaign: a stand whose sinks and broker are reached over wires that can be disturbed."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pika

from catalog import CATALOG, Catalog
from infra.topology import user_of
from oncall.runs import Ledger as Runs
from proof.plan import Message, good
from proof.portfolio import DAYS, Window, encode, events
from proof.readback import Seen
from tests.brokers import SLOWER, eventually
from tests.chaos.ledger import Account, Published, Publishing, account
from tests.chaos.log import Log
from tests.chaos.proxy import Proxy, Weather, proxied
from tests.chaos.wire import toxiproxy
from tests.cluster.publishing import FIRST, trigger
from tests.reliability.stand import PASSWORD, Stand
from tools import servers
from tools.servers import LOOPBACK

# Tries come sooner than in production, so that a disturbed minute takes a minute and not an hour.
LAB_RETRY = (timedelta(seconds=1), timedelta(seconds=5))
BATCH_RETRY = (timedelta(seconds=1), timedelta(seconds=1))  # of triggers: 50 kills would make them wait ever longer
LAB = replace(
    CATALOG,
    queues=tuple(
        replace(queue, retry=BATCH_RETRY if queue.handler == "batch" else LAB_RETRY) for queue in CATALOG.queues
    ),
)
TRIGGER_EVERY = 1_000
STALE = 2.5  # seconds; five intervals of a quick stand
BATCH = CATALOG.queue_of("batch").service
SERVICES = tuple(service.name for service in CATALOG.services)
COLLECTORS = tuple(name for name in SERVICES if name != BATCH)
OUTCOMES = "chaos.outcomes"
RATE = 400.0  # events/s; what two cores bear, proxies and ledger included


class World:
    """A stand of one broker version, and endless traffic of its seed; scenes follow each other in it."""

    def __init__(self, home: Path, ending: ExitStack, seed: int, version: str = "4.3", catalog: Catalog = LAB) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.seed, self.catalog, self.version, self.home = seed, catalog, version, home
        self.stand = Stand(home, ending, version, catalog=catalog, quick=True)
        self.lake = ending.enter_context(proxied(self.stand.blobs.partition("BlobEndpoint=")[2].rstrip(";"), seed))
        self.cosmos = ending.enter_context(proxied(self.stand.endpoints.cosmos.endpoint, seed))
        self.wire = ending.enter_context(toxiproxy(home, int(self.stand.amqp.rpartition(":")[2].partition("/")[0])))
        self.runs = Runs(self.stand.endpoints)
        self._traffic = self._endless()
        self._triggers = iter(range(1_000_000))
        for key in ("workflow.job.completed", "workflow.job.failed"):
            with self.channel() as channel:
                channel.queue_declare(OUTCOMES, durable=True, arguments={"x-queue-type": "quorum"})
                channel.queue_bind(OUTCOMES, catalog.exchange.name, key)

    def take(self, count: int, *keys: str) -> list[Message]:
        """The next messages, of some keys only where they are named."""
        found: list[Message] = []
        while len(found) < count:
            message = next(self._traffic)
            if message.becomes and (not keys or message.key in keys):
                found.append(message)
        return found

    def mixed(self, count: int) -> list[Message]:
        """The next messages for all queues: now and then one of them is the trigger of a run over one of their days."""
        messages = self.take(count)
        for place in range(TRIGGER_EVERY // 2, count, TRIGGER_EVERY):
            messages[place] = self.trigger()
        return messages

    def trigger(self, first: date = FIRST, days: int = 1) -> Message:
        """The trigger of a run that was not asked for before, over some days; without any, over one of the traffic."""
        window = Window(first, first + timedelta(days=days - 1))
        return trigger(self.catalog, next(self._triggers) + 1000 * (self.seed % 1000), window)

    def _endless(self) -> Iterator[Message]:
        week = 0
        while True:
            for event in events(FIRST + week * timedelta(days=DAYS), self.seed):
                yield good(self.catalog, event)
            week += 1

    @contextmanager
    def channel(self) -> Iterator[Any]:
        with pika.BlockingConnection(pika.URLParameters(self.stand.amqp)) as connection:
            yield connection.channel()

    def heard(self) -> list[dict[str, Any]]:
        """The outcomes since the last look."""
        heard = []
        with self.channel() as channel:
            while (answer := channel.basic_get(OUTCOMES, auto_ack=True))[0]:
                heard.append(json.loads(answer[2]))
        return heard

    def consumers(self, queue: str) -> int:
        with self.channel() as channel:
            return int(channel.queue_declare(queue, passive=True).method.consumer_count)

    def ready(self) -> int:
        """Messages that wait now in all queues; those in hand or between two tries are not among them."""
        with self.channel() as channel:
            names = [queue.name for queue in self.catalog.queues]
            return sum(int(channel.queue_declare(name, passive=True).method.message_count) for name in names)

    @contextmanager
    def scene(self) -> Iterator[Scene]:
        """A scene begins with fair weather, no consumers and empty queues, and leaves it so however it ends."""
        try:
            with ExitStack() as ending:
                yield Scene(self, ending)
        finally:
            self.lake.weather, self.cosmos.weather = Weather(), Weather()
            for queue in self.catalog.queues:
                self.stand.api.delete(f"queues/%2F/{queue.name}/contents")


class Scene:
    """One scenario at work: its consumers, its publishing, and the account at its end."""

    def __init__(self, world: World, ending: ExitStack) -> None:
        self.world, self.stand, self._ending = world, world.stand, ending
        self.chance = random.Random(f"{world.seed}/{world.version}")
        self.before: Seen = self.stand.sinks.look()
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.streams: list[Publishing] = []
        self.ended_alone = 0
        self.log = Log(world.home, SERVICES)
        world.heard()

    def start(self, name: str, program: Sequence[str] = ("-m", "consumers"), **environment: str) -> None:
        """A consumer `<service>` or `<service>.<replica>`, over all wires; nothing is waited for."""
        service, _, replica = name.partition(".")
        port = servers.free_ports(1)[0] if replica else self.stand.ports[service]
        user = f"{user_of(service, 1)}:{PASSWORD}"
        process = self.running[name] = self.stand.start(
            service,
            program,
            PORT=str(port),
            REPLICA=name,
            RABBITMQ_URL=f"amqp://{user}@{LOOPBACK}:{self.world.wire.port}/%2F",
            DATA_LAKE_CONNECTION_STRING=_over(self.stand.blobs, self.world.lake),
            COSMOS_DB_ENDPOINT=self.world.cosmos.url,
            **environment,
        )
        self._ending.callback(process.wait)
        self._ending.callback(process.kill)

    def consuming(self, *queues: str, within: float = 20.0) -> float:
        """Seconds until each of the queues has a consumer."""
        began = time.monotonic()
        wanted = queues or [queue.name for queue in self.world.catalog.queues if self._is_on(queue.service)]
        eventually(lambda: all(self.world.consumers(queue) for queue in wanted), within)
        return time.monotonic() - began

    def _is_on(self, service: str) -> bool:
        return any(name.partition(".")[0] == service for name in self.running)

    def end(self, name: str, how: signal.Signals) -> float:
        """End a consumer; the seconds it took. Counts those that had ended by themselves."""
        process, began = self.running.pop(name), time.monotonic()
        if process.poll() is not None:
            self.ended_alone += 1
        process.send_signal(how)
        status = process.wait(timeout=60 * SLOWER)
        if how == signal.SIGTERM and status:
            self.ended_alone += 1
        return time.monotonic() - began

    def end_together(self, names: Collection[str]) -> dict[str, float]:
        """End consumers by SIGTERM, all at once; the seconds that each took."""
        ending = sorted(names)
        with ThreadPoolExecutor() as pool:
            return dict(zip(ending, pool.map(lambda name: self.end(name, signal.SIGTERM), ending), strict=True))

    def end_all(self) -> float:
        """The seconds of the slowest."""
        return max(self.end_together(self.running).values(), default=0.0)

    def publish(self, messages: Sequence[Message], rate: float = RATE) -> Publishing:
        stream = Publishing(self.stand.amqp, self.world.catalog.exchange.name, messages, rate)
        self.streams.append(stream)
        stream.start()
        return stream

    def preload(self, messages: Sequence[Message]) -> None:
        self.publish(messages, 5_000).join(120 * SLOWER)

    def settle(self, within: float = 120.0) -> float:
        """Wait for the publishing, then until no queue holds anything; the seconds it took."""
        began = time.monotonic()
        for stream in self.streams:
            stream.join(SLOWER * within)
            assert stream.done, f"the broker did not take all messages within {SLOWER * within:g} s"
        quiet_since: list[float] = []

        def settled() -> bool:
            if self.world.ready() or any(self.stand.held().values()):
                quiet_since.clear()
            else:
                quiet_since.append(time.monotonic())
            return bool(quiet_since) and time.monotonic() - quiet_since[0] > STALE

        try:
            eventually(settled, within, every=STALE / 10)
        except AssertionError:
            raise AssertionError(f"not settled: {self.stand.held()}") from None
        return time.monotonic() - began

    def account(self, *more: Message) -> Account:
        """What became of everything published here, and of `more`."""
        parts = [Published.by(stream) for stream in self.streams]
        published = Published(
            [message for part in parts for message in part.confirmed] + list(more),
            [message for part in parts for message in part.unsure],
            sum(part.attempts for part in parts) + len(more),
            sum(part.sent for part in parts) + len(more),
        )
        sinks = self.stand.sinks
        found = account(self.world.catalog, published, sinks.lake, self.before, sinks.look(), self.world.heard())
        print(f"      {found}", flush=True)
        for fate in ("lost", "duplicated", "unexpected", "altered"):
            for place in getattr(found, fate)[:3]:
                print(f"      {fate}: {place}", flush=True)
        return found

    def rss(self, name: str) -> float:
        """MB that a consumer holds now."""
        text = Path(f"/proc/{self.running[name].pid}/status").read_text()
        return int(text.partition("VmRSS:")[2].split()[0]) / 1024


def _over(connection_string: str, proxy: Proxy) -> str:
    """A connection string that goes by way of a proxy."""
    before, _, endpoint = connection_string.partition("BlobEndpoint=")
    return f"{before}BlobEndpoint={proxy.url}/{endpoint.rstrip(';').rpartition('/')[2]};"


def message_of(catalog: Catalog, model: Message, **changes: Any) -> Message:
    """A good message made from another with fields of its envelope replaced."""
    event = {**json.loads(model.body), **changes}
    made = good(catalog, event)
    return replace(made, body=encode(event))
