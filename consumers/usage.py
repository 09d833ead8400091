"""What models were used for: one document per inference event."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from catalog import CATALOG
from consumers import paths
from consumers.events import Event, data_as, shortened
from consumers.sinks import Documents
from consumers.verdicts import Later, Retry

if TYPE_CHECKING:
    from consumers.judgement import Handler

KNOWN = CATALOG.handler("usage").types


class Inference(Struct, rename="camel"):
    """What every inference event tells."""

    model_id: str
    opportunity_id: str | None = None
    inference_ms: float | None = None


def document(event: Event) -> dict[str, Any]:
    """The document of one event; its id is made of type and id, so a second delivery finds it there.

    Raises Reject(WRONG_TYPE) naming the fields, Retry(UNKNOWN_TYPE) for an event that is no inference.
    """
    if event.type not in KNOWN:
        raise Retry(Later.UNKNOWN_TYPE, f"{shortened(event.type)!r} is no inference: usage knows {', '.join(KNOWN)}")
    used = data_as(event, Inference)
    optional = {"opportunityId": used.opportunity_id, "inferenceMs": used.inference_ms}
    return {
        "id": paths.document(f"{event.type}_{event.id}"),
        "tenantId": event.tenant,
        "eventType": event.type,
        "modelId": used.model_id,
        **{name: value for name, value in optional.items() if value is not None},
        "inferredAt": event.timestamp_text,
        "source": event.source,
    }


def handler(documents: Documents, container: str) -> Handler:
    """Write one document per event. Raises Reject(CONFLICT) when another event has the same id."""

    async def write_usage(event: Event) -> bool:
        return await documents.create(container, document(event))

    return write_usage
