"""Runs of the batch job as a scenario sees them: what they read, how far they are, and what they wrote."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from datetime import date
from functools import cache
from typing import Any

from consumers import lake
from consumers.events import Event, decode
from consumers.ledger import Run
from consumers.sinks.account import parse
from consumers.sinks.blob import AzureBlobs
from consumers.verdicts import Retry
from proof import expect
from proof.compare import Ledger, compare
from proof.plan import Message
from proof.portfolio import Envelope, encode, events
from tests.chaos.figures import Figure
from tests.chaos.world import Scene, World
from tests.cluster.publishing import FIRST


def is_ended(scene: Scene, trigger: Message) -> bool:
    run = run_of(scene, trigger)
    return bool(run and run.published_at)


def run_of(scene: Scene, trigger: Message) -> Run | None:
    [job] = scene.world.catalog.jobs
    return scene.world.runs.find(job.name, trigger.identity)


def going_on(scene: Scene) -> list[Run]:
    """The runs that have not ended."""
    [job] = scene.world.catalog.jobs
    return [run for run in scene.world.runs.newest(job.name, 1_000) if run.status == "running"]


def filled(world: World, day: date, blobs: int) -> list[Event]:
    """So many evaluations of a day in the lake, written as the collector writes them."""
    models = _evaluations(world.seed)
    name = f"{world.seed}-{day}"
    rows = [
        decode(encode({**models[n % len(models)], "id": f"run-{name}-{n:06d}", "timestamp": _at(day, n),
                       "data": {**models[n % len(models)]["data"], "evaluationId": f"ev-{name}-{n:06d}"}}))
        for n in range(blobs)
    ]  # fmt: skip

    async def fill() -> None:
        write = lake.handler(AzureBlobs(parse(world.stand.blobs), world.catalog.store("data_lake.container").name))
        places = asyncio.Semaphore(8)

        async def one(event: Event) -> None:
            async with places:
                for _ in range(10):  # a busy machine's store takes longer than a consumer would wait
                    with suppress(Retry):
                        await write(event)
                        return
                await write(event)

        await asyncio.gather(*map(one, rows))

    asyncio.run(fill())
    return rows


@cache
def _evaluations(seed: int) -> list[Envelope]:
    return [event for event in events(FIRST, seed) if event["type"] == "risk.evaluated"]


def _at(day: date, number: int) -> str:
    return f"{day}T{number // 3600 % 24:02d}:{number // 60 % 60:02d}:{number % 60:02d}Z"


def snapshots(scene: Scene, rows: list[Event]) -> Figure:
    """All that the runs of a scene wrote against what undisturbed ones make of these rows, said from the contract."""
    ledger = _compared(scene, rows)
    return Figure("snapshots as undisturbed", f"{ledger.planned:,}", f"{ledger.equal:,}", ledger.true)


def of_events(scene: Scene) -> tuple[int, int]:
    """(snapshots that are of an event published in a scene, as it must be; others that were written in it).

    How many of an event there are is up to the moments at which its runs looked into the lake.
    """
    messages = (message for stream in scene.streams for message in stream.messages)
    ledger = _compared(scene, [decode(message.body) for message in messages if message.key == "risk.evaluated"])
    return ledger.equal, len(ledger.different) + len(ledger.duplicated) + len(ledger.unexpected)


def _compared(scene: Scene, rows: list[Event]) -> Ledger:
    planned = {}
    for event in rows:
        row = {"tenantId": event.tenant, "timestamp": event.timestamp_text, **_columns(event)}
        entry = expect.snapshot(scene.world.catalog, row)
        planned[entry.place] = entry.content
    found = scene.stand.sinks.database.contents(scene.world.catalog.store(expect.SNAPSHOTS))
    return compare("snapshots", planned, found, scene.before.documents[expect.SNAPSHOTS])


def _columns(event: Event) -> dict[str, Any]:
    data = json.loads(bytes(event.data))
    return {name: data[name] for name in expect.COLUMNS[event.type] if data.get(name) is not None}
