"""Azure blobs against Azurite, and over a wire that breaks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from azure.storage.blob import ContainerSasPermissions, generate_container_sas

from consumers import audit, lake
from consumers.sinks import Blobs
from consumers.sinks.account import at, parse
from consumers.sinks.blob import AzureBlobs
from consumers.verdicts import Later, Never, Reject, Retry
from tests.samples import sample
from tests.sinks.conftest import BlobAccount
from tests.sinks.contract import BlobContract, fresh, tell
from tests.sinks.wire import Answer, Late, Lost, Silence, Wire, wired
from tools import servers

pytestmark = pytest.mark.servers

BUSY = '<?xml version="1.0"?><Error><Code>ServerBusy</Code><Message>wait</Message></Error>'


@pytest.fixture
def wire(azurite: BlobAccount) -> Iterator[Wire]:
    with wired(azurite.host) as wire:
        yield wire


@pytest.fixture
def over_wire(azurite: BlobAccount, wire: Wire) -> Callable[[], Blobs]:
    return lambda: AzureBlobs(parse(azurite.connection_string(wire.url)), azurite.container)


def sas(azurite: BlobAccount, *, write: bool = True) -> str:
    return generate_container_sas(
        azurite.name,
        azurite.container,
        azurite.key,
        permission=ContainerSasPermissions(read=True, write=write, create=write, list=True),
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )


def by_signature(azurite: BlobAccount, signature: str) -> str:
    endpoint = f"{azurite.host}/{azurite.name}"
    return f"BlobEndpoint={endpoint};AccountName={azurite.name};SharedAccessSignature={signature}"


class TestAzureBlobs(BlobContract):
    @pytest.fixture
    def make(self, azurite: BlobAccount) -> Callable[[], Blobs]:
        return lambda: AzureBlobs(parse(azurite.connection_string()), azurite.container)


class TestAzureBlobsBySignature(BlobContract):
    may_delete = False  # by this signature

    @pytest.fixture
    def make(self, azurite: BlobAccount) -> Callable[[], Blobs]:
        return lambda: AzureBlobs(parse(by_signature(azurite, sas(azurite))), azurite.container)


def refused(make: Callable[[], Blobs]) -> Retry:
    """The verdict on one create, which has to fail, within the time that an operation may take."""
    verdicts: list[Retry] = []

    async def story(blobs: Blobs) -> None:
        began = time.monotonic()
        with pytest.raises(Retry) as failed:
            await blobs.create(f"{fresh()}/a.json", b"x", "one")
        assert time.monotonic() - began < 12
        verdicts.append(failed.value)

    tell(make, story)
    return verdicts[0]


def test_a_lost_answer_is_recognised_on_the_next_delivery(over_wire: Callable[[], Blobs], wire: Wire) -> None:
    """The blob was written although nobody heard of it: writing it again changes nothing."""
    path = f"{fresh()}/a.json"

    async def story(blobs: Blobs) -> None:
        wire.always = Lost()
        with pytest.raises(Retry) as lost:
            await blobs.create(path, b"x", "one")
        wire.always = None
        assert Later.SINK_UNAVAILABLE == lost.value.reason
        assert not await blobs.create(path, b"x", "one")

    tell(over_wire, story)


def test_a_write_that_is_answered_too_late_is_made_again(over_wire: Callable[[], Blobs], wire: Wire) -> None:
    """And finds its own blob, which is written now: the event need not be delivered again to hear that."""
    path = f"{fresh()}/a.json"

    async def story(blobs: Blobs) -> None:
        wire.faults.append(Late())
        assert await blobs.create(path, b"x", "one")
        assert not await blobs.create(path, b"x", "one")
        assert ["PUT", "PUT", "HEAD", "PUT", "HEAD"] == [request.partition(" ")[0] for request in wire.requests]
        wire.faults.append(Late())
        with pytest.raises(Reject, match=Never.CONFLICT.value):
            await blobs.create(path, b"another", "two")

    tell(over_wire, story)


def test_fault_04_an_event_costs_one_request_by_one_client(over_wire: Callable[[], Blobs], wire: Wire) -> None:
    """No client, no connection and no container call per event."""
    run = fresh()

    async def story(blobs: Blobs) -> None:
        write_row, write_entry = lake.handler(blobs), audit.handler(blobs)
        for number in range(20):
            event = sample("risk.evaluated", id=f"{run}-{number}")
            assert await write_row(event)
            assert await write_entry(event)

    tell(over_wire, story)

    assert 40 == len(wire.requests)
    assert {"PUT"} == {request.partition(" ")[0] for request in wire.requests}
    assert [] == [request for request in wire.requests if "restype=container" in request]
    assert 1 == wire.connections


def test_a_store_that_is_away_is_unavailable(azurite: BlobAccount) -> None:
    """Said within seconds, so that the broker can try again."""
    (port,) = servers.free_ports(1)
    text = azurite.connection_string(f"http://127.0.0.1:{port}")

    verdict = refused(lambda: AzureBlobs(parse(text), azurite.container))

    assert Later.SINK_UNAVAILABLE == verdict.reason
    assert f"container 'risk' of 127.0.0.1:{port} does not answer" == verdict.detail


def test_a_store_that_is_silent_is_unavailable(over_wire: Callable[[], Blobs], wire: Wire) -> None:
    """A connection that hangs does not hold the event for ever."""
    wire.always = Silence()

    verdict = refused(over_wire)

    assert Later.SINK_UNAVAILABLE == verdict.reason
    assert verdict.detail.endswith("does not answer")


def test_a_store_with_too_much_to_do_throttles(over_wire: Callable[[], Blobs], wire: Wire) -> None:
    """Tried a few times, then left to the broker."""
    wire.always = Answer(503, BUSY)

    verdict = refused(over_wire)

    assert Later.SINK_THROTTLED == verdict.reason
    assert verdict.detail.endswith("asks for fewer requests (503 ServerBusy)")
    assert 1 < len(wire.requests) <= 4


def test_a_store_that_fails_is_unavailable(over_wire: Callable[[], Blobs], wire: Wire) -> None:
    """An error of the service is not an error of the event."""
    wire.always = Answer(500, "<Error><Code>InternalError</Code></Error>")

    verdict = refused(over_wire)

    assert Later.SINK_UNAVAILABLE == verdict.reason
    assert verdict.detail.endswith("cannot now (500 InternalError)")


def test_a_short_trouble_is_not_even_noticed(over_wire: Callable[[], Blobs], wire: Wire) -> None:
    """One bad answer is followed by a second try."""

    async def story(blobs: Blobs) -> None:
        wire.faults.append(Answer(503, BUSY))
        assert await blobs.create(f"{fresh()}/a.json", b"x", "one")

    tell(over_wire, story)

    assert 2 == len(wire.requests)


def test_an_absent_container_is_named_with_the_next_step(azurite: BlobAccount) -> None:
    """A consumer never creates one."""
    verdict = refused(lambda: AzureBlobs(parse(azurite.connection_string()), "nope"))

    assert Later.SINK_REFUSED == verdict.reason
    place = f"container 'nope' of {azurite.host.removeprefix('http://')}"
    assert f"{place} does not exist: run `pulumi up`, which creates it" == verdict.detail


def test_a_wrong_key_is_refused_and_not_shown(azurite: BlobAccount) -> None:
    """The message says where to look."""
    wrong = azurite._replace(key="c2VzYW1l")

    verdict = refused(lambda: AzureBlobs(parse(wrong.connection_string()), azurite.container))

    assert Later.SINK_REFUSED == verdict.reason
    assert verdict.detail.endswith("refuses (403 AuthorizationFailure): check the connection string")
    assert "c2VzYW1l" not in str(verdict)


def test_a_signature_is_never_shown(azurite: BlobAccount) -> None:
    """The request's address carries it, so the address stays out of every message."""
    text = (
        f"BlobEndpoint={azurite.host}/{azurite.name};AccountName={azurite.name};SharedAccessSignature={sas(azurite)}x"
    )

    verdict = refused(lambda: AzureBlobs(parse(text), azurite.container))

    assert Later.SINK_REFUSED == verdict.reason
    assert "sig=" not in str(verdict)


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        (
            "",
            [
                "AccountName is missing: copy the whole connection string of the account",
                "AccountKey and SharedAccessSignature are missing: give one of them",
            ],
        ),
        (
            "AccountName=castiel;AccountKey=c2VzYW1l;BlobEndpoint=http://store.example/castiel",
            ["the blob endpoint is 'http://store.example/castiel': http is for this machine and its cluster only, give https://"],
        ),
        (
            "AccountName=castiel;AccountKey=sesame",
            ["AccountKey is not base64: copy it again, with the `=` at its end"],
        ),
        (
            "AccountName=castiel;AccountKey=c2VzYW1l;SharedAccessSignature=sv=1&sig=x",
            ["AccountKey and SharedAccessSignature are both there: give one of them"],
        ),
        (
            "AccountName=castiel AccountKey=c2VzYW1l",
            [
                "AccountName is no name of an account: copy the whole connection string",
                "AccountKey and SharedAccessSignature are missing: give one of them",
                "the blob endpoint is no address (not shown: it may be secret): give an address that begins with https://",
            ],
        ),
        (
            "SharedAccessSignature=sv=1;BlobEndpoint=https://castiel.example/?sig=c2VzYW1l",
            [
                "AccountName is missing: copy the whole connection string of the account",
                "the blob endpoint is no address (not shown: it may be secret): give an address that begins with https://",
            ],
        ),
        (
            "UseDevelopmentStorage=true",
            ["UseDevelopmentStorage is not supported: give the emulator's AccountName, AccountKey and BlobEndpoint"],
        ),
    ],
    ids=["empty", "http", "key", "both", "blank", "signature", "development"],
)  # fmt: skip
def test_faults_of_a_connection_string_are_told_together(text: str, problems: list[str]) -> None:
    """All of them in one message, and no secret in it."""
    with pytest.raises(ValueError, match=r"copy|give") as wrong:
        parse(text)

    assert "; ".join(problems) == str(wrong.value)


