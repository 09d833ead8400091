"""From bytes to an event: what is taken, and how each thing that is wrong is told."""

from __future__ import annotations

import hashlib
import itertools
import json
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Struct

from consumers.events import MAX_BODY, data_as, decode
from consumers.verdicts import Never, Reject
from tests import samples
from tests.samples import body_of, envelope, sample

KEY = "risk.evaluated"


def refusal(body: bytes) -> tuple[Never, str]:
    with pytest.raises(Reject) as refused:
        decode(body)
    return refused.value.reason, refused.value.detail


@pytest.mark.parametrize("key", samples.keys())
def test_every_sample_is_taken(key: str) -> None:
    """Each field arrives as it was sent, and `data` byte by byte."""
    sent, body = envelope(key), body_of(key)

    event = decode(body)

    assert (sent["id"], sent["type"], sent["version"]) == (event.id, event.type, event.version)
    assert (sent["tenantId"], sent["source"], sent["timestamp"]) == (event.tenant, event.source, event.timestamp_text)
    assert json.dumps(sent["data"], ensure_ascii=False).encode() == bytes(event.data)
    assert sent.get("metadata", {}).get("correlationId") == event.correlation_id
    assert sent.get("metadata", {}).get("userId") == event.user_id
    assert hashlib.sha256(body).hexdigest() == event.body_hash


def test_metadata_may_be_absent_or_null() -> None:
    """Older producers send none."""
    assert sample(KEY, metadata=...).correlation_id is None
    assert sample(KEY, metadata=None).correlation_id is None
    assert sample(KEY, metadata={"userId": None, "more": 1}).user_id is None


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-03-14T23:59:58Z", datetime(2026, 3, 14, 23, 59, 58, tzinfo=UTC)),
        ("2026-03-14T23:59:58.25+00:00", datetime(2026, 3, 14, 23, 59, 58, 250_000, tzinfo=UTC)),
        ("2026-03-14T23:59:59.9999999Z", datetime(2026, 3, 14, 23, 59, 59, 999_999, tzinfo=UTC)),
    ],
)
def test_a_time_in_utc_is_taken(text: str, time: datetime) -> None:
    """More digits than a microsecond are cut off, so that a time never slips into the next day."""
    event = sample(KEY, timestamp=text)

    assert (time, text) == (event.timestamp, event.timestamp_text)


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"", "the body is '': Input data was truncated"),
        (b'{"id": "a", ', 'the body is \'{"id": "a", \': Input data was truncated'),
        (b"not json", "the body is 'not json': JSON is malformed: invalid character (byte 4)"),
        (b"[]", "the body is '[]': Expected `object`, got `array`"),
        (b'"text"', "the body is '\"text\"': Expected `object`, got `str`"),
        (
            b'{"id": 42, "data": {"a": NaN}}',
            'the body is \'{"id": 42, "data": {"a": NaN}}\': JSON is malformed: invalid character (byte 25)',
        ),
        (
            b'{"id": "\xff"}',
            "the body is '{\"id\": \"\\xff\"}': 'utf-8' codec can't decode byte 0xff in position 8: invalid start byte",
        ),
        (
            b'["\xc3"]',
            "the body is '[\"\\xc3\"]': 'utf-8' codec can't decode byte 0xc3 in position 2: invalid continuation byte",
        ),
        (
            b'{"id": "a"} trailing',
            'the body is \'{"id": "a"} trailing\': JSON is malformed: trailing characters (byte 13)',
        ),
        (b"x" * 1000, f"the body is '{'x' * 58}…: JSON is malformed: invalid character (byte 0)"),
        (b'{"data": ' + b"[" * 5000, "the body nests 5,001 levels deep, at most 100 are taken"),
    ],
    ids=["empty", "truncated", "text", "array", "string", "nan", "utf-8 id", "utf-8 data", "trailing", "long", "deep"],
)
def test_what_is_no_json_object_is_undecodable(body: bytes, detail: str) -> None:
    """The refusal shows how the body begins, and says at which byte it is wrong."""
    assert (Never.UNDECODABLE, detail) == refusal(body)


