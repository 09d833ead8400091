"""The real sinks: Azurite and the Cosmos emulator, once per session, with the containers of the catalog."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest
from azure.cosmos import PartitionKey
from azure.cosmos.aio import CosmosClient
from azure.storage.blob import ContainerClient

import tools
from catalog import CATALOG
from tests.stories import run
from tools import servers


class BlobAccount(NamedTuple):
    """A storage account with its one container."""

    name: str
    key: str
    host: str
    container: str

    def connection_string(self, host: str = "") -> str:
        """How to get there, or by another host: over a wire."""
        endpoint = f"{host or self.host}/{self.name}"
        return f"DefaultEndpointsProtocol=http;AccountName={self.name};AccountKey={self.key};BlobEndpoint={endpoint};"


class DocumentAccount(NamedTuple):
    """A document store with the containers of the catalog."""

    endpoint: str
    key: str
    database: str


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BlobAccount]:
    (port,) = servers.free_ports(1)
    with servers.running(servers.azurite(tmp_path_factory.mktemp("azurite"), port)):
        name, key = tools.emulator_account(), tools.emulator_key("azurite")
        account = BlobAccount(name, key, f"http://127.0.0.1:{port}", CATALOG.store("data_lake.container").name)
        with ContainerClient.from_connection_string(account.connection_string(), account.container) as container:
            container.create_container()
        yield account


@pytest.fixture(scope="session")
def cosmos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DocumentAccount]:
    (port,) = servers.free_ports(1)
    with servers.running(servers.cosmos(tmp_path_factory.mktemp("cosmos"), port)):
        account = DocumentAccount(f"https://127.0.0.1:{port}", tools.emulator_key("cosmos"), CATALOG.database)
        run(_create_containers(account))
        yield account


async def _create_containers(account: DocumentAccount) -> None:
    async with CosmosClient(account.endpoint, account.key, enable_endpoint_discovery=False) as client:
        database = await client.create_database(account.database)
        for store in CATALOG.stores:
            if store.kind == "cosmos":
                await database.create_container(store.name, PartitionKey(store.partition_key))
