"""What the tests of consumers share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.runs import ScriptedJob


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedJob]:
    """A job that does as it is told, in the place of every job."""
    told = ScriptedJob(monkeypatch)
    yield told
    told.go.set()