def test_nan_and_bad_utf_8_are_found_where_nothing_looks() -> None:
    """`data` is passed on unread, so what it holds is checked all the same."""
    body = body_of(KEY, data={"a": "mark"})

    assert Never.UNDECODABLE == refusal(body.replace(b'"mark"', b"NaN"))[0]
    assert Never.UNDECODABLE == refusal(body.replace(b"mark", b"m\xffrk"))[0]


def test_a_body_may_be_as_large_as_the_limit_and_no_larger() -> None:
    """The limit is a MiB."""
    room = MAX_BODY - len(body_of(KEY, data={"a": ""}))

    assert MAX_BODY == len(body_of(KEY, data={"a": "x" * room}))
    assert decode(body_of(KEY, data={"a": "x" * room}))
    assert (Never.TOO_LARGE, "the body has 1,048,577 bytes, at most 1,048,576 are taken") == refusal(
        body_of(KEY, data={"a": "x" * (room + 1)})
    )


@pytest.mark.parametrize(
    ("field", "value", "reason", "detail"),
    [
        ("id", ..., Never.NO_ID, "id is missing"),
        ("id", None, Never.NO_ID, "id is null: expected `str`, got `null`"),
        ("id", "", Never.NO_ID, 'id is "": expected `str` that is not blank'),
        ("id", " \t", Never.NO_ID, r'id is " \t": expected `str` that is not blank'),
        ("id", 42, Never.WRONG_TYPE, "id is 42: expected `str`, got `int`"),
        ("type", ..., Never.NO_TYPE, "type is missing"),
        ("type", "", Never.NO_TYPE, 'type is "": expected `str` that is not blank'),
        ("type", ["x"], Never.WRONG_TYPE, 'type is ["x"]: expected `str`, got `array`'),
        ("tenantId", ..., Never.NO_TENANT, "tenantId is missing"),
        ("tenantId", None, Never.NO_TENANT, "tenantId is null: expected `str`, got `null`"),
        ("tenantId", "", Never.NO_TENANT, 'tenantId is "": expected `str` that is not blank'),
        ("tenantId", "t" * 513, Never.WRONG_TYPE, f'tenantId is "{"t" * 58}…: expected `str` of length <= 512'),
        ("timestamp", ..., Never.BAD_TIMESTAMP, "timestamp is missing"),
        (
            "timestamp",
            "yesterday",
            Never.BAD_TIMESTAMP,
            'timestamp is "yesterday": expected a time in UTC such as 2026-03-14T09:30:00Z',
        ),
        (
            "timestamp",
            1_773_532_800,
            Never.BAD_TIMESTAMP,
            "timestamp is 1773532800: expected a time in UTC such as 2026-03-14T09:30:00Z",
        ),
        (
            "timestamp",
            "2026-03-14T09:30:00+02:00",
            Never.BAD_TIMESTAMP,
            'timestamp is "2026-03-14T09:30:00+02:00": expected a time in UTC such as 2026-03-14T09:30:00Z',
        ),
        (
            "timestamp",
            "2026-03-14T09:30:00",
            Never.BAD_TIMESTAMP,
            'timestamp is "2026-03-14T09:30:00": expected a time in UTC such as 2026-03-14T09:30:00Z',
        ),
        (
            "timestamp",
            "2026-02-30T09:30:00Z",
            Never.BAD_TIMESTAMP,
            'timestamp is "2026-02-30T09:30:00Z": day is out of range for month',
        ),
        ("version", 1, Never.WRONG_TYPE, "version is 1: expected `str`, got `int`"),
        ("source", ..., Never.WRONG_TYPE, "source is missing"),
        ("data", ..., Never.WRONG_TYPE, "data is missing"),
        ("data", [1], Never.WRONG_TYPE, "data is [1]: expected `object`, got `array`"),
        ("data", None, Never.WRONG_TYPE, "data is null: expected `object`, got `null`"),
        ("data", "x" * 100, Never.WRONG_TYPE, f'data is "{"x" * 58}…: expected `object`, got `str`'),
        (
            "metadata",
            {"userId": 3},
            Never.WRONG_TYPE,
            'metadata is {"userId": 3}: expected `str | null`, got `int` - at `$.userId`',
        ),
    ],
)  # fmt: skip
def test_a_wrong_field_is_named_with_its_value(field: str, value: object, reason: Never, detail: str) -> None:
    """One sentence says field, value and what was expected."""
    assert (reason, detail) == refusal(body_of(KEY, **{field: value}))


