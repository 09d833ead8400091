"""What is promised when the process of a run dies or is told to end: the run goes on, and says once how it ended."""

from __future__ import annotations

import asyncio
import json
import signal
import uuid
from collections.abc import Iterator
from typing import Any

import pika
import pytest

from consumers import lake
from consumers.events import Event
from consumers.sinks.account import parse
from consumers.sinks.blob import AzureBlobs
from oncall.runs import Ledger
from tests.brokers import eventually
from tests.reliability.stand import Stand
from tests.samples import body_of, sample, with_data

BLOBS = 1_500
SERVICE = "risk-analytics"
TRIGGER = "workflow.job.trigger"

pytestmark = [
    pytest.mark.servers,
    pytest.mark.broker,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning"),  # the emulator's certificate
]


def evaluations() -> list[Event]:
    """Evaluations of the week that the sample trigger asks for."""
    return [
        sample(
            "risk.evaluated",
            id=f"event-{number:04d}",
            timestamp=f"2026-03-{8 + number % 7:02d}T12:00:00Z",
            data=with_data("risk.evaluated", evaluationId=f"ev-{number:04d}"),
        )
        for number in range(BLOBS)
    ]


async def fill(stand: Stand, events: list[Event]) -> None:
    write = lake.handler(AzureBlobs(parse(stand.blobs), stand.catalog.store("data_lake.container").name))
    places = asyncio.Semaphore(32)

    async def one(event: Event) -> None:
        async with places:
            await write(event)

    await asyncio.gather(*(one(event) for event in events))


class Exchange:
    """A producer of triggers that hears what jobs say of them."""

    def __init__(self, name: str, channel: Any) -> None:
        self._name, self._channel = name, channel
        self._queue = channel.queue_declare("", exclusive=True).method.queue
        for key in ("workflow.job.completed", "workflow.job.failed"):
            channel.queue_bind(self._queue, name, key)

    def publish(self, body: bytes) -> None:
        self._channel.basic_publish(self._name, TRIGGER, body, pika.BasicProperties(delivery_mode=2))

    def heard(self) -> list[dict[str, Any]]:
        heard = []
        while (answer := self._channel.basic_get(self._queue, auto_ack=True))[0]:
            heard.append(json.loads(answer[2]))
        return heard


@pytest.fixture
def exchange(stand: Stand) -> Iterator[Exchange]:
    parameters = pika.URLParameters(stand.amqp)
    parameters.heartbeat = 0  # nobody looks after this connection while the test waits
    with pika.BlockingConnection(parameters) as connection:
        yield Exchange(stand.catalog.exchange.name, connection.channel())


@pytest.mark.timeout(180)
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=lambda how: how.name)
def test_a_run_goes_on_when_its_process_ends(
    stand: Stand, exchange: Exchange, monkeypatch: pytest.MonkeyPatch, how: signal.Signals
) -> None:
    """Ended in the middle of a backfill: one run, every snapshot once, one outcome, no trigger left."""
    monkeypatch.setenv("REPLICA", "the-same-after-a-restart")  # as the name of a pod is
    [job], queue = stand.catalog.jobs, stand.catalog.queue_of("batch")
    ledger, identity = Ledger(stand.endpoints), uuid.uuid4().hex
    asyncio.run(fill(stand, evaluations()))
    process = stand.start(SERVICE)
    exchange.publish(body_of(TRIGGER, id=identity))

    eventually(lambda: (run := ledger.find(job.name, identity)) and run.checkpoint, 60)
    process.send_signal(how)
    assert {signal.SIGKILL: -how, signal.SIGTERM: 0}[how] == process.wait(timeout=queue.finish_within.total_seconds())
    stopped = ledger.find(job.name, identity)
    assert stopped
    assert ("running", True) == (stopped.status, 0 < stopped.checkpoint["blobs"] < BLOBS)

    process = stand.start(SERVICE)  # the broker waits a while with what was in the hands of the dead
    ended = eventually(lambda: (run := ledger.find(job.name, identity)) and run.published_at and run, 120)
    process.send_signal(signal.SIGTERM)
    assert 0 == process.wait(timeout=30)
    assert ("completed", {"blobs": BLOBS, "snapshots": BLOBS, "unreadable": 0}) == (ended.status, ended.counts)
    assert {f"{identity}:completed"} == {event["id"] for event in exchange.heard()}
    snapshots = stand.sinks.look().documents["cosmos_db.containers.risk_snapshots"]
    assert [f"ev-{number:04d}" for number in range(BLOBS)] == sorted(place.rpartition("/")[2] for place in snapshots)
    assert [0, 0] == [stand.api.held(name)[0] for name in (queue.name, queue.dead)]
