"""Whatever comes as an event or an id: refused by name or taken, and at one place that is its own."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pika.compat import long
from pika.spec import BasicProperties

from consumers import audit, dead, paths, usage
from consumers.delivery import Delivery
from consumers.events import MAX_BODY, MAX_DEPTH, decode
from consumers.verdicts import Never, Reject
from tests import samples
from tests.memory_broker import MemoryBroker, MemoryChannel
from tests.samples import body_of, envelope

SUFFIX = "json"
DAY = "2026-03-14T09:30:00Z"
ESCAPED = re.compile(r"=([0-9a-f]{2})")
HASHED = "=="

settings.register_profile("fuzz", max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
fuzz = settings(settings.get_profile("fuzz"))

tricks = st.sampled_from(
    ["../", "..\\", "%2e%2e%2f", "%2F", "/", "\\", "\0", ".", "..", "...", "?", "#", "=2e", "==", "=", "-", "~", "CON",
     "A", "a", "ß", "SS", "ı", "I", "K", "K", "ſ", "é", "e\u0301", "\ud800", "\u202e", " "]
)  # fmt: skip
ids = st.lists(tricks | st.text(max_size=8), min_size=1, max_size=8).map("".join).filter(bool)
long_ids = st.builds(
    lambda start, middle, count: start + middle * count, ids, st.sampled_from("aA/é"), st.integers(0, 1500)
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
keys = st.sampled_from(samples.keys())


@fuzz
@given(count=json_values | st.integers().map(long))
@example(long(3))
def test_a_count_of_deliveries_that_no_broker_wrote_counts_for_none(count: Any) -> None:
    """A producer may send a header of that name, which must not end a connection; a broker's count is a `long`."""
    sent, channel = BasicProperties(headers={"x-delivery-count": count}), MemoryChannel(MemoryBroker("4.3"))
    charged = Delivery(channel, 1, "risk.evaluated", sent, b"", came=0.0).charged  # type: ignore[arg-type]

    assert charged == (count if isinstance(count, int) and count > 0 and count is not True else 0)


@st.composite
def spoilt(draw: st.DrawFn) -> bytes:
    """A sample with fields replaced or taken away, or bytes of it cut, doubled, flipped, or swapped for garbage."""
    key = draw(keys)
    fields = draw(st.dictionaries(st.sampled_from(list(envelope(key))), json_values | st.just(...), max_size=3))
    body = bytearray(body_of(key, **fields) if _encodable(fields) else body_of(key))
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(body)))
        body[place : place + draw(st.integers(0, 4))] = draw(st.binary(max_size=4))
    return bytes(body)


def _encodable(fields: dict[str, Any]) -> bool:
    try:
        json.dumps(fields, ensure_ascii=False, default=lambda _: None).encode()
    except UnicodeEncodeError:
        return False
    return True


def fate(body: bytes) -> tuple[Never, str] | None:
    """None for an event that is taken."""
    try:
        decode(body)
    except Reject as refused:
        return refused.reason, refused.detail
    return None


@fuzz
@given(spoilt() | st.binary(max_size=400))
def test_every_body_is_taken_or_refused_with_a_reason(body: bytes) -> None:
    """Nothing else is ever raised, and a refusal says something."""
    refused = fate(body)

    assert refused is None or (isinstance(refused[0], Never) and refused[1])


@fuzz
@given(spoilt() | st.binary(max_size=400))
@example(b'{"id": "\xff"}')
def test_whatever_is_refused_can_be_buried(body: bytes) -> None:
    """A dead letter has an id that AMQP can carry, whatever its body is: a refusal that fails is an event for ever."""
    assert 0 < len(dead.identity(body).encode()) <= dead.LONGEST_ID


@fuzz
@given(spoilt())
def test_what_is_taken_is_json_in_utf_8_with_all_that_a_sink_needs(body: bytes) -> None:
    """A second reader, the standard library's, agrees with what the first one took."""
    if fate(body) is None:
        event, read = decode(body), json.loads(body.decode(), parse_constant=pytest.fail)
        names = (event.id, event.type, event.tenant, event.timestamp_text)
        assert (read["id"], read["type"], read["tenantId"], read["timestamp"]) == names
        assert all(name.strip() for name in names)
        assert isinstance(read["data"], dict)


