"""Cosmos documents against the emulator, and over a wire that breaks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from consumers import usage
from consumers.sinks import Documents
from consumers.sinks.cosmos import CosmosDocuments
from consumers.verdicts import Later, Never, Reject, Retry
from tests.samples import sample
from tests.sinks.conftest import DocumentAccount
from tests.sinks.contract import USAGE, DocumentContract, content, fresh, tell
from tests.sinks.contract import usage as a_document
from tests.sinks.wire import Answer, Lost, Silence, Wire, wired
from tools import servers

pytestmark = [pytest.mark.servers, pytest.mark.slow]


@pytest.fixture
def wire(cosmos: DocumentAccount) -> Iterator[Wire]:
    with wired(cosmos.endpoint) as wire:
        yield wire


@pytest.fixture
def over_wire(cosmos: DocumentAccount, wire: Wire) -> Callable[[], Documents]:
    return lambda: CosmosDocuments(wire.url, cosmos.key, cosmos.database)


class TestCosmosDocuments(DocumentContract):
    @pytest.fixture
    def make(self, cosmos: DocumentAccount) -> Callable[[], Documents]:
        return lambda: CosmosDocuments(*cosmos)


def refused(make: Callable[[], Documents], before: Callable[[], None]) -> Retry:
    """The verdict on one create after a good one, which has to fail within the time that an operation may take."""
    verdicts: list[Retry] = []

    async def story(documents: Documents) -> None:
        await documents.create(USAGE, a_document())
        before()
        began = time.monotonic()
        with pytest.raises(Retry) as failed:
            await documents.create(USAGE, a_document())
        assert time.monotonic() - began < 12
        verdicts.append(failed.value)

    tell(make, story)
    return verdicts[0]


def test_fault_04_an_event_costs_one_request_by_one_client(
    over_wire: Callable[[], Documents], wire: Wire, cosmos: DocumentAccount
) -> None:
    """The account and the container are asked for once per process; then there is one POST per event."""
    run = fresh()

    async def story(documents: Documents) -> None:
        write = usage.handler(documents, USAGE)
        for number in range(20):
            assert await write(sample("llm.inference.completed", id=f"{run}-{number}"))

    tell(over_wire, story)
    posts = [request for request in wire.requests if request.startswith("POST ")]
    others = [request for request in wire.requests if request not in posts]

    assert 20 == len(posts)
    assert 1 == others.count(f"GET /dbs/{cosmos.database}/colls/{USAGE}/")
    assert {"GET /"} == {request for request in others if USAGE not in request}
    assert len(others) <= 3, "the SDK asks for the account when it begins, and once in the background"
    assert wire.connections <= 2


def test_a_lost_answer_leaves_one_document(over_wire: Callable[[], Documents], wire: Wire) -> None:
    """The second try finds the document of the first."""
    document = a_document()

    async def story(documents: Documents) -> None:
        await documents.create(USAGE, a_document())
        wire.faults.append(Lost())
        assert not await documents.create(USAGE, document)
        assert document == await content(documents, document)

    tell(over_wire, story)


def test_a_replace_whose_answer_is_lost_has_not_lost(over_wire: Callable[[], Documents], wire: Wire) -> None:
    """Who holds a lease must not be told that somebody else took it, when it was an own write."""
    document = a_document()

    async def story(documents: Documents) -> None:
        await documents.create(USAGE, document)
        stored = await documents.read(USAGE, "tenant", str(document["id"]))
        assert stored
        wire.faults.append(Lost())
        tag = await documents.replace(USAGE, {**document, "inferenceMs": 1}, stored.etag)
        found = await documents.read(USAGE, "tenant", str(document["id"]))
        assert ({**document, "inferenceMs": 1}, tag) == found

    tell(over_wire, story)


def test_a_store_that_is_away_is_unavailable_until_it_is_back(cosmos: DocumentAccount) -> None:
    """Also when it was away from the start: the next operation tries to connect anew."""
    (port,) = servers.free_ports(1)

    async def story(documents: Documents) -> None:
        for _ in range(2):
            with pytest.raises(Retry) as away:
                await documents.create(USAGE, a_document())
            assert Later.SINK_UNAVAILABLE == away.value.reason
            assert "127.0.0.1 does not answer" in away.value.detail
        with wired(cosmos.endpoint, port):
            assert await documents.create(USAGE, a_document())

    tell(lambda: CosmosDocuments(f"http://127.0.0.1:{port}", cosmos.key, cosmos.database), story)


def test_a_store_that_is_silent_is_unavailable(over_wire: Callable[[], Documents], wire: Wire) -> None:
    """A connection that hangs does not hold the event for ever."""
    verdict = refused(over_wire, lambda: setattr(wire, "always", Silence()))

    assert Later.SINK_UNAVAILABLE == verdict.reason
    assert "127.0.0.1 did not answer within 10 s" == verdict.detail


def test_a_store_that_fails_is_unavailable(over_wire: Callable[[], Documents], wire: Wire) -> None:
    """An error of the service is not an error of the event."""
    verdict = refused(over_wire, lambda: setattr(wire, "always", Answer(503, '{"message": "later"}')))

    assert Later.SINK_UNAVAILABLE == verdict.reason


@pytest.mark.parametrize("status", [408, 410, 449, 500, 503])
def test_a_short_trouble_is_not_even_noticed(over_wire: Callable[[], Documents], wire: Wire, status: int) -> None:
    """Two bad answers are followed by a third try, of a read as of each kind of write."""
    document = a_document()

    async def story(documents: Documents) -> None:
        for number, call in enumerate((documents.create, documents.upsert)):
            wire.faults.extend([Answer(status, "{}")] * 2)
            await call(USAGE, {**document, "id": f"{document['id']}-{number}"})
        await documents.create(USAGE, document)
        wire.faults.extend([Answer(status, "{}")] * 2)
        stored = await documents.read(USAGE, "tenant", str(document["id"]))
        assert stored
        wire.faults.extend([Answer(status, "{}")] * 2)
        await documents.replace(USAGE, {**document, "inferenceMs": 1}, stored.etag)
        assert {**document, "inferenceMs": 1} == await content(documents, document)

    tell(over_wire, story)


def test_a_store_with_too_much_to_do_throttles(over_wire: Callable[[], Documents], wire: Wire) -> None:
    """Waited for as long as the deadline allows, then left to the broker."""
    verdict = refused(over_wire, lambda: setattr(wire, "always", Answer(429, '{"message": "slower"}')))

    assert Later.SINK_THROTTLED == verdict.reason
    assert f"container {USAGE!r} asks for fewer requests" in verdict.detail
    assert len(wire.requests) > 4


def test_a_document_that_the_store_finds_too_large_is_refused_for_ever(
    over_wire: Callable[[], Documents], wire: Wire
) -> None:
    """No later try would make it smaller: it becomes a dead letter at once, with its reason."""

    async def story(documents: Documents) -> None:
        await documents.create(USAGE, a_document())
        wire.always = Answer(413, '{"message": "request size is too large"}')
        with pytest.raises(Reject, match="takes no document of this size") as refusal:
            await documents.create(USAGE, a_document())
        assert Never.TOO_LARGE == refusal.value.reason

    tell(over_wire, story)


def test_a_refused_key_is_named(over_wire: Callable[[], Documents], wire: Wire, cosmos: DocumentAccount) -> None:
    """The message says which host refuses, and never shows the key."""
    verdict = refused(over_wire, lambda: setattr(wire, "always", Answer(401, '{"message": "wrong signature"}')))

    assert Later.SINK_REFUSED == verdict.reason
    assert verdict.detail.startswith(f"127.0.0.1 refuses a request for container {USAGE!r} (401: ")
    assert cosmos.key not in str(verdict)
