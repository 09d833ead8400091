"""A story that a test tells: a coroutine in an event loop of its own, of which nothing is left."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

LONGEST = 60  # seconds


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(_alone(story))


async def _alone(story: Coroutine[Any, Any, None]) -> None:
    """Cosmos' SDK asks for its account in the background: when its client is closed, a connection may be on its way.

    The loop has to see the end of that one, or its socket is found open by some later test.
    """
    try:
        async with asyncio.timeout(LONGEST):
            await story
    finally:
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        await asyncio.sleep(0.01)  # a socket is closed a turn of the loop after its connection
