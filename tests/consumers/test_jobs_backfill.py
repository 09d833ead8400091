"""risk-snapshot-backfill on a lake that the lake's own handler wrote: which rows become which documents."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from consumers import jobs, lake, paths
from consumers.events import Event
from consumers.jobs.risk_snapshot_backfill import MOST_NAMED, TABLE
from consumers.verdicts import Later, Retry
from tests.consumers.conftest import Emulators
from tests.runs import Crash, CrashAfter, Platform, trigger
from tests.samples import sample, with_data
from tests.stories import run

KEY = "risk.evaluated"
DAY = "2026-03-10"
WEEK = {"from": "2026-03-08", "to": "2026-03-14"}


def evaluated(number: int, day: str = DAY, tenant: str = "acme", **changes: Any) -> Event:
    """An evaluation with an id of its own; `changes` replace fields of its data."""
    data = with_data(KEY, **{"evaluationId": f"ev-{number:03d}", **changes})
    return sample(KEY, id=f"event-{number:03d}", timestamp=f"{day}T12:00:00Z", tenantId=tenant, data=data)


async def fill(platform: Platform, events: Iterable[Event]) -> list[str]:
    """Write events to the lake; their paths."""
    write = lake.handler(platform.blobs)
    written = list(events)
    for event in written:
        await write(event)
    return [lake.path_of(event, TABLE) for event in written]


async def backfill(platform: Platform, identity: str = "trigger-1", **metadata: Any) -> dict[str, int]:
    """Run it to its end; what it counted."""
    event = trigger(identity, metadata=metadata or WEEK)
    await platform.worker().handle(event)
    return (await platform.run_of(event)).counts


def test_an_evaluation_becomes_a_snapshot() -> None:
    """All its fields, those that are JSON text in the lake as objects, under the evaluation's id."""

    async def story() -> None:
        platform = Platform()
        await fill(platform, [evaluated(1)])
        assert {"blobs": 1, "snapshots": 1, "unreadable": 0} == await backfill(platform)

        assert {
            "ev-001": {
                "id": "ev-001",
                "tenantId": "acme",
                "opportunityId": "opp-4711",
                "riskScore": 0.62,
                "categoryScores": {"commercial": 0.71, "competitive": 0.4, "financial": 0.55, "technical": 0.18},
                "topDrivers": [
                    {"feature": "days_since_last_contact", "contribution": 0.31},
                    {"feature": "champion_left", "contribution": 0.17},
                ],
                "dataQuality": {"completeness": 0.94, "staleFields": 1},
                "timestamp": "2026-03-10T12:00:00Z",
                "evaluationId": "ev-001",
            }
        } == await platform.snapshots()

    run(story())


def test_an_evaluation_without_an_id_is_known_by_opportunity_and_time() -> None:
    """Encoded as a document id; what the row does not have is left out."""

    async def story() -> None:
        platform = Platform()
        bare = {"evaluationId": None, "topDrivers": None, "dataQuality": ..., "opportunityId": "opp/1"}
        await fill(platform, [evaluated(1, **bare)])
        await backfill(platform)

        identity = paths.document("opp/1_2026-03-10T12:00:00Z")
        [snapshot] = (await platform.snapshots()).values()
        assert identity == snapshot["id"]
        assert {"id", "tenantId", "opportunityId", "riskScore", "categoryScores", "timestamp"} == snapshot.keys()

    run(story())


@pytest.mark.parametrize(
    ("metadata", "numbers"),
    [
        ({}, range(8, 15)),  # the trigger is of the 15th, 01:00
        ({"from": "2026-03-09", "to": "2026-03-11"}, range(9, 12)),
        ({"from": "2026-03-11", "to": "2026-03-11"}, [11]),
        ({"to": "2026-03-09"}, range(3, 10)),
        ({"from": "2026-03-13"}, [13, 14]),
        ({"from": "2026-03-16"}, [16]),
        ({"from": "2025-03-01", "to": "2025-03-31"}, []),
    ],
    ids=["default", "three days", "one day", "until", "since", "after today", "nothing there"],
)
def test_the_window_is_whole_days_with_both_ends(metadata: dict[str, str], numbers: Iterable[int]) -> None:
    """By default the last seven full days before the trigger, whenever the run itself takes place."""

    async def story() -> None:
        platform = Platform()
        await fill(platform, [evaluated(day, f"2026-03-{day:02d}") for day in range(1, 18)])
        await backfill(platform, **(metadata or {"schedule": "0 1 * * 0"}))

        assert [f"ev-{number:03d}" for number in numbers] == sorted(await platform.snapshots())

    run(story())


