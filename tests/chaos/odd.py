"""`python -m tests.chaos.odd SERVICE`: a consumer process with one oddity, told by its environment.

CHAOS_DAYS_AHEAD=N: its clock is N days ahead. CHAOS_DEADLY=ID,ID: it dies when one of these events is handled.
CHAOS_DIES=PLACE: it dies right after PLACE of a run is behind it. CHAOS_PATIENCE=N: it has N seconds to acknowledge.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import inspect
import os
import sys
from collections.abc import Callable
from typing import Any

LEFT_WITHIN = 0.2  # seconds until what was written to a connection has left the process
DIED = 86  # exit status of a death that was asked for


def ahead(days: int) -> None:
    """Every clock that Python code reads; must come before anything else is imported."""

    class Later(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> Any:
            return super().now(tz) + dt.timedelta(days=days)

    dt.datetime = Later  # type: ignore[misc]


def impatient(seconds: int) -> None:
    """What the catalog says of a broker that is told so by a policy."""
    from catalog import Queue  # noqa: PLC0415 - as the next

    Queue.ack_timeout = property(lambda _: dt.timedelta(seconds=seconds))  # type: ignore[assignment, method-assign]


def deadly(ids: frozenset[str]) -> None:
    """Handlers that end the process, as a crash in a native library does."""
    from consumers import assembly  # noqa: PLC0415 - after the clock was set

    def wired(wire: Callable[..., Any]) -> Callable[..., Any]:
        def make(parts: Any) -> Any:
            handle = wire(parts)

            async def handle_or_die(event: Any) -> bool:
                if event.id in ids:
                    os._exit(DIED)
                return bool(await handle(event))

            return handle_or_die

        return make

    assembly.WIRING = {name: wired(wire) for name, wire in assembly.WIRING.items()}


def dies_after(place: str) -> None:
    """Death at a boundary of a run: what was done is done, and nobody here remembers."""
    from consumers.batch import Batch  # noqa: PLC0415 - as above
    from consumers.jobs import Deps  # noqa: PLC0415
    from consumers.ledger import Lease, Ledger  # noqa: PLC0415
    from consumers.publish import ConfirmedPublisher  # noqa: PLC0415
    from consumers.worker import Worker  # noqa: PLC0415

    owner, name = {
        "claimed": (Lease, "kept"),
        "written": (Deps, "upsert"),
        "checkpoint": (Lease, "checkpoint"),
        "ended": (Lease, "end"),
        "published": (ConfirmedPublisher, "publish"),
        "noted": (Ledger, "note_published"),
        "answered": (Batch, "handle"),
        "acked": (Worker, "_answer"),
    }[place]
    work = getattr(owner, name)

    async def awaited(*arguments: Any, **named: Any) -> Any:
        await work(*arguments, **named)
        os._exit(DIED)

    def called(*arguments: Any, **named: Any) -> Any:
        work(*arguments, **named)
        os._exit(DIED)

    def sent(*arguments: Any, **named: Any) -> Any:
        asyncio.get_running_loop().call_later(LEFT_WITHIN, os._exit, DIED)
        return work(*arguments, **named)

    soon = awaited if inspect.iscoroutinefunction(work) else called
    setattr(owner, name, sent if place == "acked" else soon)


def main() -> int:
    told = os.environ.get
    if days := told("CHAOS_DAYS_AHEAD"):
        ahead(int(days))
    if seconds := told("CHAOS_PATIENCE"):
        impatient(int(seconds))
    if ids := told("CHAOS_DEADLY"):
        deadly(frozenset(ids.split(",")))
    if place := told("CHAOS_DIES"):
        dies_after(place)
    from consumers.__main__ import main as consume  # noqa: PLC0415 - after all of the above

    return consume(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
