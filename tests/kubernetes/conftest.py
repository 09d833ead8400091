"""One API server for all tests of a worker process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kubernetes import apiserver


@pytest.fixture(scope="session")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[apiserver.ApiServer]:
    """A real API server with the operators' CRDs; take a namespace from it: `api_server.namespace()`."""
    with apiserver.api_server(tmp_path_factory.mktemp("kubernetes")) as running:
        yield running
