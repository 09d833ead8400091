"""What models were used for: one document per inference, found by type and id."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from catalog import CATALOG
from consumers import usage
from consumers.sinks.memory import MemoryDocuments
from consumers.verdicts import Later, Never, Reject, Retry
from tests.samples import envelope, sample, with_data

STORE = CATALOG.store("cosmos_db.containers.usage_ml")
KEY = "ml.prediction.completed"


@pytest.fixture
def documents() -> MemoryDocuments:
    return MemoryDocuments({STORE.name: STORE.partition_key})


def write(documents: MemoryDocuments, *events: Any) -> tuple[list[bool], list[dict[str, Any]]]:
    """What the handler answered for each event, and what is there then."""

    async def written() -> tuple[list[bool], list[dict[str, Any]]]:
        handle = usage.handler(documents, STORE.name)
        answers = [await handle(event) for event in events]
        return answers, [document async for document in documents.query(STORE.name, {})]

    return asyncio.run(written())


@pytest.mark.parametrize("key", CATALOG.queue_of("usage").keys)
def test_a_document_has_the_fields_that_readers_know(documents: MemoryDocuments, key: str) -> None:
    """What an event does not say is left out, not null."""
    sent = envelope(key)
    expected = {
        "id": f"{key}_{sent['id']}",
        "tenantId": sent["tenantId"],
        "eventType": key,
        "modelId": sent["data"]["modelId"],
        "inferenceMs": sent["data"]["inferenceMs"],
        "inferredAt": sent["timestamp"],
        "source": sent["source"],
    }
    if opportunity := sent["data"].get("opportunityId"):
        expected["opportunityId"] = opportunity

    assert ([True], [expected]) == write(documents, sample(key))


def test_only_the_model_has_to_be_there(documents: MemoryDocuments) -> None:
    """An event with nothing else is a document all the same."""
    _, (document,) = write(documents, sample(KEY, data={"modelId": "m", "inferenceMs": None}))

    assert {"id", "tenantId", "eventType", "modelId", "inferredAt", "source"} == set(document)


def test_fault_01_a_redelivery_meets_its_own_document(documents: MemoryDocuments) -> None:
    """Two deliveries leave one document; the same id in an event of another type is another document."""
    events = [sample(KEY, id="a"), sample(KEY, id="a"), sample("embedding.generated", id="a")]

    answers, found = write(documents, *events)

    assert [True, False, True] == answers
    assert [f"{KEY}_a", "embedding.generated_a"] == [document["id"] for document in found]


def test_another_event_with_the_same_id_is_a_conflict(documents: MemoryDocuments) -> None:
    """It is refused aloud; the first one stays."""
    _, before = write(documents, sample(KEY))

    with pytest.raises(Reject) as refused:
        write(documents, sample(KEY, data=with_data(KEY, modelId="another")))

    assert Never.CONFLICT == refused.value.reason
    assert ([], before) == write(documents)


def test_an_awkward_id_makes_a_harmless_document_id(documents: MemoryDocuments) -> None:
    """None of the characters that Cosmos forbids."""
    _, (document,) = write(documents, sample(KEY, id="../a?b#c\\D"))

    assert f"{KEY}_..=2fa=3fb=23c=5c=44" == document["id"]


def test_all_that_is_wrong_is_named(documents: MemoryDocuments) -> None:
    """Nothing is written, and the dead letter says what to mend."""
    with pytest.raises(Reject) as refused:
        write(documents, sample(KEY, data={"inferenceMs": "fast", "opportunityId": 1}))

    assert Never.WRONG_TYPE == refused.value.reason
    assert (
        "modelId is missing; opportunityId is 1: expected `str | null`, got `int`; "
        'inferenceMs is "fast": expected `float | null`, got `str`'
    ) == refused.value.detail
    assert 0 == documents.written


def test_an_event_that_is_no_inference_waits_for_a_newer_version(documents: MemoryDocuments) -> None:
    """A binding may be there before the version that understands it: the event is not poison."""
    with pytest.raises(Retry) as unknown:
        write(documents, sample("hitl.approval.requested"))

    assert Later.UNKNOWN_TYPE == unknown.value.reason
    known = ", ".join(CATALOG.handler("usage").types)
    assert f"'hitl.approval.requested' is no inference: usage knows {known}" == unknown.value.detail
