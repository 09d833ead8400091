"""Below the containers: what is asked of the accounts that hold them, by Azure's own clients."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import urllib3
from azure.core.exceptions import AzureError
from azure.cosmos import CosmosClient, PartitionKey
from azure.cosmos.exceptions import CosmosResourceExistsError
from azure.storage.blob import ContainerClient

Props = dict[str, Any]

# The defaults of both libraries retry for minutes; a person waits for this.
BLOB_PATIENCE: dict[str, Any] = {"retry_total": 1, "initial_backoff": 1, "connection_timeout": 5, "read_timeout": 20}
COSMOS_PATIENCE: dict[str, Any] = {"retry_total": 2, "connection_timeout": 5, "timeout": 30}


# The library checks no certificate on loopback, where the emulator is, and would say so at every request.
urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)


class StoreError(Exception):
    """A container cannot be what the catalog wants; the text says what to do."""


class Account:
    """Each takes the properties of a container as infra/stores.py keeps them."""

    def ensure(self, props: Props) -> None:
        """Make the container where it is missing; raises StoreError."""
        try:
            if not self.exists(props):
                self.make(props)
        except AzureError as error:
            raise StoreError(f"container {props['name']} cannot be made or read: {error}") from error

    def holds(self, props: Props) -> bool:
        """False as well where the account does not answer: to make a container anew, once it does, is harmless."""
        try:
            return self.exists(props)
        except AzureError:
            return False

    def exists(self, props: Props) -> bool:
        raise NotImplementedError

    def make(self, props: Props) -> None:
        raise NotImplementedError


class BlobAccount(Account):
    def exists(self, props: Props) -> bool:
        with _blobs(props) as container:
            return container.exists()

    def make(self, props: Props) -> None:
        with _blobs(props) as container:
            container.create_container()


class CosmosAccount(Account):
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


def _blobs(props: Props) -> ContainerClient:
    return ContainerClient.from_connection_string(props["connection_string"], props["name"], **BLOB_PATIENCE)


def _cosmos(props: Props) -> CosmosClient:
    return CosmosClient(props["account"]["endpoint"], props["account"]["key"], **COSMOS_PATIENCE)
