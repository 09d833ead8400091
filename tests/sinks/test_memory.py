"""The sinks in memory keep the contract, and fail on demand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from catalog import CATALOG
from consumers.sinks import Blobs, Documents
from consumers.sinks.memory import MemoryBlobs, MemoryDocuments
from consumers.verdicts import Later, Retry
from tests.sinks.contract import BlobContract, DocumentContract


class TestMemoryBlobs(BlobContract):
    @pytest.fixture
    def make(self) -> Callable[[], Blobs]:
        return MemoryBlobs


class TestMemoryDocuments(DocumentContract):
    @pytest.fixture
    def make(self) -> Callable[[], Documents]:
        keys = {store.name: store.partition_key for store in CATALOG.stores if store.kind == "cosmos"}
        return lambda: MemoryDocuments(keys)


def test_a_write_whose_answer_is_lost_is_there() -> None:
    """The next delivery of the same event finds it."""

    async def story() -> None:
        blobs = MemoryBlobs()
        blobs.lose_next_response()
        with pytest.raises(Retry) as lost:
            await blobs.create("a", b"x", "one")
        assert Later.SINK_UNAVAILABLE == lost.value.reason
        assert not await blobs.create("a", b"x", "one")
        assert 1 == blobs.written

    asyncio.run(story())


def test_an_unavailable_sink_takes_nothing() -> None:
    """Neither reads nor writes, until it is switched on again."""

    async def story() -> None:
        blobs = MemoryBlobs()
        blobs.unavailable = True
        with pytest.raises(Retry):
            await blobs.create("a", b"x", "one")
        with pytest.raises(Retry):
            await blobs.read("a")
        blobs.unavailable = False
        assert await blobs.create("a", b"x", "one")

    asyncio.run(story())
