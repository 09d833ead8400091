"""Work that outlives its connection, against the broker in memory, which notes whatever a real one would punish."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from catalog import CATALOG
from consumers import worker as module
from consumers.amqp import Broker
from consumers.events import Event
from consumers.metrics import Meters
from consumers.worker import Worker
from tests.memory_broker import InstantLoop, MemoryBroker, Message
from tests.samples import envelope

QUEUE = replace(CATALOG.queue("logging_data_lake"), prefetch=2)


@pytest.mark.parametrize("version", ["4.3", "4.0"])
def test_what_a_lost_connection_brought_is_not_answered_on_any_other(
    monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    """It is delivered again and acknowledged then, once; the answer of the first delivery goes nowhere."""
    broker, calls = MemoryBroker(version), list[str]()
    broker.ready.append(Message(json.dumps({**envelope("risk.evaluated"), "id": "a"}).encode()))
    monkeypatch.setattr(module, "connect", broker.connect)

    async def story() -> None:
        go_on, stopping = asyncio.Event(), asyncio.Event()

        async def handle(event: Event) -> bool:
            calls.append(event.id)
            if len(calls) == 1:
                await go_on.wait()
            return True

        dead: Any = None  # nothing here is malformed
        meters = Meters(replace(CATALOG, queues=(QUEUE,)), QUEUE.service)
        worker = Worker(QUEUE, handle, Broker(""), dead, meters, stopping)
        running = asyncio.create_task(worker.run())
        while not calls:
            await asyncio.sleep(1)
            broker.deliver(1)
        broker.channels[0].drop()
        await asyncio.sleep(30)  # connected again
        go_on.set()
        await asyncio.sleep(1)
        assert ([], []) == (broker.acked, broker.faults), "it was not delivered again yet"
        while len(calls) == 1:
            broker.deliver(1)
            await asyncio.sleep(1)
        stopping.set()
        await running

    with asyncio.Runner(loop_factory=InstantLoop) as runner:
        runner.run(asyncio.wait_for(story(), 1000))

    assert (["a", "a"], 1, []) == (calls, len(broker.acked), broker.faults)
