"""The scenario of sinks that are away: for long, again and again, and for longer than the broker's patience."""

from __future__ import annotations

import signal
import time
from collections import Counter
from datetime import UTC, datetime

from catalog import Queue
from tests.brokers import eventually
from tests.chaos.campaign import Lab
from tests.chaos.figures import Row, at_least, at_most, fates, none
from tests.chaos.lowered import policy
from tests.chaos.proxy import Weather
from tests.chaos.world import COLLECTORS, Scene, World

REPLICAS = 3
RATE = 10.0  # events/s while sinks are away; what matters is time
UP, AWAY = 5.0, 20.0  # seconds of a sink that flaps
PATIENCE = 24  # seconds of the lowered acknowledgement timeout; a third of what the outage lasts that outlives it
BACK_WITHIN = 10.0


def down(lab: Lab, world: World) -> Row:
    """2: the lake is down all the while; Cosmos flaps, and then is down for longer than an event may be in hand."""
    flaps, usage, back = lab.of(12), world.catalog.queue_of("usage"), 0.0
    away = max(600.0 * lab.scale, flaps * (UP + AWAY) + 3 * PATIENCE + 30)
    queues = [queue for queue in world.catalog.queues if queue.service in COLLECTORS]
    with world.scene() as scene:
        _start(scene, COLLECTORS)
        scene.publish(world.take(200), 100).join()
        known = {queue: _redelivered(scene, queue) for queue in queues}
        scene.publish(world.take(int(RATE * away)), RATE)
        world.lake.weather, began = Weather(down=True), time.monotonic()
        for _ in range(flaps):
            time.sleep(UP)
            world.cosmos.weather = Weather(down=True)
            time.sleep(AWAY)
            back = max(back, _back(scene, usage))
        back = max(back, _outlasted(scene, usage))
        time.sleep(max(0.0, began + away - time.monotonic()))
        back = max(back, _back(scene, *world.catalog.queues_of("logging")))
        scene.settle(300)
        again = {queue: _redelivered(scene, queue) - known[queue] for queue in queues}
        refused = [proxy.seen["down"] for proxy in (world.lake, world.cosmos)]
        pauses = Counter(line["queue"] for line in scene.log.lines(message="paused"))
        lost = scene.log.lines(message="not consuming")
        scene.end_all()
        return Row(
            f"lake down for {away:.0f} s, Cosmos {flaps} times for {AWAY:g} s and once for {3 * PATIENCE} s with"
            f" {PATIENCE} s to acknowledge; {REPLICAS} replicas, {RATE:g} events/s",
            [
                *fates(scene.account()),
                at_least("calls refused, the fewest of a sink", flaps, min(refused), "calls"),
                *(
                    at_least(f"pauses of {queue.name}", REPLICAS * (flaps if queue == usage else 1), number, "pauses")
                    for queue, number in ((queue, pauses[queue.name]) for queue in queues)
                ),
                at_most("slowest to write again", lab.within(BACK_WITHIN), back),
                *(
                    at_most(f"redeliveries of {queue.name}", lab.within(queue.prefetch * REPLICAS), number, "events")
                    for queue, number in again.items()
                ),
                none("subscriptions ended by the broker", len(lost)),
                none("ended by themselves", scene.ended_alone),
            ],
        )


def _start(scene: Scene, services: tuple[str, ...], **environment: str) -> None:
    for service in services:
        for number in range(REPLICAS):
            scene.start(f"{service}.{number}", ("-m", "tests.chaos.odd"), **environment)
    names = [queue.name for queue in scene.world.catalog.queues if queue.service in services]
    eventually(lambda: all(scene.world.consumers(name) == REPLICAS for name in names), 30)


def _outlasted(scene: Scene, queue: Queue) -> float:
    """Down for three times as long as the broker waits; seconds until something was written again."""
    with policy(scene.world, queue, consumer_timeout=1000 * PATIENCE):
        for number in range(REPLICAS):
            scene.end(f"{queue.service}.{number}", signal.SIGTERM)
        _start(scene, (queue.service,), CHAOS_PATIENCE=str(PATIENCE))
        scene.world.cosmos.weather = Weather(down=True)
        time.sleep(3 * PATIENCE)
        return _back(scene, queue)


def _back(scene: Scene, *queues: Queue) -> float:
    """Fair weather for their sink; seconds from now until something of each of the queues is written."""
    if any(queue.handler == "usage" for queue in queues):
        scene.world.cosmos.weather = Weather()
    else:
        scene.world.lake.weather = Weather()
    now = datetime.now(UTC)
    return max(_first_write(scene, queue, now) for queue in queues)


def _first_write(scene: Scene, queue: Queue, since: datetime) -> float:
    """Seconds from then until the last of the replicas has written something from the queue."""
    replicas = {f"{queue.service}.{number}": since for number in range(REPLICAS)}
    written = scene.log.first("replica", replicas, queue=queue.name, verdict="written")
    return (max(written.values()) - since).total_seconds()


def _redelivered(scene: Scene, queue: Queue) -> int:
    """By the broker's own count, since the queue was declared."""
    return int(scene.stand.api.get(f"queues/%2F/{queue.name}").get("message_stats", {}).get("redeliver", 0))
