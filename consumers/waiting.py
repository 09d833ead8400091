"""Waiting that an event cuts short, so that nothing sleeps through the end of the process."""

import asyncio
from contextlib import suppress
from typing import Any


async def happens(event: asyncio.Event, within: float) -> bool:
    """Wait for an event at most this many seconds; whether it happened."""
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), within)
    return event.is_set()


async def first(*happening: asyncio.Event | asyncio.Future[Any], within: float | None = None) -> bool:
    """Wait until one of these events or futures comes, at most `within` seconds; whether one came.

    Futures are left as they are.
    """
    events = [asyncio.ensure_future(each.wait()) for each in happening if isinstance(each, asyncio.Event)]
    futures = [each for each in happening if isinstance(each, asyncio.Future)]
    try:
        came, _ = await asyncio.wait([*events, *futures], timeout=within, return_when=asyncio.FIRST_COMPLETED)
        return bool(came)
    finally:
        for waiting in events:
            waiting.cancel()
