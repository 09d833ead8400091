"""Payloads that kill their process: they become dead letters, and nothing that was in hand beside them does."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from catalog import CATALOG
from catalog.metrics import CONSUMED, SUSPECTS
from consumers import worker as module
from consumers.amqp import Broker
from consumers.events import Event
from consumers.metrics import Meters
from consumers.verdicts import Later, Retry
from consumers.worker import Worker
from tests.brokers import LiveBroker, lines
from tests.consumers.test_worker import Desk, failing, run, until
from tests.memory_broker import InstantLoop, MemoryBroker, MemoryChannel, Message
from tests.samples import envelope

QUEUE = replace(CATALOG.queue("logging_data_lake"), prefetch=10, delivery_limit=20)
METERS = Meters(replace(CATALOG, queues=(QUEUE,)), QUEUE.service)
GOOD = 600
SAMPLE = envelope("risk.evaluated")


class Process:
    """One consumer that dies of certain payloads, and is started again."""

    def __init__(self, broker: MemoryBroker, culprits: set[str]) -> None:
        self._broker, self._culprits = broker, culprits
        self.crashes = 0
        self.start()

    def start(self) -> None:
        self.killed = False
        known = list(self._broker.channels)
        dead: Any = None  # nothing here is malformed
        worker = Worker(QUEUE, self._handle, Broker(""), dead, METERS, asyncio.Event())
        self._task = asyncio.create_task(worker.run())
        self._known, self._worker = known, worker

    async def _handle(self, event: Event) -> bool:
        await asyncio.sleep(random.uniform(0.005, 0.02))
        if event.id in self._culprits:
            self.crash()
            await asyncio.sleep(3600)  # a dead process goes no further
        return True

    def crash(self) -> None:
        self.killed = True
        self.crashes += 1
        link = self._worker._link
        assert link
        channel = link.channel
        assert isinstance(channel, MemoryChannel)
        self._worker._stopping.set()
        for task in self._worker._in_hand.values():
            task.cancel()
        self._task.cancel()
        channel.drop()


async def scenario(broker: MemoryBroker, processes: int, culprits: set[str]) -> int:
    """Until nothing is left in the queue; the number of crashes."""
    started = [Process(broker, culprits) for _ in range(processes)]
    while len(broker.acked) + len(broker.dead) < GOOD + len(culprits):
        broker.deliver(3)
        await asyncio.sleep(0.002)
        for process in started:
            if process.killed:
                process.start()
    for process in started:
        process._task.cancel()
    await asyncio.sleep(0)
    return sum(process.crashes for process in started)


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
        monkeypatch.setattr(module, "connect", broker.connect)
        with asyncio.Runner(loop_factory=InstantLoop) as runner:
            crashes = runner.run(asyncio.wait_for(scenario(broker, processes, culprits), 100_000))

        assert culprits == {json.loads(body)["id"] for body in broker.dead}, f"seed {seed}"
        assert len(culprits) * (QUEUE.delivery_limit + 1) >= crashes


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
