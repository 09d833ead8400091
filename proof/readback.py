"""From the real sinks back to values: {place: content}, read by other clients than those that wrote.

What a probe wrote is none: it stays when its process is killed before it takes it away again.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any, Self
from urllib.parse import quote

import pyarrow.parquet as pq
import urllib3
from azure.cosmos import CosmosClient
from azure.storage.blob import ContainerClient, ContainerSasPermissions, generate_container_sas
from urllib3.exceptions import InsecureRequestWarning

from catalog import Queue, Store
from consumers.sinks import PROBE
from oncall.broker import channel
from oncall.endpoints import Account, Endpoints
from oncall.letters import read
from proof import expect
from proof.compare import Content

PATIENCE = 300  # seconds for one answer; an emulator gives everything that it has in one
READERS = 8  # downloads at once; more only makes a local blob server slower

Found = dict[str, Content]


@dataclass(frozen=True)
class Seen:
    """Everything there is at one moment, by place: blobs by name only, documents by setting, dead letters by queue."""

    blobs: frozenset[str]
    documents: dict[str, Found]
    dead: dict[str, Found]


class Lake:
    """The blob container; a place is `<container>/<path>`."""

    def __init__(self, connection_string: str, container: str) -> None:
        self._client = ContainerClient.from_connection_string(connection_string, container)
        self._container = container
        self._url, self._signature = _signed(self._client)
        self._http = urllib3.PoolManager(maxsize=READERS)

    def places(self) -> frozenset[str]:
        return frozenset(f"{self._container}/{name}" for name in self._client.list_blob_names() if name != PROBE)

    def contents(self, places: Iterable[str]) -> Found:
        """What the blobs hold: a Parquet row, or a JSON object. A blob that cannot be read says so as its content."""
        wanted = sorted(places)
        with ThreadPoolExecutor(READERS) as pool:
            return dict(zip(wanted, pool.map(self._read, wanted), strict=True))

    def _read(self, place: str) -> Content:
        body = self._bytes(place.removeprefix(f"{self._container}/"))
        try:
            return parquet(body) if place.endswith(".parquet") else expect.present(json.loads(body))
        except (ValueError, OSError) as error:  # pyarrow's errors are one of both
            return {"unreadable": str(error)}

    def _bytes(self, name: str) -> bytes:
        """One plain GET: a third of the time of a download by the SDK, which signs each, and very many are read."""
        answer = self._http.request("GET", f"{self._url}/{quote(name)}?{self._signature}")
        if answer.status != HTTPStatus.OK:
            raise RuntimeError(f"blob {name} of {self._container} cannot be read: {answer.status} {answer.reason}")
        return answer.data


def _signed(client: ContainerClient) -> tuple[str, str]:
    """The address of a container, and a shared access signature with which its blobs can be read for a day."""
    url, _, given = client.url.partition("?")
    return url, given or generate_container_sas(
        str(client.account_name),
        client.container_name,
        account_key=client.credential.account_key,
        permission=ContainerSasPermissions(read=True),
        expiry=datetime.now(UTC) + timedelta(days=1),
    )


def parquet(body: bytes) -> Content:
    """The one row of a blob. Raises ValueError when it has another number of rows."""
    rows = pq.read_table(io.BytesIO(body)).to_pylist()
    if len(rows) != 1:
        raise ValueError(f"{len(rows)} rows, expected 1")
    return expect.values(rows[0])


class Database:
    """The document database; a place is `<container>/<partition>/<id>`."""

    def __init__(self, account: Account) -> None:
        # The library checks no certificate where the emulator is, and would say so at every request.
        urllib3.disable_warnings(InsecureRequestWarning)
        self._database = CosmosClient(account.endpoint, account.key, read_timeout=PATIENCE).get_database_client(
            account.database
        )

    def contents(self, store: Store) -> Found:
        """Every document of a container, without what the database adds to it."""
        field = store.partition_key.lstrip("/")
        documents = self._database.get_container_client(store.name).read_all_items()
        return {
            f"{store.name}/{document.get(field)}/{document['id']}": _own(document)
            for document in documents
            if document["id"] != PROBE
        }


def _own(document: dict[str, Any]) -> Content:
    return expect.present({name: value for name, value in document.items() if not name.startswith("_")})


def dead_letters(endpoints: Endpoints, queue: Queue) -> Found:
    """The dead letters of a queue, with their reason. None is acknowledged, so they stay where they are."""
    with channel(endpoints) as opened:
        letters = read(opened, queue, sys.maxsize)
        return {expect.letter_place(queue, one.key): {"reason": one.reason} for one in letters}


@dataclass(frozen=True)
class Sinks:
    """The clients for all of it."""

    endpoints: Endpoints
    lake: Lake
    database: Database

    @classmethod
    def of(cls, endpoints: Endpoints, connection_string: str) -> Self:
        lake = Lake(connection_string, endpoints.catalog.store(expect.LAKE).name)
        return cls(endpoints, lake, Database(endpoints.cosmos))

    def look(self) -> Seen:
        return Seen(
            blobs=self.lake.places(),
            documents={
                store.setting: self.database.contents(store)
                for store in self.endpoints.catalog.stores
                if store.kind == "cosmos"
            },
            dead={queue.name: dead_letters(self.endpoints, queue) for queue in self.endpoints.catalog.queues},
        )
