"""Cosmos documents, by a client made once per process and connected by the first operation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from azure.core import MatchConditions
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import AzureError, HttpResponseError
from azure.cosmos.aio import ContainerProxy, CosmosClient
from azure.cosmos.exceptions import (
    CosmosAccessConditionFailedError,
    CosmosResourceExistsError,
    CosmosResourceNotFoundError,
)

from consumers import log
from consumers.sinks import PROBE, Changed, Document, Stored
from consumers.sinks.account import is_near
from consumers.verdicts import Later, Never, Reject, Retry

DEADLINE = 10.0  # seconds for one operation with all its tries; the broker tries again later
PAUSES = (0.1, 0.5)  # seconds of them between the tries where the service cannot now
THROTTLED_FOR = 8  # seconds of them that may go by waiting because of 429s

# The emulator answers 500 for a missing document without this header; Cosmos pays no attention to it in a point read.
_POINT_READ = {"x-ms-documentdb-query-enablecrosspartition": "True"}


T = TypeVar("T")


class _Container(NamedTuple):
    proxy: ContainerProxy
    partition_field: str


class CosmosDocuments:
    """The containers of one database, by key or else as a workload identity."""

    def __init__(self, endpoint: str, key: str, database: str) -> None:
        self._endpoint, self._key, self._database = endpoint, key, database
        self._host = urlsplit(endpoint).hostname
        self._client: CosmosClient | None = None
        self._credential: AsyncTokenCredential | None = None
        self._containers: dict[str, _Container] = {}
        self._connecting = asyncio.Lock()

    async def create(self, container: str, document: Document) -> bool:
        async def create(found: _Container) -> bool:
            try:
                await found.proxy.create_item(dict(document))
            except CosmosResourceExistsError:
                return False
            return True

        return await self._ask(container, create) or await self._written_before(container, document)

    async def _written_before(self, container: str, document: Document) -> bool:
        """False when the content is the same: the answer to an earlier write was lost, or the event came twice."""
        partition = document[self._containers[container].partition_field]
        stored = await self.read(container, partition, document["id"])
        if stored is None:
            raise Retry(Later.SINK_UNAVAILABLE, f"{container} holds {document['id']!r}, but it cannot be read")
        if stored.document != document:
            raise Reject(Never.CONFLICT, f"{container} holds another document {document['id']!r}")
        return False

    async def upsert(self, container: str, document: Document) -> None:
        await self._ask(container, lambda found: found.proxy.upsert_item(dict(document)))

    async def read(self, container: str, partition: str, identity: str) -> Stored | None:
        async def read(found: _Container) -> Stored | None:
            try:
                item = await found.proxy.read_item(identity, partition, headers=_POINT_READ)
            except CosmosResourceNotFoundError:
                return None
            return Stored(_content(item), item["_etag"])

        return await self._ask(container, read)

    async def replace(self, container: str, document: Document, etag: str) -> str:
        async def replace(found: _Container) -> str | None:
            try:
                answer = await found.proxy.replace_item(
                    document["id"], dict(document), etag=etag, match_condition=MatchConditions.IfNotModified
                )
            except (CosmosAccessConditionFailedError, CosmosResourceNotFoundError):
                return None
            return str(answer.get_response_headers()["etag"])

        if tag := await self._ask(container, replace):
            return tag
        # A request whose answer was lost is made again; the second one then meets the tag that the first one left.
        partition = document[self._containers[container].partition_field]
        stored = await self.read(container, partition, document["id"])
        if stored and stored.document == document:
            return stored.etag
        raise Changed(f"{container} holds {document['id']!r} with another tag than {etag}")

    async def query(self, container: str, where: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
        conditions = " AND ".join(f"c[{_quoted(name)}] = @p{number}" for number, name in enumerate(where)) or "true"
        parameters = [{"name": f"@p{number}", "value": value} for number, value in enumerate(where.values())]
        text = f"SELECT * FROM c WHERE {conditions}"  # noqa: S608 - the values go as parameters, the names quoted
        async with self._verdicts(container):
            found = await self._container(container)
            pages = found.proxy.query_items(text, parameters=parameters).by_page()
        while True:
            async with self._verdicts(container):  # a page that failed cannot be asked for again
                page = await anext(pages, None)
                items = [_content(item) async for item in page] if page else []
            if page is None:
                return
            for item in items:
                yield item

    async def probe(self, container: str) -> None:
        async def probe(found: _Container) -> None:
            with suppress(CosmosResourceExistsError):
                await found.proxy.create_item({"id": PROBE, found.partition_field: PROBE})
            try:
                await found.proxy.delete_item(PROBE, PROBE)
            except CosmosResourceNotFoundError:
                pass  # another process took it away
            except AzureError as error:  # written is the answer; nothing else here needs the right to delete
                log.line("warning", message="the probe stays", place=f"{container}/{PROBE}", detail=str(error))

        await self._ask(container, probe)

    async def close(self) -> None:
        if self._client:
            await self._client.close()
            self._client = None
        if self._credential:
            await self._credential.close()

    async def _ask(self, container: str, request: Callable[[_Container], Awaitable[T]]) -> T:
        """One operation, and again while the service says that it cannot now: the SDK leaves that to other regions."""
        async with self._verdicts(container):
            for pause in PAUSES:
                try:
                    return await request(await self._container(container))
                except HttpResponseError as error:
                    if not _is_passing(error.status_code):
                        raise
                await asyncio.sleep(pause)
            return await request(await self._container(container))

    @asynccontextmanager
    async def _verdicts(self, container: str) -> AsyncIterator[None]:
        """Bounded in time, errors turned into verdicts."""
        try:
            async with asyncio.timeout(DEADLINE):
                yield
        except TimeoutError:
            raise Retry(Later.SINK_UNAVAILABLE, f"{self._host} did not answer within {DEADLINE:g} s") from None
        except AzureError as error:
            raise self._verdict(error, container) from None

    async def _container(self, container: str) -> _Container:
        """The container, asked for once."""
        if found := self._containers.get(container):
            return found
        async with self._connecting:
            if container not in self._containers:
                if self._client is None:
                    self._client = await self._connect()
                proxy = self._client.get_database_client(self._database).get_container_client(container)
                path = (await proxy.read())["partitionKey"]["paths"][0]
                self._containers[container] = _Container(proxy, path.removeprefix("/"))
        return self._containers[container]

    def _identity(self) -> AsyncTokenCredential:
        """The pod's own identity, named rather than found: whatever else the environment offers is not ours."""
        from azure.identity.aio import WorkloadIdentityCredential  # noqa: PLC0415 - 5 MB that a key does without

        self._credential = self._credential or WorkloadIdentityCredential()
        return self._credential

    async def _connect(self) -> CosmosClient:
        client = CosmosClient(
            self._endpoint,
            self._key or self._identity(),
            connection_timeout=2,
            read_timeout=5,
            retry_total=2,
            retry_backoff_max=1,
            retry_throttle_total=9,
            retry_throttle_backoff_max=THROTTLED_FOR,
            retry_write=1,  # each kind of write recognises its own earlier try
            no_response_on_write=True,
            enable_endpoint_discovery=not is_near(self._endpoint),  # an emulator has no second region
        )
        try:
            return await client.__aenter__()
        except BaseException:
            await client.close()
            raise

    def _verdict(self, error: AzureError, container: str) -> Retry | Reject:
        status = error.status_code if isinstance(error, HttpResponseError) else None
        said = str(error).partition("\n")[0]
        if status == 404:
            place = f"container {container!r} in database {self._database!r} of {self._host}"
            return Retry(Later.SINK_REFUSED, f"{place} does not exist: run `pulumi up`, which creates it")
        if status == 413:
            return Reject(Never.TOO_LARGE, f"container {container!r} takes no document of this size ({said})")
        if status == 429:
            return Retry(Later.SINK_THROTTLED, f"container {container!r} asks for fewer requests ({said})")
        if status is None or _is_passing(status):
            return Retry(Later.SINK_UNAVAILABLE, f"{self._host} does not answer ({said})")
        return Retry(
            Later.SINK_REFUSED, f"{self._host} refuses a request for container {container!r} ({status}: {said})"
        )


def _is_passing(status: int | None) -> bool:
    """Whether this answer is of the moment. Source: Cosmos DB, "HTTP status codes", those that may be retried."""
    return status is not None and (status in (408, 410, 449) or status >= 500)


def _content(item: Mapping[str, Any]) -> dict[str, Any]:
    """A document without the fields that Cosmos adds."""
    return {name: value for name, value in item.items() if not name.startswith("_")}


def _quoted(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
