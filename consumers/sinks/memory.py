"""Sinks that keep what they are given in memory: for tests that need speed, and faults on demand."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from itertools import count
from typing import Any

from consumers.sinks import PROBE, Changed, Document, Stored
from consumers.verdicts import Later, Never, Reject, Retry


class Faults:
    """The switches that both sinks have. `written` counts the writes that changed something."""

    def __init__(self) -> None:
        self.unavailable = self.read_only = False
        self.written = 0
        self._lose_next = False

    def lose_next_response(self) -> None:
        """Carry out the next write, but answer it with an error, as when a connection breaks in between."""
        self._lose_next = True

    def _reach(self) -> None:
        if self.unavailable:
            raise Retry(Later.SINK_UNAVAILABLE, "the sink in memory is switched off")

    def _reach_to_write(self) -> None:
        self._reach()
        if self.read_only:
            raise Retry(Later.SINK_UNAVAILABLE, "the sink in memory takes no writes")

    def _answer(self) -> None:
        self.written += 1
        if self._lose_next:
            self._lose_next = False
            raise Retry(Later.SINK_UNAVAILABLE, "the answer was lost")


class MemoryBlobs(Faults):
    """One blob container."""

    def __init__(self) -> None:
        super().__init__()
        self._blobs: dict[str, tuple[bytes, str]] = {}

    async def create(self, path: str, body: bytes, body_hash: str) -> bool:
        self._reach_to_write()
        if path in self._blobs:
            if self._blobs[path][1] != body_hash:
                raise Reject(Never.CONFLICT, f"{path} was written by another event with the same id")
            return False
        self._blobs[path] = body, body_hash
        self._answer()
        return True

    async def replace(self, path: str, body: bytes) -> None:
        self._reach_to_write()
        self._blobs[path] = body, ""
        self._answer()

    async def read(self, path: str) -> bytes:
        self._reach()
        return self._blobs[path][0]

    async def paths(self, prefix: str) -> AsyncIterator[str]:
        self._reach()
        for path in sorted(self._blobs):
            if path.startswith(f"{prefix.rstrip('/')}/"):
                yield path

    async def probe(self) -> None:
        self._reach_to_write()

    async def close(self) -> None: ...


class MemoryDocuments(Faults):
    """Containers by name, each with the path of its partition key (`/tenantId`)."""

    def __init__(self, partition_keys: Mapping[str, str]) -> None:
        super().__init__()
        self._keys = {container: key.removeprefix("/") for container, key in partition_keys.items()}
        self._stored: dict[str, dict[tuple[str, str], Stored]] = {container: {} for container in partition_keys}
        self._tags = count(1)

    async def create(self, container: str, document: Document) -> bool:
        place = self._place(container, document)
        if found := self._stored[container].get(place):
            if found.document != document:
                raise Reject(Never.CONFLICT, f"{container} holds another document {document['id']!r}")
            return False
        self._put(container, place, document)
        return True

    async def upsert(self, container: str, document: Document) -> None:
        self._put(container, self._place(container, document), document)

    async def read(self, container: str, partition: str, identity: str) -> Stored | None:
        self._reach_container(container)
        found = self._stored[container].get((partition, identity))
        return found and Stored(_copy(found.document), found.etag)

    async def replace(self, container: str, document: Document, etag: str) -> str:
        place = self._place(container, document)
        found = self._stored[container].get(place)
        if found and found.document == document:
            return found.etag
        if not found or found.etag != etag:
            raise Changed(f"{container} holds {document['id']!r} with another tag than {etag}")
        return self._put(container, place, document)

    async def query(self, container: str, where: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
        self._reach_container(container)
        for stored in list(self._stored[container].values()):
            if all(stored.document.get(name) == value for name, value in where.items()):
                yield _copy(stored.document)

    async def probe(self, container: str) -> None:
        self._place(container, {"id": PROBE, self._keys.get(container, ""): PROBE})

    async def close(self) -> None: ...

    def _reach_container(self, container: str) -> None:
        self._reach()
        if container not in self._stored:
            raise Retry(
                Later.SINK_REFUSED, f"container {container!r} does not exist: run `pulumi up`, which creates it"
            )

    def _place(self, container: str, document: Document) -> tuple[str, str]:
        self._reach_to_write()
        self._reach_container(container)
        return document[self._keys[container]], document["id"]

    def _put(self, container: str, place: tuple[str, str], document: Document) -> str:
        tag = f'"{next(self._tags)}"'
        self._stored[container][place] = Stored(_copy(document), tag)
        self._answer()
        return tag


def _copy(document: Document) -> dict[str, Any]:
    """What comes out is what a real sink would give: JSON of its own."""
    copied: dict[str, Any] = json.loads(json.dumps(dict(document)))
    return copied
