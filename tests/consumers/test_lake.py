"""One event, one row, one blob: with the columns, the path and the refusals that readers rely on."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from catalog import CATALOG
from consumers import lake
from consumers.sinks.memory import MemoryBlobs
from consumers.verdicts import Later, Never, Reject, Retry
from tests.samples import envelope, sample, with_data

TEXT, NUMBER = pa.string(), pa.float64()
COLUMNS = {  # typed a second time on purpose: readers of the lake have these names and types
    "risk.evaluated": {
        "tenantId": TEXT, "timestamp": TEXT, "opportunityId": TEXT, "riskScore": NUMBER, "categoryScores": TEXT,
        "topDrivers": TEXT, "dataQuality": TEXT, "evaluationId": TEXT,
    },
    "ml.prediction.completed": {
        "tenantId": TEXT, "timestamp": TEXT, "modelId": TEXT, "opportunityId": TEXT, "featureVector": TEXT,
        "prediction": NUMBER,
    },
    "recommendation.feedback.received": {
        "tenantId": TEXT, "timestamp": TEXT, "recommendationId": TEXT, "action": TEXT, "opportunityId": TEXT,
        "comment": TEXT,
    },
}  # fmt: skip
FOLDERS = {
    "risk.evaluated": "risk_evaluations",
    "ml.prediction.completed": "ml_inference_logs",
    "recommendation.feedback.received": "feedback",
}
JSON_COLUMNS = {"categoryScores", "topDrivers", "dataQuality", "featureVector"}


def write(*events: Any, blobs: MemoryBlobs | None = None) -> dict[str, bytes]:
    """Path -> bytes of what the handler wrote of these events."""
    store = blobs or MemoryBlobs()

    async def written() -> dict[str, bytes]:
        handle = lake.handler(store)
        for event in events:
            await handle(event)
        return {path: await store.read(path) for folder in FOLDERS.values() async for path in store.paths(folder)}

    return asyncio.run(written())


def row_of(key: str, /, **changes: Any) -> dict[str, Any]:
    """The row that an event becomes, read back."""
    (file,) = write(sample(key, **changes)).values()
    (row,) = pq.read_table(io.BytesIO(file)).to_pylist()
    return dict(row)


@pytest.mark.parametrize("key", CATALOG.handler("lake").types)
def test_a_row_has_the_columns_of_its_table(key: str) -> None:
    """Names, types, and which may be empty."""
    (file,) = write(sample(key)).values()
    schema = pq.read_table(io.BytesIO(file)).schema
    empty = {name for name, value in row_of(key, data=with_least(key)).items() if value is None}

    assert COLUMNS[key] == dict(zip(schema.names, schema.types, strict=True))
    assert empty == {field.name for field in schema if field.nullable}


def with_least(key: str) -> dict[str, Any]:
    """`data` with nothing but what has to be there."""
    least = {
        "risk.evaluated": ("opportunityId", "riskScore", "categoryScores"),
        "ml.prediction.completed": ("modelId",),
        "recommendation.feedback.received": ("recommendationId", "action"),
    }
    return {name: envelope(key)["data"][name] for name in least[key]}


@pytest.mark.parametrize("key", CATALOG.handler("lake").types)
def test_a_row_holds_what_was_sent(key: str) -> None:
    """Every value of the event comes back, JSON columns as JSON."""
    sent, row = envelope(key), row_of(key)
    read = {name: json.loads(value) if name in JSON_COLUMNS else value for name, value in row.items()}
    expected = {name: sent["data"][name] for name in COLUMNS[key] if name in sent["data"]}

    assert {"tenantId": sent["tenantId"], "timestamp": sent["timestamp"], **expected} == read


def test_json_columns_hold_the_text_as_it_was_sent() -> None:
    """Digits are not rounded and fields that nobody knows are kept."""
    drivers = [{"feature": "amount", "contribution": 0.1000000000000000055, "unit": "EUR"}]

    row = row_of("risk.evaluated", data=with_data("risk.evaluated", topDrivers=drivers))

    assert json.dumps(drivers) == row["topDrivers"]


def test_null_is_the_same_as_absent() -> None:
    """Producers write either."""
    data = with_data("risk.evaluated", topDrivers=None, dataQuality=None, evaluationId=...)

    row = row_of("risk.evaluated", data=data)

    assert (None, None, None) == (row["topDrivers"], row["dataQuality"], row["evaluationId"])


@pytest.mark.parametrize("key", CATALOG.handler("lake").types)
def test_fault_01_a_redelivery_after_midnight_meets_its_own_blob(key: str) -> None:
    """The path is made of the event's own date and id, so two deliveries leave one blob and the second says so."""
    event = sample(key, id="a1", timestamp="2026-03-14T23:59:59.999Z")
    blobs = MemoryBlobs()
    handle = lake.handler(blobs)

    first, second = (asyncio.run(asyncio.wait_for(handle(event), 5)) for _ in range(2))

    assert (True, False) == (first, second)
    assert [f"{FOLDERS[key]}/year=2026/month=03/day=14/{key}-a1.parquet"] == list(write(blobs=blobs))
    assert 1 == blobs.written


