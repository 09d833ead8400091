"""A story that a test tells: a coroutine in an event loop of its own, of which nothing is left."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from tests.brokers import SLOWER

LONGEST = 60 * SLOWER  # seconds
FAREWELL = 500  # looks, 10 ms apart


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(_alone(story))


async def _alone(story: Coroutine[Any, Any, None]) -> None:
    """Azure's clients leave connections that still take leave of the emulator; a later test would find them open."""
    try:
        async with asyncio.timeout(LONGEST):
            await story
    finally:
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        for _ in range(FAREWELL):
            if not _sockets():
                break
            await asyncio.sleep(0.01)


def _sockets() -> int:
    """How many this loop looks after, its own left out."""
    return len(asyncio.get_running_loop()._selector.get_map()) - 1  # type: ignore[attr-defined]
