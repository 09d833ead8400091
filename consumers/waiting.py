"""Waiting that an event cuts short, so that nothing sleeps through the end of the process."""

import asyncio
from contextlib import suppress


async def happens(event: asyncio.Event, within: float) -> bool:
    """Wait for an event at most this many seconds; whether it happened."""
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), within)
    return event.is_set()
