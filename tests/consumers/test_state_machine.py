"""The worker's decisions in any order of events around it, against a broker and a sink in memory."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from catalog import CATALOG
from consumers import worker as module
from consumers.amqp import Broker
from consumers.events import Event
from consumers.metrics import Meters
from consumers.sinks.memory import MemoryBlobs
from consumers.worker import Worker
from tests.memory_broker import InstantLoop, MemoryBroker, Message
from tests.samples import envelope

PREFETCH = 4
STEPS = 100
SUBSCRIBED = 5.0  # seconds; what a worker takes at the most until it consumes again
USUALLY_NOT = st.sampled_from([True, False, False])
QUEUE = replace(CATALOG.queue("logging_data_lake"), prefetch=PREFETCH)
METERS = Meters(replace(CATALOG, queues=(QUEUE,)), QUEUE.service)
SAMPLE = envelope("risk.evaluated")

pytestmark = pytest.mark.slow


class Machine(RuleBasedStateMachine):
    """One process after the other on one queue; `seen` counts what all of them did, so that a test can ask for it."""

    seen: ClassVar = Counter[str]()

    @initialize(version=st.sampled_from(["4.3", "4.0"]))
    def begin(self, version: str) -> None:
        self.loop = InstantLoop()
        self.broker, self.sink, self.slow = MemoryBroker(version), MemoryBlobs(), True
        self.at_work = self.most_at_once = self.checked = 0
        self.numbers, self.published = itertools.count(), set[bytes]()
        module.connect = self.broker.connect  # type: ignore[assignment]
        self._start()

    def _start(self) -> None:
        async def build() -> None:
            self.stopping = asyncio.Event()
            dead: Any = None  # nothing here is malformed
            self.worker = Worker(QUEUE, self._write, Broker(""), dead, METERS, self.stopping, probe=self._look)
            self.running = asyncio.create_task(self.worker.run())

        self.loop.run_until_complete(build())
        self._turn(SUBSCRIBED)

    async def _write(self, event: Event) -> bool:
        self.at_work += 1
        self.most_at_once = max(self.most_at_once, self.at_work)  # an error here would be the event's, not the test's
        self.seen["begun"] += 1
        try:
            await asyncio.sleep(1 if self.slow else 0)
            return await self.sink.create(event.id, b"", event.body_hash)
        finally:
            self.at_work -= 1

    async def _look(self) -> None:
        with suppress(KeyError):
            await self.sink.read("_probe")

    def _turn(self, seconds: float = 0) -> None:
        """Some turns of the loop, now and so much later; the broker delivers as soon as there is room."""

        async def wait() -> None:
            for pause in (0, seconds):
                await asyncio.sleep(pause)
                for _ in range(12):
                    self.broker.deliver(PREFETCH)
                    await asyncio.sleep(0)

        self.loop.run_until_complete(wait())

    @rule(count=st.integers(1, 2 * PREFETCH))
    def publish(self, count: int) -> None:
        for _ in range(count):
            body = json.dumps({**SAMPLE, "id": f"e{next(self.numbers)}"}).encode()
            self.published.add(body)
            self.broker.ready.append(Message(body))
        self._turn()

    @rule(down=USUALLY_NOT)
    def switch_sink(self, down: bool) -> None:
        self.sink.unavailable = down

    @rule()
    def lose_a_response(self) -> None:
        self.sink.lose_next_response()

    @rule(slow=st.booleans())
    def slow_down(self, slow: bool) -> None:
        self.slow = slow

    @rule(held=USUALLY_NOT)
    def pause_on_purpose(self, held: bool) -> None:
        outage = self.worker.outage
        outage.hold("a person") if held else outage.release("a person")

    @rule(seconds=st.sampled_from([0.1, 1.0, 10.0, 1200.0]))
    def wait(self, seconds: float) -> None:
        self._turn(seconds)

    @rule()
    def drop_connection(self) -> None:
        for channel in list(self.broker.channels):
            channel.drop()
        self._turn(SUBSCRIBED)

    @rule()
    def cancel_by_broker(self) -> None:
        for channel in list(self.broker.channels):
            channel.on_cancel(None)
        self._turn(SUBSCRIBED)

    @rule()
    def crash(self) -> None:
        self._end()
        self._start()

    @rule()
    def stop(self) -> None:
        """In order: what is in hand is finished or given back, and nothing is left behind."""
        self.stopping.set()
        self.loop.run_until_complete(asyncio.wait_for(self.running, 60))
        assert 0 == self.worker.at_stake
        assert [] == self.broker.channels
        self._start()

    def _end(self) -> None:
        for channel in list(self.broker.channels):
            channel.drop()
        while tasks := asyncio.all_tasks(self.loop):
            for task in tasks:
                task.cancel()
            self.loop.run_until_complete(asyncio.wait(tasks))

    @invariant()
    def what_is_acknowledged_is_written(self) -> None:
        if hasattr(self, "broker"):
            acknowledged = self.broker.acked[self.checked :]
            assert {json.loads(body)["id"] for body in acknowledged} <= set(self.sink._blobs)
            self.checked += len(acknowledged)
            self.seen["acknowledged"] += len(acknowledged)

    @invariant()
    def no_tag_is_settled_twice_or_on_another_channel(self) -> None:
        if hasattr(self, "broker"):
            assert [] == self.broker.faults

    @invariant()
    def no_more_is_in_hand_than_prefetch(self) -> None:
        if hasattr(self, "broker"):
            self.seen["steps"] += 1
            in_hand = max((len(channel.unacked) for channel in self.broker.channels), default=0)
            self.seen["hands full"] += in_hand >= PREFETCH
            assert self.most_at_once <= PREFETCH
            if self.broker.version == "4.3":  # before, what waits for its next try waits in hand, beside the window
                assert in_hand <= PREFETCH

    def teardown(self) -> None:
        """With everything well again, every event is written and acknowledged, once each."""
        if not hasattr(self, "broker"):
            return
        self.sink.unavailable = self.slow = False
        self.worker.outage.release("a person")
        for _ in range(400):
            self._turn(5)
            if len(self.broker.acked) == len(self.published):
                break
        self._end()
        self.loop.close()
        assert self.published == set(self.broker.acked)
        assert len(self.broker.acked) == len(self.published)
        assert len(self.published) == len(self.sink._blobs)


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consumers.log.line", lambda *_, **__: None)
    monkeypatch.setattr(module, "connect", module.connect)  # the machine replaces it; this puts it back


def test_nothing_is_acknowledged_unwritten_whatever_happens(quiet: None) -> None:  # noqa: ARG001
    """20,000 steps: deliveries, faults of the sink, crashes, lost connections, cancels and stops in any order.

    And they are at work: a machine that mostly waits to be connected would see nothing.
    """
    Machine.seen.clear()
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=240, stateful_step_count=STEPS, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
    assert 20_000 <= Machine.seen["steps"]
    assert 1_000 <= Machine.seen["acknowledged"] <= Machine.seen["begun"], Machine.seen
    assert 100 <= Machine.seen["hands full"], Machine.seen
