"""Containers in the real emulators: made once, found again, never changed behind anybody's back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tools
from infra.accounts import StoreError
from infra.stores import _BlobContainers, _CosmosContainers
from tools.servers import LOOPBACK, azurite, cosmos, free_ports, running

pytestmark = pytest.mark.servers

NOBODY = free_ports(1)[0]


@pytest.fixture
def documents(tmp_path: Path) -> Iterator[dict[str, Any]]:
    server = cosmos(tmp_path, *free_ports(1))
    account = {"endpoint": f"https://{LOOPBACK}:{server.ports[0]}", "key": tools.emulator_key("cosmos")}
    with running(server):
        yield {"name": "runs", "partition_key": "/job", "database": "castiel", "account": account}


@pytest.fixture
def blobs(tmp_path: Path) -> Iterator[dict[str, Any]]:
    server = azurite(tmp_path, *free_ports(1))
    with running(server):
        yield {"name": "risk", "connection_string": connection_string(server.ports[0])}


def connection_string(port: int) -> str:
    account, key = tools.emulator_account(), tools.emulator_key("azurite")
    return f"AccountName={account};AccountKey={key};BlobEndpoint=http://{LOOPBACK}:{port}/{account};"


def test_a_blob_container_is_made_once_and_found_again(blobs: dict[str, Any]) -> None:
    provider = _BlobContainers()
    assert None is provider.read("risk", blobs).id

    provider.create(blobs)
    provider.create(blobs)

    assert "risk" == provider.read("risk", blobs).id


def test_a_document_container_is_made_once_and_found_again(documents: dict[str, Any]) -> None:
    provider = _CosmosContainers()
    assert None is provider.read("runs", documents).id

    provider.create(documents)
    provider.create(documents)

    assert "runs" == provider.read("runs", documents).id


def test_another_partition_key_is_refused_with_the_way_out(documents: dict[str, Any]) -> None:
    """The key decides where each document lies, so an account never changes it."""
    provider = _CosmosContainers()
    provider.create(documents)

    for attempt in (provider.create, lambda props: provider.read("runs", props)):
        with pytest.raises(StoreError) as refusal:
            attempt({**documents, "partition_key": "/tenantId"})
        assert (
            "container runs of database castiel is partitioned by /job, wanted /tenantId, and that is for ever:"
            " name a new container in its setting, copy the documents over, then delete the old one"
        ) == str(refusal.value)


def test_an_account_that_does_not_answer_is_told(blobs: dict[str, Any]) -> None:
    """To make a container then fails with its name; to look for one only finds nothing."""
    away = {**blobs, "connection_string": connection_string(NOBODY)}

    with pytest.raises(StoreError, match=r"container risk cannot be made or read: .*Connection refused"):
        _BlobContainers().create(away)
    assert None is _BlobContainers().read("risk", away).id