def test_a_write_whose_answer_was_lost_is_recognised() -> None:
    """The event comes back and finds its blob."""
    event, blobs = sample("risk.evaluated"), MemoryBlobs()
    handle = lake.handler(blobs)
    blobs.lose_next_response()

    with pytest.raises(Retry):
        asyncio.run(asyncio.wait_for(handle(event), 5))

    assert not asyncio.run(asyncio.wait_for(handle(event), 5))
    assert 1 == blobs.written


def test_another_event_with_the_same_id_is_a_conflict() -> None:
    """It is refused aloud; the first one stays."""
    blobs = MemoryBlobs()
    before = write(sample("risk.evaluated"), blobs=blobs)

    with pytest.raises(Reject) as refused:
        write(sample("risk.evaluated", data=with_data("risk.evaluated", riskScore=0.1)), blobs=blobs)

    assert Never.CONFLICT == refused.value.reason
    assert before == write(blobs=blobs)


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"riskScore": "high"}, 'riskScore is "high": expected `float`, got `str`'),
        ({"riskScore": 1.5}, "riskScore is 1.5: expected `float` <= 1.0"),
        ({"riskScore": -0.1}, "riskScore is -0.1: expected `float` >= 0.0"),
        ({"opportunityId": ...}, "opportunityId is missing"),
        ({"categoryScores": [0.1]}, "categoryScores is [0.1]: expected `object`, got `array`"),
        ({"categoryScores": {"a": "x"}}, 'categoryScores is {"a": "x"}: expected `float`, got `str` - at `$[...]`'),
        (
            {"topDrivers": [{"feature": "a"}]},
            'topDrivers is [{"feature": "a"}]: object missing required field `contribution` - at `$[0]`',
        ),
        ({"evaluationId": 7}, "evaluationId is 7: expected `str | null`, got `int`"),
        (
            {"opportunityId": 1, "dataQuality": "good"},
            'opportunityId is 1: expected `str`, got `int`; dataQuality is "good": expected `object | null`, got `str`',
        ),
    ],
)
def test_a_row_that_does_not_fit_is_refused_with_every_field(changes: dict[str, Any], detail: str) -> None:
    """Nothing is written, and the dead letter says what to mend."""
    blobs = MemoryBlobs()

    with pytest.raises(Reject) as refused:
        write(sample("risk.evaluated", data=with_data("risk.evaluated", **changes)), blobs=blobs)

    assert (Never.WRONG_TYPE, detail) == (refused.value.reason, refused.value.detail)
    assert 0 == blobs.written


def test_an_event_without_a_table_waits_for_a_newer_version() -> None:
    """A binding may be there before the version that understands it: the event is not poison."""
    with pytest.raises(Retry) as unknown:
        write(sample("hitl.approval.requested"))

    assert Later.UNKNOWN_TYPE == unknown.value.reason
    assert unknown.value.detail.startswith("'hitl.approval.requested' has no table: the lake knows risk.evaluated, ")


def test_every_type_that_the_catalog_promises_has_a_table() -> None:
    """And no table is unknown to the catalog."""
    assert set(CATALOG.handler("lake").types) == set(lake.TABLES)


def test_a_file_is_small() -> None:
    """A row of a thousand bytes does not carry as much again in metadata."""
    (file,) = write(sample("risk.evaluated")).values()

    assert len(file) <= 1300


def test_a_folder_is_read_as_one_dataset(tmp_path: Path) -> None:
    """Files with and without the optional columns, below folders that give year, month and day."""
    events = [
        sample("risk.evaluated", id="a", timestamp="2026-03-14T10:00:00Z"),
        sample("risk.evaluated", id="b", timestamp="2026-03-15T10:00:00Z", data=with_least("risk.evaluated")),
    ]
    for path, file in write(*events).items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(file)

    data = pyarrow.dataset.dataset(tmp_path / "risk_evaluations", partitioning="hive")
    found = data.to_table(filter=pyarrow.dataset.field("day") == 15).to_pylist()

    assert 2 == data.count_rows()
    assert [("2026-03-15T10:00:00Z", None, 15)] == [(row["timestamp"], row["topDrivers"], row["day"]) for row in found]