@fuzz
@given(st.integers(0, 40), st.sampled_from([b"[", b'{"a":', b'[{"a":[']))
def test_depth_is_refused_and_never_a_crash(thousands: int, opening: bytes) -> None:
    """Forty thousand levels and a megabyte of brackets are undecodable or too large, nothing worse."""
    body = body_of("risk.evaluated", data={"deep": "mark"}).replace(b'"mark"', opening * (1000 * thousands + 5000))

    assert (Never.TOO_LARGE if len(body) > MAX_BODY else Never.UNDECODABLE) == (fate(body) or (None,))[0]


@fuzz
@given(st.integers(1, 2000), st.sampled_from([("[", "]"), ('{"a":', "}")]), st.sampled_from(["[", "]", '{\\"', "\\\\"]))
def test_depth_that_is_closed_again_is_taken_up_to_a_limit(levels: int, pair: tuple[str, str], text: str) -> None:
    """Counted as a parser counts: brackets in texts are none, and what was closed is not open."""
    opening, closing = (sign * levels for sign in pair)
    data = f'{{"deep": {opening}"{text * 200}"{closing}, "wide": [{",".join(["[]"] * 200)}]}}'
    body = body_of("risk.evaluated", data="mark").replace(b'"mark"', data.encode())

    assert (Never.UNDECODABLE if 2 + levels > MAX_DEPTH else None) == (fate(body) or (None,))[0]


@pytest.mark.timeout(10)
@pytest.mark.parametrize("tail", [b"", b"\\"], ids=["open", "open, half an escape"])
def test_a_text_that_ends_nowhere_costs_no_more_than_another(tail: bytes) -> None:
    """Half a million quotes in it would keep a consumer busy for days if each were tried anew."""
    body = b"[" * (MAX_DEPTH + 1) + b'"' + b'\\"' * 500_000 + tail

    assert Never.UNDECODABLE == (fate(body) or (None,))[0]


@fuzz
@given(ids | long_ids)
def test_an_id_comes_back_from_its_name(identity: str) -> None:
    """Unescaped, a name gives its id again; one that was too long shows its beginning."""
    name = paths.document(identity)

    encoded, _, digest = name.partition(HASHED)
    raw = ESCAPED.sub(lambda found: chr(int(found[1], 16)), encoded).encode("latin-1")
    if digest:
        assert identity.encode(errors="surrogatepass").startswith(raw[:20])
    else:
        assert identity == raw.decode(errors="surrogatepass")


@fuzz
@given(keys, ids | long_ids)
def test_no_id_leaves_the_prefix_of_its_day(key: str, identity: str) -> None:
    """Not as it is, not unquoted once or twice by a proxy, not on a system whose separator is a backslash."""
    prefix = paths.day("ml_audit", DAY)

    path = paths.blob("ml_audit", key, identity, DAY, SUFFIX)

    assert path.startswith(f"{prefix}/{key}-")
    assert path.endswith(f".{SUFFIX}")
    assert prefix.count("/") + 1 == path.count("/")
    assert not set(path) & set("\\%?#\0 ")
    assert ".." not in (part for part in path.split("/"))


@fuzz
@given(st.lists(ids | long_ids, min_size=2, max_size=12, unique=True))
def test_no_two_ids_share_a_path_where_case_does_not_count(identities: list[str]) -> None:
    """As many names as ids, on a store that folds case as Unicode does."""
    for name in (paths.document, lambda identity: paths.blob("f", "k", identity, DAY, SUFFIX)):
        assert len(identities) == len({name(identity).casefold() for identity in identities})


@fuzz
@given(keys, ids | long_ids)
def test_an_event_has_the_same_place_however_often_it_is_decoded(key: str, identity: str) -> None:
    """Names follow from the event alone."""
    if not identity.strip() or not _encodable({"id": identity}):
        return  # no such id can come in UTF-8, or it is refused
    body = body_of(key, id=identity)
    assert audit.path_of(decode(body)) == audit.path_of(decode(body))
    if key in usage.KNOWN:
        assert usage.document(decode(body)) == usage.document(decode(body))
