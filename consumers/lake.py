"""The data lake: one event, one row, one Parquet blob, with the columns that the lake's readers know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import Meta, Struct, inspect

from consumers import paths
from consumers.events import Event, data_as, raws_of, shortened
from consumers.sinks import Blobs
from consumers.verdicts import Later, Retry

if TYPE_CHECKING:
    from consumers.judgement import Handler

Share = Annotated[float, Meta(ge=0, le=1)]


class Driver(Struct):
    """How much a feature moved a score."""

    feature: str
    contribution: float


class RiskEvaluated(Struct, rename="camel"):
    opportunity_id: str
    risk_score: Share
    category_scores: dict[str, Share]
    top_drivers: list[Driver] | None = None
    data_quality: dict[str, Any] | None = None
    evaluation_id: str | None = None


class PredictionCompleted(Struct, rename="camel"):
    model_id: str
    opportunity_id: str | None = None
    feature_vector: dict[str, Any] | None = None
    prediction: float | None = None


class FeedbackReceived(Struct, rename="camel"):
    recommendation_id: str
    action: str
    opportunity_id: str | None = None
    comment: str | None = None


class Table(NamedTuple):
    """One folder of the lake; `columns` has the Arrow types, `documents` the columns that hold JSON."""

    folder: str
    shape: type[Struct]
    columns: pa.StructType
    documents: frozenset[str]


_ARROW = {inspect.StrType: pa.string(), inspect.FloatType: pa.float64()}


def _table(folder: str, shape: type[Struct]) -> Table:
    """The columns of a shape: text and numbers as they are, everything else as a JSON string."""
    kinds = [(field, _kind(field.type)) for field in msgspec.structs.fields(shape)]
    always = [pa.field(name, pa.string(), nullable=False) for name in ("tenantId", "timestamp")]
    columns = [
        pa.field(field.encode_name, _ARROW.get(kind, pa.string()), nullable=not field.required) for field, kind in kinds
    ]
    documents = frozenset(field.encode_name for field, kind in kinds if kind not in _ARROW)
    return Table(folder, shape, pa.struct([*always, *columns]), documents)


def _kind(annotation: Any) -> type[inspect.Type]:
    """What a field holds when it is there."""
    found = inspect.type_info(annotation)
    members = found.types if isinstance(found, inspect.UnionType) else (found,)
    return next(type(member) for member in members if not isinstance(member, inspect.NoneType))


TABLES = {
    "risk.evaluated": _table("risk_evaluations", RiskEvaluated),
    "ml.prediction.completed": _table("ml_inference_logs", PredictionCompleted),
    "recommendation.feedback.received": _table("feedback", FeedbackReceived),
}


def row(event: Event, table: Table) -> dict[str, Any]:
    """Column -> value; JSON columns hold the text as it was sent. Raises Reject(WRONG_TYPE) naming every fault."""
    data, raws = data_as(event, table.shape), raws_of(event.data)
    values: dict[str, Any] = {"tenantId": event.tenant, "timestamp": event.timestamp_text}
    for attribute, name in zip(table.shape.__struct_fields__, table.shape.__struct_encode_fields__, strict=True):
        value = getattr(data, attribute)
        values[name] = bytes(raws[name]).decode() if name in table.documents and value is not None else value
    return values


def encode(values: dict[str, Any], table: Table) -> bytes:
    """A Parquet file of one row, without what only pays for many: dictionaries, statistics, compression.

    By way of a struct array: the cheapest of the ways to build the row that were measured.
    """
    file = pa.BufferOutputStream()
    pq.write_table(
        pa.Table.from_struct_array(pa.array([values], table.columns)),
        file,
        use_dictionary=False,
        write_statistics=False,
        compression="NONE",
        store_schema=False,
    )
    written: bytes = file.getvalue().to_pybytes()
    return written


def path_of(event: Event, table: Table) -> str:
    return paths.blob(table.folder, event.type, event.id, event.timestamp_text, "parquet")


def handler(blobs: Blobs) -> Handler:
    """Write one event as one blob, whose path follows from the event's own id and date: a redelivery changes nothing.

    Raises Reject(WRONG_TYPE) naming the fields, Retry(UNKNOWN_TYPE) for an event without a table.
    """

    async def write_row(event: Event) -> bool:
        table = TABLES.get(event.type)
        if table is None:
            known = ", ".join(TABLES)
            raise Retry(Later.UNKNOWN_TYPE, f"{shortened(event.type)!r} has no table: the lake knows {known}")
        return await blobs.create(path_of(event, table), encode(row(event, table), table), event.body_hash)

    return write_row
