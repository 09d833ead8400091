"""The audit trail: every event, whatever its type, with its data as it was sent."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from catalog import CATALOG
from consumers import audit
from consumers.events import decode
from consumers.sinks.memory import MemoryBlobs
from consumers.verdicts import Never, Reject
from tests.samples import body_of, envelope, sample


def write(*events: Any, blobs: MemoryBlobs | None = None) -> tuple[list[bool], dict[str, bytes]]:
    """What the handler answered for each event, and path -> bytes of what is there then."""
    store = blobs or MemoryBlobs()

    async def written() -> tuple[list[bool], dict[str, bytes]]:
        handle = audit.handler(store)
        answers = [await handle(event) for event in events]
        return answers, {path: await store.read(path) async for path in store.paths(audit.FOLDER)}

    return asyncio.run(written())


@pytest.mark.parametrize("key", CATALOG.queue_of("audit").keys)
def test_an_entry_says_who_what_when(key: str) -> None:
    """The fields that auditors know; the user only where there is one."""
    sent = envelope(key)
    expected = {
        "eventType": key,
        "timestamp": sent["timestamp"],
        "tenantId": sent["tenantId"],
        "data": sent["data"],
        "id": sent["id"],
        "source": sent["source"],
    }
    if user := sent["metadata"].get("userId"):
        expected["userId"] = user

    _, files = write(sample(key))
    day = sent["timestamp"][8:10]

    assert {f"ml_audit/year=2026/month=03/day={day}/{key}-{sent['id']}.json": expected} == {
        path: json.loads(file) for path, file in files.items()
    }


def test_data_is_passed_on_byte_by_byte() -> None:
    """Neither digits nor the order of fields nor spaces change."""
    exact = b'{"b": 0.10000000000000000555, "a":1e2 , "text":"\\u00e9 \xc3\xa9"}'
    body = body_of("hitl.approval.requested", data={"mark": 1}).replace(b'{"mark": 1}', exact)

    _, files = write(decode(body))

    assert all(b'"data":' + exact + b',"id":' in file for file in files.values())


def test_a_type_that_nobody_knows_is_kept_as_well() -> None:
    """Whatever it is called, it stays in its folder."""
    answers, files = write(sample("risk.evaluated", type="../Über/nothing", id="a"))

    assert [True] == answers
    assert ["ml_audit/year=2026/month=03/day=14/=2e.=2f=c3=9cber=2fnothing-a.json"] == list(files)


def test_fault_01_a_redelivery_meets_its_own_entry() -> None:
    """Two deliveries leave one blob, and the second says so."""
    blobs = MemoryBlobs()

    answers, files = write(sample("hitl.approval.requested"), sample("hitl.approval.requested"), blobs=blobs)

    assert [True, False] == answers
    assert 1 == len(files) == blobs.written


def test_another_event_with_the_same_id_is_a_conflict() -> None:
    """An audit trail does not change what it holds."""
    blobs = MemoryBlobs()
    _, before = write(sample("hitl.approval.requested"), blobs=blobs)

    with pytest.raises(Reject) as refused:
        write(sample("hitl.approval.requested", source="somebody else"), blobs=blobs)

    assert Never.CONFLICT == refused.value.reason
    assert (([]), before) == write(blobs=blobs)
