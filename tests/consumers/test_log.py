"""What libraries log comes out as one JSON line, and whole."""

from __future__ import annotations

import subprocess
import sys

from tests.brokers import lines

PROGRAM = """
import asyncio
from consumers import log

async def main():
    asyncio.get_running_loop().call_soon(lambda: 1 / 0)
    await asyncio.sleep(0)

log.begin(service="logging")
asyncio.run(main())
"""


def test_an_error_that_only_the_loop_sees_is_told_with_its_traceback() -> None:
    """The loop logs what a callback raised, and nobody else hears of it."""
    output = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60)

    [line] = lines(output.stdout)
    assert ("logging", "error", "asyncio") == (line["service"], line["level"], line["logger"])
    assert "ZeroDivisionError('division by zero')" == line["error"]
    assert line["traceback"].startswith("Traceback")
