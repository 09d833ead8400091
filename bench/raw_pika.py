"""The peer, written in an afternoon: a blocking loop that decodes, puts and acknowledges one event at a time."""

from __future__ import annotations

import http.client
import json
import os
import sys
from typing import Any

import pika

from bench.stopwatch import PREFETCH, Stopwatch


def consume(kind: str, queue: str, events: int, stub: int) -> None:
    """Consume the queue to its end; `kind` is what is written per event: null or json."""
    watch = Stopwatch(events)
    channel = pika.BlockingConnection(pika.URLParameters(os.environ["RABBITMQ_URL"])).channel()
    channel.basic_qos(prefetch_count=PREFETCH)
    store = http.client.HTTPConnection("127.0.0.1", stub)

    def take(channel: Any, method: Any, _: Any, body: bytes) -> None:
        event = json.loads(body)
        if kind == "json":
            path = f"/stub/risk/ml_audit/{event['type']}-{event['id']}.json"
            store.request("PUT", path, json.dumps(event["data"]), {"x-ms-blob-type": "BlockBlob"})
            store.getresponse().read()
        channel.basic_ack(method.delivery_tag)
        if watch.last():
            channel.stop_consuming()

    channel.basic_consume(queue, take)
    channel.start_consuming()
    watch.report()


if __name__ == "__main__":
    consume(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
