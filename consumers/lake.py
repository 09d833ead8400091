"""The data lake: one event, one row, one Parquet blob, with the columns that the lake's readers know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import Meta, Raw, Struct, inspect

from consumers import paths
from consumers.events import Event, data_as
from consumers.sinks import Blobs
from consumers.verdicts import Later, Retry

if TYPE_CHECKING:
    from consumers.worker import Handler

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


def _table(folder: str, shape: type[Struct]) -> Table:
    """The columns of a shape: text and numbers as they are, everything else as a JSON string."""
    columns = [pa.field("tenantId", pa.string(), nullable=False), pa.field("timestamp", pa.string(), nullable=False)]
    documents = set()
    for field in msgspec.structs.fields(shape):
        kind = inspect.type_info(field.type)
        kinds = [one for one in getattr(kind, "types", [kind]) if not isinstance(one, inspect.NoneType)]
        number = isinstance(kinds[0], inspect.FloatType)
        if not isinstance(kinds[0], inspect.FloatType | inspect.StrType):
            documents.add(field.encode_name)
        columns.append(
            pa.field(field.encode_name, pa.float64() if number else pa.string(), nullable=not field.required)
        )
    return Table(folder, shape, pa.struct(columns), frozenset(documents))


TABLES = {
    "risk.evaluated": _table("risk_evaluations", RiskEvaluated),
    "ml.prediction.completed": _table("ml_inference_logs", PredictionCompleted),
    "recommendation.feedback.received": _table("feedback", FeedbackReceived),
}

_raws = msgspec.json.Decoder(dict[str, Raw]).decode


def row(event: Event, table: Table) -> dict[str, Any]:
    """Column -> value; JSON columns hold the text as it was sent. Raises Reject(WRONG_TYPE) naming every fault."""
    data, raws = data_as(event, table.shape), _raws(event.data)
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
            raise Retry(Later.UNKNOWN_TYPE, f"{event.type!r} has no table: the lake knows {', '.join(TABLES)}")
        return await blobs.create(path_of(event, table), encode(row(event, table), table), event.body_hash)

    return write_row
