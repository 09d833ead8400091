"""Scenarios of the broker itself: frozen, half-open, restarted again and again, under a memory alarm."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from pika.exceptions import AMQPError

from consumers.amqp import HEARTBEAT
from tests.brokers import eventually
from tests.chaos.campaign import Lab
from tests.chaos.figures import Row, at_most, exactly, fates, none
from tests.chaos.runs import run_of
from tests.chaos.world import COLLECTORS, SERVICES, Scene, World
from tests.cluster.publishing import FIRST

BACK_WITHIN = 5.0  # seconds after the broker answers again
QUIET = FIRST - timedelta(days=300)  # a day without events, so that a run over it is soon over
ENOUGH = 50  # events, for each queue to have one of them
NOTICED_WITHIN = 3 * HEARTBEAT + 2.0  # seconds; two looks of the consumers, and the time to say so


def restarted(lab: Lab, world: World) -> Row:
    """7: the broker goes down by SIGKILL or SIGTERM and comes back on its data; then some events must go through."""
    restarts, slowest, writing, idle = lab.of(100, 2), 0.0, 0.0, 0
    with world.scene() as scene:
        for service in SERVICES:
            scene.start(service)
        scene.consuming()
        for number in range(restarts):
            world.stand.restart_broker((signal.SIGKILL, signal.SIGTERM)[number % 2])
            slowest = max(slowest, _back(scene))
            took = _writing(scene)
            writing, idle = max(writing, took), idle + (took > NOTICED_WITHIN)
            scene.settle()
        scene.end_all()
        return Row(
            f"{restarts} restarts, {ENOUGH} events and a run after each",
            [
                *fates(scene.account()),
                none(f"connected but idle for {NOTICED_WITHIN:g} s", idle),
                none("ended by themselves", scene.ended_alone),
                at_most("slowest to consume again", lab.within(BACK_WITHIN), slowest),
                at_most("slowest to write what came then", lab.within(BACK_WITHIN), writing),
            ],
        )


def _back(scene: Scene) -> float:
    """Seconds until every queue of a running service has a consumer, from now, when the broker serves again."""
    began = time.monotonic()

    def all_there() -> bool:
        with suppress(AMQPError, OSError, AssertionError):
            return bool(scene.consuming(within=1) >= 0)
        return False

    eventually(all_there, 30)
    return time.monotonic() - began


def frozen(lab: Lab, world: World) -> Row:
    """6: SIGSTOP for 30 s and 90 s, then a peer that is there and says nothing; traffic goes on afterwards."""
    freezes = [30.0, 90.0] if lab.measures else [30.0]
    unnoticed, slowest = 0, 0.0
    with world.scene() as scene:
        for service in SERVICES:
            scene.start(service)
        scene.consuming()
        for seconds in freezes:
            began, pid = datetime.now(UTC), world.stand.broker_pid
            os.kill(pid, signal.SIGSTOP)
            try:
                time.sleep(seconds)
            finally:
                os.kill(pid, signal.SIGCONT)
            slowest = max(slowest, _writing(scene))
            how = "heartbeat" if seconds > NOTICED_WITHIN else ""  # the broker may be the first to find out, too
            unnoticed += len(_queues(scene) - _cut_off(scene, began, how))
        with world.wire.toxic("timeout", timeout=0):
            began = datetime.now(UTC)
            eventually(lambda: _cut_off(scene, began) >= _queues(scene), 2 * NOTICED_WITHIN)
            half_open = (datetime.now(UTC) - began).total_seconds()
        slowest = max(slowest, _writing(scene))
        scene.settle()
        scene.end_all()
        return Row(
            f"frozen {', '.join(f'{seconds:g} s' for seconds in freezes)}, one half-open peer",
            [
                *fates(scene.account()),
                none("connections that did not notice a freeze", unnoticed),
                at_most("half-open peer noticed", NOTICED_WITHIN, half_open),
                at_most("slowest to consume again", lab.within(BACK_WITHIN), slowest),
                none("ended by themselves", scene.ended_alone),
            ],
        )


def _queues(scene: Scene) -> set[str]:
    return {queue.name for queue in scene.world.catalog.queues}


def _cut_off(scene: Scene, since: datetime, how: str = "") -> set[str]:
    """The queues whose worker has given its connection up since then, for a reason that has this word."""
    late = [line for line in scene.log.lines(message="not consuming") if datetime.fromisoformat(line["time"]) > since]
    return {line["queue"] for line in late if how in line["detail"]}


def _writing(scene: Scene) -> float:
    """Seconds from now until each queue has something written that is published now, by the log's times."""
    began = datetime.now(UTC)
    scene.preload([*scene.world.take(ENOUGH), scene.world.trigger(QUIET)])
    written = scene.log.first("queue", dict.fromkeys(_queues(scene), began), verdict="written")
    return (max(written.values()) - began).total_seconds()


def alarmed(lab: Lab, world: World) -> Row:
    """8: a memory alarm blocks every publisher; queues are consumed all the same, an outcome comes when it is over."""
    seconds, count = max(8.0, 60.0 * min(1.0, lab.scale)), lab.of(5_000, 300)
    with world.scene() as scene:
        messages = world.take(count)
        entries = sum(len(message.becomes) for message in messages)
        trigger = world.trigger()
        scene.preload([*messages, trigger])
        world.stand.rabbitmqctl("set_vm_memory_high_watermark", "0")
        began = time.monotonic()
        try:
            for service in SERVICES:
                scene.start(service)
            with suppress(AssertionError):  # then the figure tells how far they came
                eventually(lambda: _written(scene) >= entries, 180)
            drained, written = time.monotonic() - began, _written(scene)
            time.sleep(max(0.0, seconds - drained))
            early, run = len(world.heard()), run_of(scene, trigger)
        finally:
            world.stand.rabbitmqctl("set_vm_memory_high_watermark", "0.6")
        scene.settle()
        scene.end_all()
        return Row(
            f"{count:,} events and a run, alarm for {max(seconds, drained):.0f} s, all written after {drained:.0f} s",
            [
                *fates(scene.account()),
                exactly("runs ended while alarmed", 1, bool(run and run.ended_at)),
                none("outcomes while alarmed", early),
                exactly("written while alarmed", entries, written),
            ],
        )


def _written(scene: Scene) -> int:
    """Entries that collectors wrote in this scene; of a write whose answer came too late they know by the next try."""
    told = (line for word in ("written", "duplicate") for line in scene.log.lines(*COLLECTORS, verdict=word))
    return len({(line["queue"], line["id"]) for line in told})
