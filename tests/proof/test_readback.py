"""What is read from real servers is what is there: the proof bites on real blobs, and takes no dead letter away."""

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pika
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from azure.storage.blob import ContainerClient

import tools
from catalog import CATALOG
from consumers.sinks import PROBE
from oncall.endpoints import Account, Endpoints, Login
from proof import expect
from proof.compare import Ledger, compare
from proof.expect import present
from proof.readback import Lake, dead_letters
from tests.brokers import LiveBroker, eventually
from tools import servers

Read = Callable[[], Ledger]

pytestmark = pytest.mark.servers

ROW = {
    "tenantId": "t-1",
    "opportunityId": "opp-1",
    "riskScore": 0.25,
    "categoryScores": '{"legal": 0.5}',
    "topDrivers": None,
    "timestamp": "2026-03-03T10:00:00.000Z",
}
AUDIT = {"id": "e-1", "eventType": "risk.evaluated", "userId": None, "data": {"riskScore": 0.25}}
PLANNED = {
    "risk/a.parquet": {**present(ROW), "categoryScores": {"legal": 0.5}},
    "risk/b.parquet": {**present(ROW), "categoryScores": {"legal": 0.5}, "opportunityId": "opp-2"},
    "risk/c.json": present(AUDIT),
}


def parquet(*rows: dict[str, object]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows)), sink)
    return sink.getvalue()


@pytest.fixture(scope="module")
def connection_string(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    (port,) = servers.free_ports(1)
    account, key = tools.emulator_account(), tools.emulator_key("azurite")
    with servers.running(servers.azurite(tmp_path_factory.mktemp("azurite"), port)):
        yield f"AccountName={account};AccountKey={key};BlobEndpoint=http://127.0.0.1:{port}/{account};"


@pytest.fixture
def container(connection_string: str) -> Iterator[ContainerClient]:
    """A container that holds exactly what is planned."""
    with ContainerClient.from_connection_string(connection_string, "risk") as client:
        client.create_container()
        client.upload_blob("a.parquet", parquet(ROW))
        client.upload_blob("b.parquet", parquet({**ROW, "opportunityId": "opp-2"}))
        client.upload_blob("c.json", json.dumps(AUDIT).encode())
        yield client
        client.delete_container()


@pytest.fixture
def ledger(connection_string: str, container: ContainerClient) -> Read:
    def read() -> Ledger:
        lake = Lake(connection_string, container.container_name)
        return compare("risk", PLANNED, lake.contents(lake.places()))

    return read


def test_blobs_as_planned_are_equal(ledger: Read) -> None:
    """Silence first: JSON columns are compared by value, absent and empty fields are the same."""
    assert Ledger(sink="risk", planned=3, equal=3) == ledger()


def test_a_removed_blob_is_found_out(ledger: Read, container: ContainerClient) -> None:
    """One blob deleted from the store is lost."""
    container.delete_blob("b.parquet")

    assert Ledger(sink="risk", planned=3, equal=2, lost=("risk/b.parquet",)) == ledger()


def test_an_altered_value_is_found_out(ledger: Read, container: ContainerClient) -> None:
    """One value of one row changed in the store is a difference, told with both values."""
    container.upload_blob("a.parquet", parquet({**ROW, "riskScore": 0.26}), overwrite=True)

    assert ("risk/a.parquet (riskScore: planned 0.25, found 0.26)",) == ledger().different


def test_an_added_blob_is_found_out(ledger: Read, container: ContainerClient) -> None:
    """A second blob of the same event is duplicated, any other is unexpected."""
    container.upload_blob("again.parquet", parquet(ROW))
    container.upload_blob("stranger.json", b"{}")

    found = ledger()

    assert (("risk/again.parquet",), ("risk/stranger.json",)) == (found.duplicated, found.unexpected)


def test_what_a_probe_left_is_no_event(ledger: Read, container: ContainerClient) -> None:
    """Its process was killed before it could take it away again."""
    container.upload_blob(PROBE, b"")

    assert Ledger(sink="risk", planned=3, equal=3) == ledger()


@pytest.mark.parametrize("body", [b"not parquet", parquet(ROW, ROW), b""], ids=["garbage", "two rows", "empty"])
def test_a_blob_that_is_no_single_row_is_found_out(ledger: Read, container: ContainerClient, body: bytes) -> None:
    """A blob that cannot be read is a difference, not a crash."""
    container.upload_blob("a.parquet", body, overwrite=True)

    assert ["risk/a.parquet"] == [difference.partition(" ")[0] for difference in ledger().different]


@pytest.mark.broker
def test_dead_letters_are_read_and_left_in_place(any_broker: LiveBroker) -> None:
    """Reading gives every letter by its id with its reason and body, as often as one likes."""
    any_broker.prepare(CATALOG)
    queue = CATALOG.queue_of("usage")
    endpoints = Endpoints(
        file=Path("endpoints.json"),
        amqp=any_broker.url,
        management=Login("", "", ""),
        prometheus="",
        alertmanager="",
        cosmos=Account("", "", ""),
        services={},
        catalog=CATALOG,
    )
    channel = any_broker.channel()
    for identity, reason in [("a", "no_tenant"), ("b", "conflict"), ("a", "no_tenant")]:
        headers = {"x-dead-reason": reason}
        channel.basic_publish(CATALOG.exchange.dead, queue.name, _body(identity), pika.BasicProperties(headers=headers))
    channel.connection.close()
    sent = [
        expect.dead_letter(queue, name, reason, _body(name)) for name, reason in (("a", "no_tenant"), ("b", "conflict"))
    ]
    letters = {entry.place: entry.content for entry in sent}

    for _ in range(25):  # more often than any default delivery limit
        eventually(lambda: 3 == any_broker.ready(queue.dead))
        assert letters == dead_letters(endpoints, queue)

    eventually(lambda: 3 == any_broker.ready(queue.dead))


def _body(identity: str) -> bytes:
    return json.dumps({"id": identity}).encode()
