"""Where writes end: blobs and documents, as protocols that the real sinks and their in-memory twins both keep."""

from collections.abc import AsyncIterator, Mapping
from typing import Any, NamedTuple, Protocol

Document = Mapping[str, Any]

PROBE = "_probe"  # what a probe writes and takes away again; a reader of a lake skips names that begin so


class Stored(NamedTuple):
    """A document as the sink holds it, with the tag that a later `replace` has to name."""

    document: dict[str, Any]
    etag: str


class Changed(Exception):
    """Somebody else wrote the document first; read it again before deciding."""


class Blobs(Protocol):
    """One blob container. Every method raises Retry when the sink cannot answer now."""

    async def create(self, path: str, body: bytes, body_hash: str) -> bool:
        """Write a blob unless it exists. True when written now, False when the same event wrote it before.

        What is found there after a write that was answered too late counts as written now: nothing tells them apart.
        `body_hash` is that of the event, kept as metadata. Raises Reject(CONFLICT) when another event holds the path.
        """

    async def replace(self, path: str, body: bytes) -> None:
        """Write a blob, whatever was there; for output that a job computes again."""

    async def read(self, path: str) -> bytes:
        """The bytes of a blob. Raises KeyError when there is none."""

    def paths(self, prefix: str) -> AsyncIterator[str]:
        """The paths below a folder prefix, sorted."""

    async def probe(self) -> None:
        """Write, as events are written, and leave nothing behind. Raises Retry when that fails: reading proves less."""

    async def close(self) -> None: ...


class Documents(Protocol):
    """The containers of one Cosmos database. Every method raises Retry when the sink cannot answer now.

    `container` is the name; a document holds its `id` and the field of the container's partition key.
    """

    async def create(self, container: str, document: Document) -> bool:
        """Insert unless the id exists. True when written now, False when the same content is there already.

        Raises Reject(CONFLICT) when the id exists with other content.
        """

    async def upsert(self, container: str, document: Document) -> None:
        """Insert or replace."""

    async def read(self, container: str, partition: str, identity: str) -> Stored | None: ...

    async def replace(self, container: str, document: Document, etag: str) -> str:
        """Replace the document that still has this tag; returns the new tag.

        Raises Changed when it has another, unless it holds just this content: then an earlier answer was lost.
        """

    def query(self, container: str, where: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """The documents whose fields equal `where`, across partitions."""

    async def probe(self, container: str) -> None:
        """Write, as events are written, and leave nothing behind. Raises Retry when that fails: reading proves less."""

    async def close(self) -> None: ...