@pytest.mark.parametrize(
    ("scope", "tenants"),
    [({}, "abc"), ({"tenantId": "a"}, "a"), ({"tenantIds": ["b", "c", "d"]}, "bc"), ({"tenantId": "z"}, "")],
    ids=["all", "one", "some", "nobody"],
)
def test_only_the_tenants_that_are_asked_for_are_written(scope: dict[str, Any], tenants: str) -> None:
    """Rows of others are read and left alone."""

    async def story() -> None:
        platform = Platform()
        await fill(platform, [evaluated(number, tenant=tenant) for number, tenant in enumerate("abc")])
        counts = await backfill(platform, **WEEK, **scope)

        assert {"blobs": 3, "snapshots": len(tenants), "unreadable": 0} == counts
        assert [*tenants] == sorted(found["tenantId"] for found in (await platform.snapshots()).values())

    run(story())


def test_running_twice_gives_equal_documents() -> None:
    """A second run writes the same again under the same ids."""

    async def story() -> None:
        platform = Platform()
        await fill(platform, [evaluated(number) for number in range(30)])
        counts, first = await backfill(platform, "one"), await platform.snapshots()

        assert (counts, 30) == (await backfill(platform, "two"), len(first))
        assert first == await platform.snapshots()

    run(story())


@pytest.mark.parametrize("batch", [1, 3, 256])
def test_of_rows_with_one_id_the_last_path_counts(monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    """However the batches fall, so that a run that was resumed gives the same documents."""
    monkeypatch.setattr(jobs, "BATCH", batch)

    async def story() -> None:
        platform = Platform()
        await fill(platform, [evaluated(number, evaluationId="same", riskScore=number / 10) for number in range(8)])
        await backfill(platform)

        assert [0.7] == [snapshot["riskScore"] for snapshot in (await platform.snapshots()).values()]

    run(story())


def parquet(**columns: Any) -> bytes:
    file = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist([columns]), file)
    written: bytes = file.getvalue().to_pybytes()
    return written


GOOD = {
    "tenantId": "acme",
    "opportunityId": "o",
    "riskScore": 0.5,
    "categoryScores": "{}",
    "timestamp": "2026-03-10T12:00:00Z",
}
BROKEN = {
    "not Parquet": (b"PK\x03\x04", "Parquet"),
    "cut off": (parquet(**GOOD)[:-20], "Parquet"),
    "empty": (b"", "Parquet file size is 0 bytes"),
    "no tenant": (parquet(**{**GOOD, "tenantId": None}), "Object missing required field `tenantId`"),
    "a text as score": (parquet(**{**GOOD, "riskScore": "high"}), "Expected `float`, got `str` - at `$.riskScore`"),
    "JSON cut off": (parquet(**{**GOOD, "categoryScores": '{"a": 0.'}), "JSON is malformed"),
    "another shape": (parquet(**{**GOOD, "categoryScores": "[1]"}), "Expected `object`, got `array`"),
}


@pytest.mark.parametrize(("body", "why"), BROKEN.values(), ids=BROKEN)
def test_a_blob_that_cannot_be_read_fails_the_run_after_everything_else_is_written(body: bytes, why: str) -> None:
    """It is counted and named with the reason; no readable blob suffers."""

    async def story() -> None:
        platform = Platform()
        await fill(platform, [evaluated(number) for number in (1, 2, 4, 5)])
        path = lake.path_of(evaluated(3), TABLE)
        await platform.blobs.replace(path, body)
        counts = await backfill(platform)

        assert {"blobs": 5, "snapshots": 4, "unreadable": 1} == counts
        assert ["ev-001", "ev-002", "ev-004", "ev-005"] == sorted(await platform.snapshots())
        found = await platform.run_of(trigger())
        assert "failed" == found.status
        assert found.reason.startswith(f"1 of 5 blobs cannot be read, all others are written: {path} (")
        assert why in found.reason

    run(story())


def test_many_unreadable_blobs_are_all_counted_and_the_first_are_named() -> None:
    """The reason stays short enough for a ledger and an event."""

    async def story() -> None:
        platform = Platform()
        for number in range(MOST_NAMED + 5):
            await platform.blobs.replace(lake.path_of(evaluated(number), TABLE), b"")
        counts = await backfill(platform)

        assert MOST_NAMED + 5 == counts["unreadable"]
        found = await platform.run_of(trigger())
        assert MOST_NAMED == found.reason.count("event-")
        assert found.reason.endswith("; and 5 more")

    run(story())


class Watched:
    """Blobs that note what is read, how many at once, and lose one between listing and reading."""

    def __init__(self, blobs: Any, lost: str = "") -> None:
        self._blobs, self._lost = blobs, lost
        self.reads, self.at_once, self.most = list[str](), 0, 0
        self.on_read: Callable[[], None] = lambda: None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._blobs, name)

    def paths(self, prefix: str) -> AsyncIterator[str]:
        found: AsyncIterator[str] = self._blobs.paths(prefix)
        return found

    async def read(self, path: str) -> bytes:
        self.reads.append(path)
        self.on_read()
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await asyncio.sleep(0.001)
        self.at_once -= 1
        if path == self._lost:
            raise KeyError(path)
        found: bytes = await self._blobs.read(path)
        return found


