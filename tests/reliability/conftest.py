"""The stand: everything a service needs, as real processes that a test may kill."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.reliability.stand import Stand


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    with ExitStack() as ending:
        yield Stand(tmp_path, ending)
