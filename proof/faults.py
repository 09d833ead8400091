"""The ways in which the proof spoils events: one for every reason that an event can be refused for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from consumers.verdicts import Never
from proof.portfolio import TRIGGER, Envelope, encode

OVERSIZE = 1024 * 1024  # bytes of padding alone; no event may be as large as this


@dataclass(frozen=True)
class Fault:
    """A way to spoil an event of one key. `handlers` are those that cannot take it; empty when nobody can."""

    reason: Never
    key: str
    spoil: Callable[[Envelope], Envelope | bytes]
    handlers: tuple[str, ...] = ()
    wave: int = 0


def _without(name: str) -> Callable[[Envelope], Envelope]:
    return lambda event: {key: value for key, value in event.items() if key != name}


def _with(**fields: Any) -> Callable[[Envelope], Envelope]:
    return lambda event: {**event, **fields}


def _with_data(**fields: Any) -> Callable[[Envelope], Envelope]:
    return lambda event: {**event, "data": {**event["data"], **fields}}


FAULTS = (
    Fault(Never.UNDECODABLE, "risk.evaluated", lambda event: encode(event)[:-20]),
    Fault(Never.UNDECODABLE, "llm.inference.completed", lambda event: b"\xff\xfe" + encode(event)),
    Fault(Never.TOO_LARGE, "ml.model.drift.detected", _with_data(padding="x" * OVERSIZE)),
    Fault(Never.NO_ID, "ml.prediction.completed", _without("id")),
    Fault(Never.NO_TYPE, "embedding.generated", _without("type")),
    Fault(Never.NO_TENANT, "risk.evaluated", _without("tenantId")),
    Fault(
        Never.NO_TENANT, "llm.inference.completed", lambda event: _without("tenantId")({**event, "id": "long" * 300})
    ),
    Fault(Never.BAD_TIMESTAMP, "hitl.approval.requested", _with(timestamp="yesterday")),
    Fault(Never.WRONG_TYPE, "risk.evaluated", _with_data(riskScore="high"), ("lake",)),
    Fault(Never.WRONG_TYPE, "ml.prediction.completed", _with_data(inferenceMs="fast"), ("usage",)),
    Fault(Never.WRONG_TYPE, "remediation.workflow.completed", _with(data=["not", "an", "object"])),
    Fault(Never.UNKNOWN_JOB, TRIGGER, _with_data(job="risk-snapshot-backfil")),
    Fault(Never.CONFLICT, "risk.evaluated", _with_data(riskScore=0.999), wave=1),
    Fault(Never.CONFLICT, "ml.prediction.completed", _with_data(modelId="another-model"), wave=1),
)