def test_a_blob_that_is_deleted_meanwhile_is_unreadable_too() -> None:
    """A retention rule at work during a run is no reason to keep silent about a hole."""

    async def story() -> None:
        platform = Platform()
        lost = (await fill(platform, [evaluated(number) for number in range(3)]))[1]
        platform.blobs = Watched(platform.blobs, lost)

        assert {"blobs": 3, "snapshots": 2, "unreadable": 1} == await backfill(platform)
        reason = (await platform.run_of(trigger())).reason
        assert f"{lost} (it was deleted after it had been listed)" in reason

    run(story())


def test_a_run_reads_each_blob_once_and_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded by a batch, load on the store by what is in flight, however large the window."""
    monkeypatch.setattr(jobs, "IN_FLIGHT", 4)

    async def story() -> None:
        platform = Platform()
        days = [f"2026-03-{day:02d}" for day in range(8, 15)]
        written = await fill(platform, [evaluated(100 * n + m, day) for n, day in enumerate(days) for m in range(20)])
        platform.blobs = watched = Watched(platform.blobs)
        await backfill(platform)

        assert sorted(written) == watched.reads
        assert 4 == watched.most

    run(story())


@pytest.mark.parametrize("at", [1, 4, 9, 14])
def test_a_run_that_crashed_goes_on_behind_its_last_checkpoint(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """Only the batch in hand is read again, and the documents are those of an undisturbed run."""
    monkeypatch.setattr(jobs, "BATCH", 4)

    async def story() -> None:
        platform, undisturbed = Platform(), Platform()
        events = [evaluated(number, f"2026-03-{9 + number % 3:02d}") for number in range(15)]
        for each in (platform, undisturbed):
            await fill(each, events)
        counts = await backfill(undisturbed)

        sound, platform.documents = platform.documents, CrashAfter(platform.documents, "upsert", at)
        with pytest.raises((Crash, BaseExceptionGroup)):
            await backfill(platform)
        platform.documents, platform.blobs = sound, Watched(platform.blobs)
        saved = (await platform.run_of(trigger())).checkpoint.get("path", "")

        assert counts == await backfill(platform)
        assert await undisturbed.snapshots() == await platform.snapshots()
        assert all(path > saved for path in platform.blobs.reads)

    run(story())


def test_a_run_that_is_stopped_reads_no_blob_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped at every checkpoint, it still ends, and each blob was read once."""
    monkeypatch.setattr(jobs, "BATCH", 4)

    async def story() -> None:
        platform = Platform(lease=timedelta(minutes=1))
        written = await fill(platform, [evaluated(number) for number in range(14)])
        platform.blobs = watched = Watched(platform.blobs)
        stops = 0
        while await stopped_while_reading(platform, watched, trigger(metadata=WEEK)):
            stops += 1
        assert 4 == stops  # at each of the four batches, the last one included
        assert sorted(written) == watched.reads
        assert 14 == (await platform.run_of(trigger())).counts["snapshots"]

    run(story())


async def stopped_while_reading(platform: Platform, watched: Watched, event: Event) -> bool:
    """Deliver a trigger to a worker that is told to stop as soon as it reads; False when the run ended all the same."""
    worker = platform.worker(uuid.uuid4().hex)
    watched.on_read = worker.stopping.set
    try:
        await worker.handle(event)
    except Retry as verdict:
        return verdict.reason is Later.STOPPING
    return False


@pytest.mark.servers
def test_the_real_stores_hold_what_the_twins_hold(emulators: Emulators, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blobs from Azurite, ledger and snapshots in the Cosmos emulator, stopped once on the way."""
    monkeypatch.setattr(jobs, "BATCH", 10)
    tenant, identity = uuid.uuid4().hex, uuid.uuid4().hex

    async def story() -> None:
        twin = Platform()
        real = Platform(documents=emulators.documents(), blobs=emulators.blobs(), lease=timedelta(minutes=1))
        try:
            for platform in (twin, real):
                await fill(
                    platform,
                    [evaluated(number, tenant=tenant, evaluationId=f"{tenant}-{number}") for number in range(25)],
                )
            asked = {**WEEK, "tenantId": tenant}
            real.blobs = watched = Watched(real.blobs)
            assert await stopped_while_reading(real, watched, trigger(identity, metadata=asked))

            assert await backfill(twin, identity, **asked) == await backfill(real, identity, **asked)
            assert await twin.snapshots() == await real.snapshots(tenantId=tenant)
        finally:
            await real.documents.close()

    run(story())