@pytest.mark.parametrize(
    ("field", "number"),
    [
        *itertools.product(["id", "type", "tenantId", "version", "source", "data", "metadata"], ["1e999", "[1e999]"]),
        ("metadata", '{"userId": 1e999}'),
    ],
)
def test_a_number_that_no_type_holds_is_refused(field: str, number: str) -> None:
    """It is JSON all the same, so the refusal is of the field."""
    reason, detail = refusal(body_of(KEY, **{field: "here"}).replace(b'"here"', number.encode()))

    assert Never.WRONG_TYPE == reason
    assert detail.startswith(f"{field} is {number}: ")


@pytest.mark.parametrize(("field", "first"), [("id", 1), ("timestamp", "yesterday"), ("tenantId", "")])
def test_a_field_that_is_there_twice_is_refused(field: str, first: object) -> None:
    """A wrong one before a right one: readers do not agree on which of them counts."""
    body = b"{" + f'"{field}": {json.dumps(first)}, '.encode() + body_of("risk.evaluated").lstrip(b"{")

    reason, detail = refusal(body)

    assert Never.WRONG_TYPE == reason
    assert detail.startswith(f'the body is \'{{"{field}": {json.dumps(first)}, ')
    assert "a field twice, not the same: " in detail


def test_all_that_is_wrong_is_told_at_once() -> None:
    """The first fault gives the reason, the detail has them all."""
    reason, detail = refusal(body_of(KEY, id=..., tenantId=None, timestamp="yesterday", data=[]))

    assert Never.NO_ID == reason
    assert ["id is missing", "tenantId is null", "timestamp is", "data is []"] == [
        sentence[: len(start)]
        for sentence, start in zip(
            detail.split("; "), ["id is missing", "tenantId is null", "timestamp is", "data is []"], strict=True
        )
    ]


def test_fault_08_an_event_without_tenant_is_refused_aloud() -> None:
    """It used to be skipped in silence; now it has a reason that is counted and a dead letter that a person sees."""
    for nothing in (..., None, "", "  "):
        reason, detail = refusal(body_of(KEY, tenantId=nothing))
        assert Never.NO_TENANT == reason
        assert detail.startswith("tenantId is ")


class Measured(Struct):
    """A shape as a handler has it."""

    name: str
    value: float
    tags: list[str] | None = None


def test_data_is_read_in_a_shape() -> None:
    """Fields that the shape does not know are left out; whole numbers are numbers."""
    event = sample(KEY, data={"name": "a", "value": 3, "unknown": {}})

    assert Measured("a", 3.0) == data_as(event, Measured)


def test_all_that_is_wrong_in_data_is_told_at_once() -> None:
    """Missing, of another type, too large for a double, and wrong deep inside."""
    event = decode(body_of(KEY, data={"value": "mark", "tags": ["a", 1]}).replace(b'"mark"', b"1e999"))

    with pytest.raises(Reject) as refused:
        data_as(event, Measured)

    assert Never.WRONG_TYPE == refused.value.reason
    assert (
        'name is missing; value is 1e999: number out of range; tags is ["a", 1]: expected `str`, got `int` - at `$[1]`'
    ) == refused.value.detail


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


def fate(body: bytes) -> str:
    """What becomes of a body: "" when it is taken, else the detail of its refusal."""
    try:
        decode(body)
    except Reject as refused:
        return refused.detail
    return ""


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from([*envelope(KEY), "more"]), JSON))
def test_whatever_comes_is_taken_or_refused_by_name(fields: dict[str, object]) -> None:
    """No input makes it fail in another way, and a refusal of a field names one that was changed."""
    detail = fate(json.dumps({**envelope(KEY), **fields}).encode())

    assert detail == "" or detail.startswith(("the body is ", *(f"{name} is " for name in fields)))


@given(st.binary(max_size=200))
def test_any_bytes_are_taken_or_refused(body: bytes) -> None:
    """Garbage is refused, never raised."""
    assert fate(body)
