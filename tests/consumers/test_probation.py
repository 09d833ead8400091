"""Payloads that kill their process: they become dead letters, and nothing that was in hand beside them does."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from catalog import CATALOG, Queue
from catalog.metrics import CONSUMED, SUSPECTS
from consumers import worker as module
from consumers.amqp import Broker
from consumers.events import Event
from consumers.metrics import Meters
from consumers.verdicts import Later, Retry
from consumers.worker import Worker
from tests.brokers import LiveBroker, lines
from tests.consumers.test_worker import Desk, failing, run
from tests.memory_broker import InstantLoop, MemoryBroker, MemoryChannel, Message
from tests.runs import until
from tests.samples import envelope

QUEUE = replace(CATALOG.queue("logging_data_lake"), prefetch=10, delivery_limit=20)
OTHER = replace(CATALOG.queue("logging_ml_audit"), prefetch=10, delivery_limit=20)
METERS = Meters(replace(CATALOG, queues=(QUEUE, OTHER)), QUEUE.service)
SECONDS = {QUEUE: (0.005, 0.02), OTHER: (0.05, 0.2)}  # of a write; the other queue's outlasts most of a short life
GOOD = 600
SAMPLE = envelope("risk.evaluated")


class Process:
    """A consumer of some queues that dies of certain payloads, and is started again."""

    def __init__(self, queues: Collection[Queue], culprits: set[str]) -> None:
        self._queues, self._culprits = queues, culprits
        self.crashes = 0
        self.start()

    def start(self) -> None:
        self.killed = False
        solitude, stopping = asyncio.Lock(), asyncio.Event()
        dead: Any = None  # nothing here is malformed
        self._workers = [
            Worker(queue, partial(self._handle, queue), Broker(""), dead, METERS, stopping, solitude=solitude)
            for queue in self._queues
        ]
        self._tasks = [asyncio.create_task(worker.run()) for worker in self._workers]

    async def _handle(self, queue: Queue, event: Event) -> bool:
        await asyncio.sleep(random.uniform(*SECONDS[queue]))
        if event.id in self._culprits:
            self.crash()
            await asyncio.sleep(3600)  # a dead process goes no further
        return True

    def crash(self) -> None:
        self.killed = True
        self.crashes += 1
        self.end()
        for worker in self._workers:
            for task in worker._in_hand.values():
                task.cancel()
            if worker._link:  # not every queue's turn to begin has come
                channel = worker._link.channel
                assert isinstance(channel, MemoryChannel)
                channel.drop()

    def end(self) -> None:
        for worker in self._workers:
            worker._stopping.set()
        for task in self._tasks:
            task.cancel()


async def scenario(brokers: Mapping[Queue, MemoryBroker], processes: int, culprits: set[str]) -> int:
    """Until nothing is left in the queues; the number of crashes."""
    messages = {queue: len(broker.ready) for queue, broker in brokers.items()}
    started = [Process(brokers.keys(), culprits) for _ in range(processes)]
    while any(len(broker.acked) + len(broker.dead) < messages[queue] for queue, broker in brokers.items()):
        delivered = sum(broker.deliver(3) for broker in brokers.values())
        await asyncio.sleep(0.002 if delivered else 0.02)
        for process in started:
            if process.killed:
                process.start()
    for process in started:
        process.end()
    await asyncio.sleep(0)
    return sum(process.crashes for process in started)


def crashes(monkeypatch: pytest.MonkeyPatch, brokers: Mapping[Queue, MemoryBroker], *how: Any) -> int:
    """Play the scenario in no time."""

    def connect(_: Any, name: str) -> Any:
        return next(broker for queue, broker in brokers.items() if name.startswith(queue.name)).connect()

    monkeypatch.setattr(module, "connect", connect)
    with asyncio.Runner(loop_factory=InstantLoop) as runner:
        return runner.run(asyncio.wait_for(scenario(brokers, *how), 100_000))


@pytest.mark.parametrize("version", ["4.3", "4.0"])
@pytest.mark.parametrize("processes", [1, 4])
def test_no_innocent_is_dead_lettered(monkeypatch: pytest.MonkeyPatch, version: str, processes: int) -> None:
    """1 to 5 culprits at random places among 600, 20 seeds."""
    monkeypatch.setattr("consumers.log.line", lambda *_, **__: None)
    for seed in range(20):
        random.seed(seed)
        names = [f"e{number}" for number in range(GOOD)]
        culprits = {f"culprit{number}" for number in range(random.randint(1, 5))}
        for culprit in culprits:
            names.insert(random.randrange(len(names)), culprit)
        broker = MemoryBroker(version, limit=QUEUE.delivery_limit)
        broker.ready.extend(Message(json.dumps({**SAMPLE, "id": name}).encode()) for name in names)
        died = crashes(monkeypatch, {QUEUE: broker}, processes, culprits)

        assert culprits == {json.loads(body)["id"] for body in broker.dead}, f"seed {seed}"
        assert len(culprits) * (QUEUE.delivery_limit + 1) >= died


@pytest.mark.parametrize("version", ["4.3", "4.0"])
@pytest.mark.parametrize("place", [0, 30])
@pytest.mark.parametrize("deadly", [QUEUE, OTHER], ids=lambda queue: str(queue.handler))
def test_what_kills_a_process_is_not_charged_to_its_other_queue(
    monkeypatch: pytest.MonkeyPatch, version: str, place: int, deadly: Queue
) -> None:
    """Not even where what the other one has in hand is slower than death, and comes back first of all."""
    monkeypatch.setattr("consumers.log.line", lambda *_, **__: None)
    for seed in range(5):
        random.seed(seed)
        brokers = {queue: MemoryBroker(version, limit=queue.delivery_limit) for queue in (QUEUE, OTHER)}
        for queue, broker in brokers.items():
            names = [f"{queue.handler}{number}" for number in range(60)]
            if queue is deadly:
                names.insert(place, "culprit")
            broker.ready.extend(Message(json.dumps({**SAMPLE, "id": name}).encode()) for name in names)
        died = crashes(monkeypatch, brokers, 1, {"culprit"})

        assert ["culprit"] == [json.loads(body)["id"] for broker in brokers.values() for body in broker.dead]
        assert QUEUE.delivery_limit + 1 >= died


@pytest.mark.parametrize("processes", [1, 4])
def test_no_suspect_is_charged_by_another_one(monkeypatch: pytest.MonkeyPatch, processes: int) -> None:
    """What has struck before is handled with no other suspect in hand, not even one of its process's other queue.

    Before 4.3 what came by an open window stays in hand, and is charged.
    """
    monkeypatch.setattr("consumers.log.line", lambda *_, **__: None)
    monkeypatch.setitem(SECONDS, QUEUE, SECONDS[OTHER])
    for seed in range(10):
        random.seed(seed)
        brokers = {queue: MemoryBroker("4.3", limit=queue.delivery_limit) for queue in (QUEUE, OTHER)}
        culprits = {f"culprit{number}" for number in range(5)}
        innocents = []
        for queue, broker in brokers.items():
            messages = [Message(json.dumps({**SAMPLE, "id": f"{queue.handler}{n}"}).encode()) for n in range(12)]
            innocents += messages
            for culprit in culprits:
                struck = Message(json.dumps({**SAMPLE, "id": culprit}).encode(), charged=1)
                messages.insert(random.randrange(len(messages)), struck)
            broker.ready.extend(messages)
        crashes(monkeypatch, brokers, processes, culprits)

        assert 1 >= max(message.charged for message in innocents), f"seed {seed}"


@pytest.fixture
def desk(any_broker: LiveBroker) -> Callable[..., Desk]:
    return lambda **changes: Desk(any_broker, **changes)


@pytest.mark.servers
def test_what_a_lost_connection_charged_is_handled_alone(
    desk: Callable[..., Desk], capfd: pytest.CaptureFixture[str]
) -> None:
    """All of it once more, one at a time, and then the window opens again."""
    most = {"beside a suspect": 0}

    async def story() -> None:
        d, at_work = desk(prefetch=5), set[str]()
        d.publish(*(f"e{n}" for n in range(6)))
        lost = asyncio.Event()

        async def handle(event: Event) -> bool:
            if not lost.is_set() and len(d.seen) > 1:
                await lost.wait()
                return True
            at_work.add(event.id)
            if d.seen.count(event.id) > 1:
                most["beside a suspect"] = max(most["beside a suspect"], len(at_work))
            await asyncio.sleep(0.05)
            at_work.discard(event.id)
            return True

        async with d.working(handle) as worker:
            await until(lambda: len(d.seen) == 6)
            await until(lambda: d.broker.drop_connections(f"{d.queue.name} consumer") == 1)
            await until(lambda: worker.trouble)
            lost.set()
            await until(lambda: d.count(CONSUMED) == 6, 30)
            d.publish("fresh")
            await until(lambda: d.count(CONSUMED) == 7)
            d.publish("one more")  # comes by the open window
            await until(lambda: d.count(CONSUMED) == 8)
        assert 5 == d.count(SUSPECTS)
        assert 0 == d.broker.ready(d.queue.dead)

    run(story())
    told = lines(capfd.readouterr().out)
    assert 1 == most["beside a suspect"]
    assert 5 == sum(line.get("alone", False) for line in told)
    assert 5 == [line["prefetch"] for line in told if line.get("message") == "consuming"][-1]


@pytest.mark.servers
def test_a_retry_of_our_own_is_no_suspect(desk: Callable[..., Desk], capfd: pytest.CaptureFixture[str]) -> None:
    """Whoever rejects an event has survived it: it comes back, and the window stays open."""

    async def story() -> None:
        d = desk()
        d.publish(*(f"e{n}" for n in range(30)))
        async with d.working(failing(*[Retry(Later.SINK_THROTTLED, "429")] * 8)):
            await until(lambda: d.count(CONSUMED) == 30)
        assert 0 == d.count(SUSPECTS)

    run(story())
    told = lines(capfd.readouterr().out)
    assert [1, 10] == [line["prefetch"] for line in told if line.get("message") == "consuming"]
