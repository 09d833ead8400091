"""The audit trail: one JSON blob per event, with `data` as it was sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw, Struct

from consumers import paths
from consumers.events import Event
from consumers.sinks import Blobs

if TYPE_CHECKING:
    from consumers.judgement import Handler

FOLDER = "ml_audit"


class Entry(Struct, omit_defaults=True, rename="camel"):
    """What a blob holds."""

    event_type: str
    timestamp: str
    tenant_id: str
    data: Raw
    id: str
    source: str
    user_id: str | None = None


_encode = msgspec.json.Encoder().encode


def path_of(event: Event) -> str:
    return paths.blob(FOLDER, event.type, event.id, event.timestamp_text, "json")


def entry(event: Event) -> bytes:
    """The JSON of one entry; the bytes of `data` are passed on, never encoded anew."""
    return _encode(
        Entry(
            event_type=event.type,
            timestamp=event.timestamp_text,
            tenant_id=event.tenant,
            data=event.data,
            id=event.id,
            source=event.source,
            user_id=event.user_id,
        )
    )


def handler(blobs: Blobs) -> Handler:
    """Take any event, whatever its type: an audit trail leaves nothing out."""

    async def write_entry(event: Event) -> bool:
        return await blobs.create(path_of(event), entry(event), event.body_hash)

    return write_entry
