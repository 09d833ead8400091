"""Between the catalog's stores and the accounts that hold them: each blob or Cosmos container as a resource.

infra/accounts.py is imported where an account is asked, which the program never does: its libraries take a third of a
second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, ResourceProvider, UpdateResult

if TYPE_CHECKING:  # see infra/broker.py
    from catalog.kinds import Store
    from infra.accounts import Account

Props = dict[str, Any]


class _Containers(ResourceProvider):
    """A container is made where it is missing; it is never deleted, since what is in it is not ours to throw away."""

    serialize_as_secret_always = False

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        replaces = ["name"] if olds["name"] != news["name"] else []
        return DiffResult(changes=any(olds.get(key) != news[key] for key in news), replaces=replaces)

    def create(self, props: Props) -> CreateResult:
        self.account().ensure(props)
        return CreateResult(props["name"], props)

    def update(self, _id: str, _olds: Props, news: Props) -> UpdateResult:
        self.account().ensure(news)
        return UpdateResult(news)

    def read(self, id_: str, props: Props) -> ReadResult:
        return ReadResult(id_, props) if self.account().holds(props) else ReadResult(None, {})

    def account(self) -> Account:
        raise NotImplementedError


class _BlobContainers(_Containers):
    def account(self) -> Account:
        from infra.accounts import BlobAccount  # noqa: PLC0415

        return BlobAccount()


class BlobContainer(Resource, module="azure", name="BlobContainer"):
    def __init__(self, store: Store, connection_string: pulumi.Input[str], opts: pulumi.ResourceOptions) -> None:
        props = {"name": store.name, "connection_string": connection_string}
        super().__init__(_BlobContainers(), f"blobs/{store.name}", props, opts)


class _CosmosContainers(_Containers):
    def account(self) -> Account:
        from infra.accounts import CosmosAccount  # noqa: PLC0415

        return CosmosAccount()


class CosmosContainer(Resource, module="azure", name="CosmosContainer"):
    """A container and the database around it.

    `account` is {"endpoint", "key", "since"}: since when it exists, which for the emulator in memory is its last start.
    """

    def __init__(self, store: Store, database: str, account: pulumi.Input[Props], opts: pulumi.ResourceOptions) -> None:
        props = {"name": store.name, "partition_key": store.partition_key, "database": database, "account": account}
        super().__init__(_CosmosContainers(), f"cosmos/{store.name}", props, opts)