def test_a_connection_string_as_azure_gives_it() -> None:
    """Name, key and suffix make the address; the name is known from the address where only that is given."""
    by_key = parse(
        "DefaultEndpointsProtocol=https;AccountName=castiel;AccountKey=c2VzYW1l;EndpointSuffix=core.windows.net"
    )
    by_sas = parse("BlobEndpoint=https://castiel.blob.core.windows.net/;SharedAccessSignature=?sv=2024&sig=a%2Bb%3D")

    assert ("castiel", "https://castiel.blob.core.windows.net", "c2VzYW1l", "") == by_key
    assert ("castiel", "https://castiel.blob.core.windows.net", "", "sv=2024&sig=a%2Bb%3D") == by_sas


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("https://castiel.blob.core.windows.net/", "castiel"),
        ("http://127.0.0.1:10000/devstoreaccount1", "devstoreaccount1"),
        ("http://azurite:10000/devstoreaccount1", "devstoreaccount1"),
        ("http://azurite.bi-risk.svc:10000/devstoreaccount1", "devstoreaccount1"),
        ("http://azurite.bi-risk.svc.cluster.local:10000/devstoreaccount1", "devstoreaccount1"),
    ],
)
def test_an_address_names_its_account(address: str, name: str) -> None:
    """In the host, or below one where several accounts live; http only on this machine and in its cluster."""
    assert (name, address.rstrip("/"), "", "") == at(address)


