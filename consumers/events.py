"""From bytes to an event: decoded once, `data` left as it came, and everything wrong with it said in one refusal."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import cache
from itertools import accumulate
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Raw, Struct, ValidationError
from msgspec.structs import fields

from consumers.verdicts import Never, Reject

MAX_BODY = 1024 * 1024  # bytes
MAX_DEPTH = 100  # levels; what nests deeper may be readable here, and no longer where it is written or read again
SHOWN = 60  # characters of a wrong value

# Never looks back: one that ends nowhere is taken to the end, else each quote in it would be tried to the end again.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_NO_BRACKETS = bytes(set(range(256)) - _STEPS.keys())

_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|\+00:00)")
_NOT_BLANK = r"matching regex '\\S'"  # how the decoder says it

Text = Annotated[str, Meta(pattern=r"\S")]
# Cosmos takes partition keys of 2,048 bytes, and a character has four at most.
Tenant = Annotated[str, Meta(pattern=r"\S", max_length=512)]
Shape = TypeVar("Shape", bound=Struct)

# The fields of a JSON object, each as the bytes that were sent.
raws_of = msgspec.json.Decoder(dict[str, Raw]).decode


class Event(Struct, frozen=True):
    """One event. `timestamp` is in UTC, `timestamp_text` as sent; `data` holds the bytes of a JSON object, as sent.

    `body_hash` is the sha256 of the whole body, in hex: two events with one id and different hashes are in conflict.
    """

    id: str
    type: str
    version: str
    timestamp: datetime
    timestamp_text: str
    tenant: str
    source: str
    data: Raw
    body_hash: str
    correlation_id: str | None = None
    user_id: str | None = None


class _Moment:
    """A time and how it was written."""

    __slots__ = ("text", "time")

    def __init__(self, text: Any) -> None:
        if not isinstance(text, str) or not _TIME.fullmatch(text):
            raise ValueError("expected a time in UTC such as 2026-03-14T09:30:00Z")
        self.text, self.time = text, datetime.fromisoformat(text)


class _Metadata(Struct):
    correlationId: str | None = None  # noqa: N815 - the producers' name, as in the next
    userId: str | None = None  # noqa: N815


class _Envelope(Struct):
    """In the order in which faults are reported; the first one gives the reason."""

    id: Text
    type: Text
    tenantId: Tenant  # noqa: N815
    timestamp: _Moment
    version: str
    source: str
    data: Raw
    metadata: _Metadata | None = None


class _Strict(_Envelope):
    """The same for looking closer: `Raw` takes any JSON, but `data` has to be an object."""

    data: dict[str, Raw]  # type: ignore[assignment]


def decode(body: bytes) -> Event:
    """The event in a message body. Raises Reject; when several fields are wrong, its detail names them all."""
    if len(body) > MAX_BODY:
        raise Reject(Never.TOO_LARGE, f"the body has {len(body):,} bytes, at most {MAX_BODY:,} are taken")
    if (depth := depth_of(body)) > MAX_DEPTH:
        raise Reject(Never.UNDECODABLE, f"the body nests {depth:,} levels deep, at most {MAX_DEPTH} are taken")
    try:
        body.decode()  # what `Raw` skips is otherwise not checked
        envelope = _decoder(_Envelope)(body)
        if memoryview(envelope.data)[0] != ord("{"):
            raise _refusal(body, "data is no object")
    except ValidationError as error:
        raise _refusal(body, str(error)) from None
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError) as error:
        raise _unreadable(body, error) from None
    metadata = envelope.metadata or _Metadata()
    return Event(
        id=envelope.id,
        type=envelope.type,
        version=envelope.version,
        timestamp=envelope.timestamp.time,
        timestamp_text=envelope.timestamp.text,
        tenant=envelope.tenantId,
        source=envelope.source,
        data=envelope.data,
        body_hash=hashlib.sha256(body).hexdigest(),
        correlation_id=metadata.correlationId,
        user_id=metadata.userId,
    )


def depth_of(body: bytes) -> int:
    """The most levels of arrays and objects that are open at once; exact where there could be too many."""
    openings = body.count(b"[") + body.count(b"{")
    if openings <= MAX_DEPTH:
        return openings
    brackets = _STRING.sub(b"", body).translate(None, delete=_NO_BRACKETS)
    return max(accumulate(map(_STEPS.__getitem__, brackets)), default=0)


def data_as(event: Event, shape: type[Shape]) -> Shape:
    """`data` in a shape; fields that the shape does not name are left out.

    Raises Reject(WRONG_TYPE), whose detail names every field that is missing or wrong.
    """
    try:
        fitting: Shape = _decoder(shape)(event.data)
    except (msgspec.DecodeError, RecursionError) as error:
        wrong = [sentence for _, sentence in _wrong(raws_of(event.data), shape)]
        twice = f"data is {shortened(bytes(event.data).decode())} and has a field twice, not the same: {error}"
        raise Reject(Never.WRONG_TYPE, "; ".join(wrong) or twice) from None
    return fitting


def _refusal(body: bytes, why: str) -> Reject:
    """Why an envelope is refused; the slow way, taken only when something is wrong.

    Of a field that is there twice the last one is looked at; where that one is right, `why` is all there is to say.
    """
    try:
        raws = raws_of(body)
    except (msgspec.DecodeError, RecursionError) as error:
        return _unreadable(body, error)
    wrong = list(_wrong(raws, _Strict))
    if not wrong:
        return Reject(Never.WRONG_TYPE, f"{_shown(body)} and has a field twice, not the same: {why}")
    return Reject(_reason(wrong[0][0], raws), "; ".join(sentence for _, sentence in wrong))


def _unreadable(body: bytes, error: Exception) -> Reject:
    return Reject(Never.UNDECODABLE, f"{_shown(body)}: {error}")


def _shown(body: bytes) -> str:
    """The body as a person may read it; a dead letter has all of it."""
    return f"the body is {shortened(repr(body[:SHOWN])[1:])}"


def _reason(field: str, raws: Mapping[str, Raw]) -> Never:
    if field == "timestamp":
        return Never.BAD_TIMESTAMP
    try:
        value = msgspec.json.decode(raws[field]) if field in raws else None
    except msgspec.DecodeError:  # it is there: a number too large for any type, which nothing has looked at so far
        return Never.WRONG_TYPE
    if value is None or (isinstance(value, str) and not value.strip()):
        return {"id": Never.NO_ID, "type": Never.NO_TYPE, "tenantId": Never.NO_TENANT}.get(field, Never.WRONG_TYPE)
    return Never.WRONG_TYPE


def _wrong(raws: Mapping[str, Raw], shape: type[Struct]) -> Iterator[tuple[str, str]]:
    """Each field of a JSON object that does not fit the shape, with a sentence about it."""
    for field in fields(shape):
        name = field.encode_name
        if name not in raws:
            if field.required:
                yield name, f"{name} is missing"
            continue
        try:
            msgspec.json.decode(raws[name], type=field.type, dec_hook=_own_type)
        except (msgspec.DecodeError, RecursionError) as error:
            expected = str(error).replace(_NOT_BLANK, "that is not blank")
            yield name, f"{name} is {shortened(bytes(raws[name]).decode())}: {expected[0].lower()}{expected[1:]}"


def shortened(text: str) -> str:
    """As much of a value as a person needs."""
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


def _own_type(kind: type, value: Any) -> Any:
    """Make the types that are not JSON's own."""
    return kind(value)


@cache
def _decoder(shape: type[Shape]) -> Callable[[bytes | Raw], Shape]:
    decode: Callable[[bytes | Raw], Shape] = msgspec.json.Decoder(shape, dec_hook=_own_type).decode
    return decode
