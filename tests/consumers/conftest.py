"""What the tests of consumers share: a job that does as it is told, and stores that hold real writes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import NamedTuple

import pytest

from consumers import sinks
from consumers.sinks.account import parse
from consumers.sinks.blob import AzureBlobs
from consumers.sinks.cosmos import CosmosDocuments
from tests.runs import ScriptedJob
from tests.sinks.conftest import BlobAccount, DocumentAccount, azurite, cosmos

__all__ = ["azurite", "cosmos"]  # fixtures, for the tests of this folder too


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedJob]:
    """A job that does as it is told, in the place of every job."""
    told = ScriptedJob(monkeypatch)
    yield told
    told.go.set()


class Emulators(NamedTuple):
    """Real stores with every container there; each client belongs to the loop in which it is used first."""

    blob_account: BlobAccount
    document_account: DocumentAccount

    def blobs(self) -> AzureBlobs:
        return AzureBlobs(parse(self.blob_account.connection_string()), self.blob_account.container)

    def documents(self) -> CosmosDocuments:
        return CosmosDocuments(*self.document_account)


@pytest.fixture
def emulators(azurite: BlobAccount, cosmos: DocumentAccount, monkeypatch: pytest.MonkeyPatch) -> Emulators:
    """Their clients wait longer than a consumer, which would come again: a busy machine answers late."""
    monkeypatch.setattr(sinks.blob, "TIMEOUT", timedelta(seconds=30))
    monkeypatch.setattr(sinks.cosmos, "DEADLINE", 60.0)
    return Emulators(azurite, cosmos)
