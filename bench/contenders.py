"""Who is measured: each consumes a preloaded queue to its end and reports events, seconds and CPU of its own process."""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pika
import uvloop

from catalog import CATALOG, Queue

PREFETCH = 10


@dataclass
class Stopwatch:
    """Counts acknowledged events; the clock runs from the first to the last."""

    events: int
    seen: int = 0
    _began: tuple[float, float] = field(default=(0.0, 0.0))

    def count(self) -> bool:
        """Note one event. True when it was the last."""
        if self.seen == 0:
            self._began = (time.monotonic(), cpu_seconds())
        self.seen += 1
        return self.seen >= self.events

    def report(self) -> str:
        wall, cpu = time.monotonic() - self._began[0], cpu_seconds() - self._began[1]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return json.dumps({"rate": self.seen / wall, "cpu_us": cpu / self.seen * 1e6, "rss_mb": peak})


def cpu_seconds() -> float:
    return time.process_time()


def connection_string(port: int) -> str:
    key = base64.b64encode(b"a key for a stub that checks none").decode()
    return (
        f"DefaultEndpointsProtocol=http;AccountName=stub;AccountKey={key};BlobEndpoint=http://127.0.0.1:{port}/stub;"
    )


def ours(kind: str) -> Callable[[str, str, int, int], None]:
    """Our worker as it is deployed, with its log and metrics, in front of the handler of this kind."""

    def consume(url: str, queue: str, events: int, stub: int) -> None:
        uvloop.run(_ours(kind, url, replace(CATALOG.queue("logging_data_lake"), name=queue, prefetch=PREFETCH), (events, stub)))

    return consume


async def _ours(kind: str, url: str, queue: Queue, work: tuple[int, int]) -> None:
    from consumers import audit, lake
    from consumers.dead import DeadLetters
    from consumers.events import Event
    from consumers.metrics import Meters
    from consumers.publish import ConfirmedPublisher
    from consumers.sinks.blob import AzureBlobs
    from consumers.worker import Worker

    events, stub = work
    stopping, watch = asyncio.Event(), Stopwatch(events)
    blobs = AzureBlobs(connection_string(stub), "risk")

    async def nothing(_: Event) -> bool:
        return True

    handle = {"null": nothing, "json": audit.handler(blobs), "parquet": lake.handler(blobs)}[kind]

    async def counted(event: Event) -> bool:
        written = await handle(event)
        if watch.count():
            stopping.set()
        return written

    catalog = replace(CATALOG, queues=(queue,))
    publisher = ConfirmedPublisher(url, "bench")
    meters = Meters(catalog, queue.service)
    await Worker(queue, counted, url, DeadLetters(catalog.exchange, queue, publisher), meters, stopping).run()
    print(watch.report(), file=sys.stderr)


def raw_pika(kind: str) -> Callable[[str, str, int, int], None]:
    """What a person writes in an afternoon: a blocking callback that decodes, puts and acknowledges."""

    def consume(url: str, queue: str, events: int, stub: int) -> None:
        watch = Stopwatch(events)
        channel = pika.BlockingConnection(pika.URLParameters(url)).channel()
        channel.basic_qos(prefetch_count=PREFETCH)
        store = http.client.HTTPConnection("127.0.0.1", stub)

        def take(channel: Any, method: Any, _: Any, body: bytes) -> None:
            event = json.loads(body)
            if kind == "json":
                path = f"/stub/risk/ml_audit/{event['type']}-{event['id']}.json"
                store.request("PUT", path, json.dumps(event["data"]), {"x-ms-blob-type": "BlockBlob"})
                store.getresponse().read()
            channel.basic_ack(method.delivery_tag)
            if watch.count():
                channel.stop_consuming()

        channel.basic_consume(queue, take)
        channel.start_consuming()
        print(watch.report(), file=sys.stderr)

    return consume


CONTENDERS: dict[str, Callable[[str, str, int, int], None]] = {
    "ours, nothing written": ours("null"),
    "raw pika loop, nothing written": raw_pika("null"),
    "ours, JSON blob": ours("json"),
    "raw pika loop, JSON blob": raw_pika("json"),
    "ours, Parquet blob": ours("parquet"),
}

if __name__ == "__main__":
    name, queue_name, count, port = sys.argv[1:]
    CONTENDERS[name](os.environ["RABBITMQ_URL"], queue_name, int(count), int(port))