@pytest.mark.parametrize(
    "address", ["http://castiel.blob.core.windows.net", "http://svc.example/a", "http://[2001:db8::1]"]
)
def test_an_address_over_an_open_network_is_refused(address: str) -> None:
    """A name that looks like a cluster's is not one."""
    with pytest.raises(ValueError, match=r"http is for this machine and its cluster only") as refused:
        at(address)

    assert address in str(refused.value)


@pytest.mark.parametrize("address", ["castiel", "https://castiel:0", "https://castiel:99999"])
def test_what_is_no_address_is_shown(address: str) -> None:
    with pytest.raises(ValueError, match=r"^the blob endpoint is 'https?:|^the blob endpoint is 'castiel'") as refused:
        at(address)

    assert repr(address) in str(refused.value)


@pytest.mark.parametrize(
    "address",
    [
        "c2VzYW1l" * 11,
        "https://castiel/?sig=sesame",
        "https://castiel/%3Fsig%3Dsesame",
        "https://u:sesame/x",
        "https://[::1",
    ],
)
def test_what_may_be_a_secret_is_not_shown(address: str) -> None:
    """A key in the wrong setting, a signature behind the address, a password in it."""
    with pytest.raises(ValueError, match=r"^the blob endpoint is no address \(not shown: it may be secret\)"):
        at(address)


def test_a_sink_that_can_only_be_read_fails_its_probe(azurite: BlobAccount) -> None:
    """Reading works, as it does where writes are refused or held back: only a write tells that writes go through."""
    reader = by_signature(azurite, sas(azurite, write=False))

    async def story(blobs: Blobs) -> None:
        with pytest.raises(KeyError):
            await blobs.read(f"{fresh()}/absent.json")
        with pytest.raises(Retry) as failed:
            await blobs.probe()
        assert Later.SINK_REFUSED == failed.value.reason

    tell(lambda: AzureBlobs(parse(reader), azurite.container), story)
