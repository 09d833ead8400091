"""Ours: the worker as it is deployed, log and metrics included, in front of one handler."""

from __future__ import annotations

import asyncio
import base64
import os
import sys
from dataclasses import replace

import uvloop

from bench.stopwatch import PREFETCH, Stopwatch
from catalog import CATALOG
from consumers import audit, lake
from consumers.amqp import Broker
from consumers.dead import DeadLetters
from consumers.events import Event
from consumers.metrics import Meters
from consumers.publish import ConfirmedPublisher
from consumers.sinks.account import Account
from consumers.sinks.blob import AzureBlobs
from consumers.worker import Worker


async def nothing(_: Event) -> bool:
    return True


def stub_store(port: int) -> AzureBlobs:
    key = base64.b64encode(b"the stub checks no signature").decode()
    endpoint = f"http://127.0.0.1:{port}/stub"
    return AzureBlobs(Account("stub", endpoint, key), "risk")


async def consume(kind: str, queue_name: str, events: int, stub: int) -> None:
    """Consume the queue to its end; `kind` is what is written per event: null, json or parquet."""
    broker, watch, stopping = Broker(os.environ["RABBITMQ_URL"]), Stopwatch(events), asyncio.Event()
    queue = replace(CATALOG.queue("logging_data_lake"), name=queue_name, prefetch=PREFETCH)
    catalog = replace(CATALOG, queues=(queue,))
    blobs = stub_store(stub)
    handle = {"null": nothing, "json": audit.handler(blobs), "parquet": lake.handler(blobs)}[kind]

    async def counted(event: Event) -> bool:
        written = await handle(event)
        if watch.last():
            stopping.set()
        return written

    dead = DeadLetters(catalog.exchange, queue, ConfirmedPublisher(broker, "bench"))
    await Worker(queue, counted, broker, dead, Meters(catalog, queue.service), stopping).run()
    watch.report()


if __name__ == "__main__":
    uvloop.run(consume(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
