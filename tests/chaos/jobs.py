"""Scenarios of batch runs: killed anywhere, and asked for twice."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from typing import Any

from consumers import lake
from consumers.events import Event, decode
from consumers.sinks.account import parse
from consumers.sinks.blob import AzureBlobs
from oncall.runs import Ledger
from proof import expect
from proof.compare import compare
from proof.plan import Message
from proof.portfolio import encode, events
from tests.brokers import eventually
from tests.chaos.campaign import Lab, Row
from tests.chaos.odd import DIED
from tests.chaos.world import Figure, Scene, World, at_most, exactly, fates, none
from tests.cluster.publishing import FIRST

SERVICE = "risk-analytics"
BOUNDARIES = ("claimed", "written", "checkpoint", "ended", "published", "noted", "answered")


def killed(lab: Lab, world: World) -> Row:
    """10: a run killed at random moments, then one run killed at each boundary of its way."""
    kills, blobs = lab.of(50, 3), lab.of(20_000, 1_500)
    rows = _filled(world, blobs)
    with world.scene() as scene:
        trigger = world.trigger()
        scene.start(SERVICE)
        scene.preload([trigger])
        repeated, done = 0.0, 0
        while done < kills and not _ended(scene, trigger):
            time.sleep(scene.chance.uniform(0.4, 2.5))
            repeated = max(repeated, _work_since_checkpoint(scene, trigger))
            scene.end(SERVICE, signal.SIGKILL)
            scene.start(SERVICE)
            done += 1
        eventually(lambda: _ended(scene, trigger), 180)
        triggers = [trigger]
        scene.end(SERVICE, signal.SIGTERM)
        died = 0
        for place in BOUNDARIES:
            triggers.append(world.trigger())
            scene.preload([triggers[-1]])
            died += _killed_at(scene, place, triggers[-1])
        scene.settle()
        found, snapshots = scene.account(), _snapshots(world, rows)
        return Row(
            f"{done} kills of a run over {blobs:,} blobs, one kill at each of {len(BOUNDARIES)} boundaries",
            [
                *fates(found),
                exactly("died at boundaries", len(BOUNDARIES), died),
                Figure(
                    "snapshots as in an undisturbed run",
                    f"{snapshots.planned:,}",
                    f"{snapshots.equal:,}",
                    snapshots.true,
                ),
                at_most("work done again after a kill", 60, repeated),
            ],
        )


def _killed_at(scene: Scene, place: str, trigger: Message) -> bool:
    """Whether the process died there; a second one brings the run to its end."""
    once = scene.world.home / f"died-{place}-{scene.world.seed}-{time.monotonic_ns()}"
    scene.start(SERVICE, ("-m", "tests.chaos.odd"), CHAOS_DIES=place, CHAOS_ONCE=str(once))
    process = scene.running.pop(SERVICE)
    status = process.wait(timeout=60)
    scene.start(SERVICE)
    eventually(lambda: _ended(scene, trigger), 90)
    scene.settle(60)
    scene.end(SERVICE, signal.SIGTERM)
    return status == DIED


def _ended(scene: Scene, trigger: Message) -> bool:
    run = _run(scene, trigger)
    return bool(run and run.published_at)


def _run(scene: Scene, trigger: Message) -> Any:
    [job] = scene.world.catalog.jobs
    return Ledger(scene.stand.endpoints).find(job.name, trigger.identity)


def _work_since_checkpoint(scene: Scene, trigger: Message) -> float:
    """Seconds that would be done again if the process died now: those since the run was last written down."""
    run = _run(scene, trigger)
    queue = scene.world.catalog.queue_of("batch")
    if not run or run.status != "running":
        return 0.0
    written = run.lease_until.timestamp() - queue.lease.total_seconds()
    return max(0.0, time.time() - written)


def _filled(world: World, blobs: int) -> list[Event]:
    """So many evaluations of the first day in the lake, written as the collector writes them."""
    models = [event for event in events(FIRST, world.seed) if event["type"] == "risk.evaluated"]
    rows = [
        decode(encode({**models[n % len(models)], "id": f"run-{world.seed}-{n:06d}", "timestamp": _at(n),
                       "data": {**models[n % len(models)]["data"], "evaluationId": f"ev-{world.seed}-{n:06d}"}}))
        for n in range(blobs)
    ]  # fmt: skip

    async def fill() -> None:
        write = lake.handler(AzureBlobs(parse(world.stand.blobs), world.catalog.store("data_lake.container").name))
        places = asyncio.Semaphore(32)

        async def one(event: Event) -> None:
            async with places:
                await write(event)

        await asyncio.gather(*map(one, rows))

    asyncio.run(fill())
    return rows


def _at(number: int) -> str:
    return f"{FIRST.isoformat()}T{number // 3600 % 24:02d}:{number // 60 % 60:02d}:{number % 60:02d}Z"


def _snapshots(world: World, rows: list[Event]) -> Any:
    """The snapshots of these rows against what an undisturbed run makes of them, said from the contract."""
    planned = {}
    for event in rows:
        row = {"tenantId": event.tenant, "timestamp": event.timestamp_text, **_columns(event)}
        entry = expect.snapshot(world.catalog, row)
        planned[entry.place] = entry.content
    found = world.stand.sinks.look().documents[expect.SNAPSHOTS]
    return compare("snapshots", planned, {place: content for place, content in found.items() if place in planned})


def _columns(event: Event) -> dict[str, Any]:
    data = json.loads(bytes(event.data))
    return {name: data[name] for name in expect.COLUMNS[event.type] if data.get(name) is not None}


def twice(lab: Lab, world: World) -> Row:
    """13: two workers, each with the same trigger in hand at once; the trigger is published twice."""
    rounds = lab.of(20, 2)
    _filled(world, 600)
    with world.scene() as scene:
        for name in (f"{SERVICE}.a", f"{SERVICE}.b"):
            scene.start(name)
        scene.consuming()
        triggers = [world.trigger() for _ in range(rounds)]
        scene.preload([trigger for trigger in triggers for _ in range(2)])
        scene.settle(120)
        ran = [line for line in scene.logged(SERVICE) if line.get("verdict") == "written"]
        scene.end_all()
        return Row(
            f"{rounds} triggers published twice, two workers",
            [*fates(scene.account()), exactly("runs", rounds, len(ran)), none("bad exits", scene.ended_alone)],
        )
