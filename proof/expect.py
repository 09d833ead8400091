"""What an event must become in each queue's sink, said from the contract: of the consumers only their paths."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from catalog import Catalog, Queue
from consumers import paths
from proof.compare import Content
from proof.portfolio import Envelope, Window


@dataclass(frozen=True)
class Entry:
    """One thing in a sink: where it is, and what it holds."""

    place: str
    content: Content


def written(catalog: Catalog, queue: Queue, event: Envelope) -> Entry:
    """The entry that a good event leaves behind when it has gone through a queue."""
    return HANDLERS[queue.handler](catalog, event)


def dead_letter(queue: Queue, identity: str, reason: str, body: bytes) -> Entry:
    """The letter that a refused event leaves behind, its bytes as they came."""
    return Entry(letter_place(queue, (identity, hashlib.sha256(body).hexdigest())), {"reason": reason})


def letter_place(queue: Queue, key: tuple[str, str]) -> str:
    """The place of a letter by what makes it the same one: the event's id, and the sha256 of its body in hex."""
    return "/".join((queue.dead, *key))


def present(content: Content) -> dict[str, Any]:
    """Content as it is compared: an absent field and an empty one are the same."""
    return {name: value for name, value in content.items() if value is not None}


def _row(catalog: Catalog, event: Envelope) -> Entry:
    """One Parquet blob; columns that hold JSON are compared by their value."""
    data, always = event["data"], {"tenantId": event["tenantId"], "timestamp": event["timestamp"]}
    columns = {name: data.get(name) for name in COLUMNS[event["type"]]}
    path = paths.blob(FOLDERS[event["type"]], event["type"], event["id"], event["timestamp"], "parquet")
    return Entry(f"{catalog.store(LAKE).name}/{path}", present({**always, **columns}))


def _audit(catalog: Catalog, event: Envelope) -> Entry:
    content = {
        "eventType": event["type"],
        "timestamp": event["timestamp"],
        "tenantId": event["tenantId"],
        "userId": event.get("metadata", {}).get("userId"),
        "data": event["data"],
        "id": event["id"],
        "source": event["source"],
    }
    path = paths.blob(AUDIT, event["type"], event["id"], event["timestamp"], "json")
    return Entry(f"{catalog.store(LAKE).name}/{path}", present(content))


def _usage(catalog: Catalog, event: Envelope) -> Entry:
    data = event["data"]
    identity = paths.document(f"{event['type']}_{event['id']}")
    content = {
        "id": identity,
        "tenantId": event["tenantId"],
        "eventType": event["type"],
        "modelId": data["modelId"],
        "opportunityId": data.get("opportunityId"),
        "inferenceMs": data.get("inferenceMs"),
        "inferredAt": event["timestamp"],
        "source": event["source"],
    }
    container = catalog.store(USAGE).name
    return Entry(f"{container}/{event['tenantId']}/{identity}", present(content))


def _run(catalog: Catalog, event: Envelope) -> Entry:
    container, job = catalog.store(RUNS).name, event["data"]["job"]
    identity = paths.document(event["id"])
    return Entry(f"{container}/{job}/{identity}", {"job": job, "trigger": event["id"], "status": "completed"})


def snapshot(catalog: Catalog, row: Content) -> Entry:
    """The document that risk-snapshot-backfill makes of a row of the lake."""
    identity = paths.document(row.get("evaluationId") or f"{row['opportunityId']}_{row['timestamp']}")
    container = catalog.store(SNAPSHOTS).name
    return Entry(f"{container}/{row['tenantId']}/{identity}", {"id": identity, **row})


def outcome(trigger: str, job: str) -> Entry:
    """The event that says how a run ended; its id is the run's, so that saying it twice harms nobody."""
    return Entry(f"outcome/{trigger}:completed", {"type": "workflow.job.completed", "job": job})


def facts(setting: str, content: Content) -> Content:
    """What of a found document is compared: of a run only its end, since times and counts are not known beforehand."""
    return {name: content.get(name) for name in RUN_FIELDS} if setting == RUNS else content


def is_audit(catalog: Catalog, place: str) -> bool:
    return place.startswith(f"{catalog.store(LAKE).name}/{AUDIT}/")


def is_evaluation(catalog: Catalog, place: str, window: Window) -> bool:
    """Whether a blob is a row that a backfill of the window reads."""
    folder = f"{catalog.store(LAKE).name}/{FOLDERS['risk.evaluated']}"
    return any(place.startswith(f"{folder}/year={day:%Y}/month={day:%m}/day={day:%d}/") for day in window.days())


def values(row: Content) -> dict[str, Any]:
    """A row read from Parquet in the form in which `written` gives it."""
    return present(
        {
            name: json.loads(value) if name in JSON_COLUMNS and value is not None else value
            for name, value in row.items()
        }
    )


LAKE = "data_lake.container"
USAGE = "cosmos_db.containers.usage_ml"
RUNS = "cosmos_db.containers.batch_job_runs"
SNAPSHOTS = "cosmos_db.containers.risk_snapshots"

HANDLERS: Mapping[str, Callable[[Catalog, Envelope], Entry]] = {
    "lake": _row,
    "audit": _audit,
    "usage": _usage,
    "batch": _run,
}
SINKS = {"lake": LAKE, "audit": LAKE, "usage": USAGE, "batch": RUNS}
AUDIT = "ml_audit"
FOLDERS = {
    "risk.evaluated": "risk_evaluations",
    "ml.prediction.completed": "ml_inference_logs",
    "recommendation.feedback.received": "feedback",
}
COLUMNS = {
    "risk.evaluated": ("opportunityId", "riskScore", "categoryScores", "topDrivers", "dataQuality", "evaluationId"),
    "ml.prediction.completed": ("opportunityId", "modelId", "featureVector", "prediction"),
    "recommendation.feedback.received": ("recommendationId", "opportunityId", "action", "comment"),
}
JSON_COLUMNS = frozenset({"categoryScores", "topDrivers", "dataQuality", "featureVector"})
RUN_FIELDS = ("job", "trigger", "status")
