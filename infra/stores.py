"""Between the catalog's stores and the accounts that hold them: each blob or Cosmos container as a resource."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pulumi
import urllib3
from azure.core.exceptions import AzureError
from azure.cosmos import CosmosClient, PartitionKey
from azure.cosmos.exceptions import CosmosResourceExistsError
from azure.storage.blob import ContainerClient
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, ResourceProvider, UpdateResult

if TYPE_CHECKING:  # see infra/broker.py
    from catalog.kinds import Store

Props = dict[str, Any]

# The defaults of both libraries retry for minutes; a person waits for this.
BLOB_PATIENCE: dict[str, Any] = {"retry_total": 1, "initial_backoff": 1, "connection_timeout": 5, "read_timeout": 20}
COSMOS_PATIENCE: dict[str, Any] = {"retry_total": 2, "connection_timeout": 5, "timeout": 30}


# The library checks no certificate on loopback, where the emulator is, and would say so at every request.
urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)


class StoreError(Exception):
    """A container cannot be what the catalog wants; the text says what to do."""


class _Containers(ResourceProvider):
    """A container is made where it is missing; it is never deleted, since what is in it is not ours to throw away."""

    serialize_as_secret_always = False

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        replaces = ["name"] if olds["name"] != news["name"] else []
        return DiffResult(changes=any(olds.get(key) != news[key] for key in news), replaces=replaces)

    def create(self, props: Props) -> CreateResult:
        self._make(props)
        return CreateResult(props["name"], props)

    def update(self, _id: str, _olds: Props, news: Props) -> UpdateResult:
        self._make(news)
        return UpdateResult(news)

    def read(self, id_: str, props: Props) -> ReadResult:
        try:
            found = self.exists(props)
        except AzureError:  # its account does not answer: to make it anew, once it does, is harmless
            found = False
        return ReadResult(id_, props) if found else ReadResult(None, {})

    def _make(self, props: Props) -> None:
        try:
            if not self.exists(props):
                self.make(props)
        except AzureError as error:
            raise StoreError(f"container {props['name']} cannot be made or read: {error}") from error

    def exists(self, props: Props) -> bool:
        raise NotImplementedError

    def make(self, props: Props) -> None:
        raise NotImplementedError


class _BlobContainers(_Containers):
    def exists(self, props: Props) -> bool:
        with _blobs(props) as container:
            return container.exists()

    def make(self, props: Props) -> None:
        with _blobs(props) as container:
            container.create_container()


class BlobContainer(Resource, module="azure", name="BlobContainer"):
    def __init__(self, store: Store, connection_string: pulumi.Input[str], opts: pulumi.ResourceOptions) -> None:
        props = {"name": store.name, "connection_string": connection_string}
        super().__init__(_BlobContainers(), f"blobs/{store.name}", props, opts)


class _CosmosContainers(_Containers):
    def exists(self, props: Props) -> bool:
        """Raises StoreError for a container with another partition key."""
        with _cosmos(props) as client:
            databases = {database["id"] for database in client.list_databases()}
            if props["database"] not in databases:
                return False
            containers = client.get_database_client(props["database"]).list_containers()
            found = next((container for container in containers if container["id"] == props["name"]), None)
        if found and found["partitionKey"]["paths"] != [props["partition_key"]]:
            raise StoreError(
                f"container {props['name']} of database {props['database']} is partitioned by"
                f" {', '.join(found['partitionKey']['paths'])}, wanted {props['partition_key']}, and that is for ever:"
                " name a new container in its setting, copy the documents over, then delete the old one"
            )
        return found is not None

    def make(self, props: Props) -> None:
        with _cosmos(props) as client:
            with suppress(CosmosResourceExistsError):  # the container made at the same time was faster
                client.create_database(props["database"])
            database = client.get_database_client(props["database"])
            database.create_container(props["name"], PartitionKey(props["partition_key"]))


class CosmosContainer(Resource, module="azure", name="CosmosContainer"):
    """A container and the database around it.

    `account` is {"endpoint", "key", "since"}: since when it exists, which for the emulator in memory is its last start.
    """

    def __init__(self, store: Store, database: str, account: pulumi.Input[Props], opts: pulumi.ResourceOptions) -> None:
        props = {"name": store.name, "partition_key": store.partition_key, "database": database, "account": account}
        super().__init__(_CosmosContainers(), f"cosmos/{store.name}", props, opts)


def _blobs(props: Props) -> ContainerClient:
    return ContainerClient.from_connection_string(props["connection_string"], props["name"], **BLOB_PATIENCE)


def _cosmos(props: Props) -> CosmosClient:
    return CosmosClient(props["account"]["endpoint"], props["account"]["key"], **COSMOS_PATIENCE)
