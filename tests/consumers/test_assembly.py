"""Whose answer ends a pause: that of every sink which a handler needs."""

from __future__ import annotations

import asyncio

import pytest

from catalog import CATALOG
from consumers.assembly import Parts
from consumers.metrics import Meters
from consumers.settings import load
from consumers.sinks.memory import MemoryBlobs, MemoryDocuments
from consumers.verdicts import Retry
from tests.consumers.test_settings import GOOD
from tests.runs import Outbox


@pytest.mark.parametrize(
    ("handler", "needs_the_lake", "needs_cosmos"),
    [("lake", True, False), ("audit", True, False), ("usage", False, True), ("batch", True, True)],
)
def test_a_handler_is_paused_by_what_it_needs(handler: str, needs_the_lake: bool, needs_cosmos: bool) -> None:
    """Collectors need the one that they write to; a job reads the lake and writes to Cosmos."""
    service = CATALOG.queue_of(handler).service
    parts = Parts(load(service, GOOD), Outbox(), Meters(CATALOG, service), asyncio.Event())
    lake, cosmos = MemoryBlobs(), MemoryDocuments({store.name: store.partition_key for store in CATALOG.stores})
    parts.__dict__.update(blobs=lake, documents=cosmos)

    def answers() -> bool:
        try:
            asyncio.run(parts.probe(handler)())
        except Retry:
            return False
        return True

    assert answers()
    lake.unavailable = True
    assert answers() is not needs_the_lake
    lake.unavailable, cosmos.unavailable = False, True
    assert answers() is not needs_cosmos
