"""From us to the exchange: what a job or the scheduler has to say, in the envelope that all events share."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

# Whom an event belongs to that is about the platform and not about a customer.
SYSTEM_TENANT = "00000000-0000-0000-0000-000000000001"


def encode(
    identity: str, kind: str, at: datetime, source: str, data: Mapping[str, Any], correlation_id: str | None
) -> bytes:
    """An event of the system tenant; the same arguments give the same bytes."""
    event: dict[str, Any] = {
        "id": identity,
        "type": kind,
        "version": "1.0",
        "timestamp": iso(at),
        "tenantId": SYSTEM_TENANT,
        "source": source,
        "data": data,
    }
    if correlation_id:
        event["metadata"] = {"correlationId": correlation_id}
    return msgspec.json.encode(event)


def iso(moment: datetime) -> str:
    """A moment as events carry it: UTC, milliseconds where there are any, 2026-01-04T01:00:00Z."""
    precision = "milliseconds" if moment.microsecond else "seconds"
    return moment.astimezone(UTC).isoformat(timespec=precision).replace("+00:00", "Z")
