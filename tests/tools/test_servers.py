"""Every real server starts in the foreground, does its work, ends by its process id, or says why it could not start."""

import base64
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

import pika
import pytest
import requests
from azure.cosmos import CosmosClient
from azure.storage.blob import BlobServiceClient

import tools
from tools.cache import ROOT
from tools.servers import (
    LOOPBACK,
    BrokerPorts,
    Server,
    alertmanager,
    azurite,
    cosmos,
    epmd,
    free_ports,
    prometheus,
    rabbitmq,
    rabbitmqctl,
    reserve,
    running,
)

pytestmark = [pytest.mark.servers, pytest.mark.slow]


@pytest.fixture(params=["4.3", "4.0"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """A broker that is not running, beside its own name service that is."""
    ports = BrokerPorts(*free_ports(5))
    with running(epmd(tmp_path, ports.epmd, version=request.param)):
        yield rabbitmq(tmp_path, ports=ports, user="admin", password="s3cret", version=request.param)


@contextmanager
def _channel(server: Server) -> Iterator[Any]:
    credentials = pika.PlainCredentials("admin", "s3cret")
    parameters = pika.ConnectionParameters(
        LOOPBACK, server.ports[0], credentials=credentials, connection_attempts=5, retry_delay=1
    )
    with pika.BlockingConnection(parameters) as connection:
        yield connection.channel()


@pytest.mark.broker
def test_a_broker_answers_on_every_door_and_keeps_a_message_over_a_restart(broker: Server) -> None:
    """AMQP, the management API, the per-queue metrics and rabbitmqctl agree on who is there.

    Its child process is the Erlang machine itself: killing that process id kills the broker, not a shell around it.
    """
    version = broker.command[0].split("rabbitmq_server-")[1].split("/")[0]
    with running(broker) as process, _channel(broker) as channel:
        assert "beam.smp" == Path(f"/proc/{process.pid}/cmdline").read_text().split("\0")[0].rpartition("/")[2]
        channel.queue_declare("empty", durable=True)
        channel.queue_declare("q", durable=True, arguments={"x-queue-type": "quorum"})
        overview = requests.get(
            f"http://{LOOPBACK}:{broker.ports[1]}/api/overview", auth=("admin", "s3cret"), timeout=5
        ).json()
        metrics = requests.get(
            f"http://{LOOPBACK}:{broker.ports[2]}/metrics/detailed?family=queue_coarse_metrics", timeout=5
        ).text
        assert version == overview["rabbitmq_version"]
        assert version == rabbitmqctl(broker, "version").split()[-1]
        assert 'rabbitmq_detailed_queue_messages{vhost="/",queue="empty"} 0' in metrics
        channel.confirm_delivery()
        channel.basic_publish("", "q", b"kept", mandatory=True)

    with running(broker), _channel(broker) as channel:
        assert b"kept" == channel.basic_get("q", auto_ack=True)[2]


def test_a_blob_survives_the_restart_of_the_store(tmp_path: Path) -> None:
    server = azurite(tmp_path, *free_ports(1))
    account, key = tools.emulator_account(), tools.emulator_key("azurite")
    with running(server), BlobServiceClient(f"http://{LOOPBACK}:{server.ports[0]}/{account}", credential=key) as client:
        client.create_container("risk").upload_blob("a", b"kept")

    with running(server), BlobServiceClient(f"http://{LOOPBACK}:{server.ports[0]}/{account}", credential=key) as client:
        assert b"kept" == client.get_blob_client("risk", "a").download_blob().readall()


def test_a_store_in_memory_writes_nothing(tmp_path: Path) -> None:
    """For tests with very many blobs."""
    server = azurite(tmp_path, *free_ports(1), in_memory=True)
    account, key = tools.emulator_account(), tools.emulator_key("azurite")
    with running(server), BlobServiceClient(f"http://{LOOPBACK}:{server.ports[0]}/{account}", credential=key) as client:
        blob = client.create_container("risk").upload_blob("a", b"held")
        assert b"held" == blob.download_blob().readall()

    assert {"azurite.log"} == {file.name for file in tmp_path.iterdir()}


def test_a_document_is_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tools.cosmos_certificate()))
    server = cosmos(tmp_path, *free_ports(1))
    key = tools.emulator_key("cosmos")
    assert base64.b64decode(key)
    with running(server), CosmosClient(f"https://{LOOPBACK}:{server.ports[0]}", key) as client:
        container = client.create_database("db").create_container("c", {"paths": ["/tenantId"], "kind": "Hash"})
        container.upsert_item({"id": "1", "tenantId": "t", "n": 7})

        assert 7 == container.read_item("1", "t")["n"]


def test_a_connection_to_the_document_store_stays(tmp_path: Path) -> None:
    """One handshake serves many requests, as in the cloud."""
    server = cosmos(tmp_path, *free_ports(1))
    unverified = ssl._create_unverified_context()
    with running(server), closing(HTTPSConnection(LOOPBACK, server.ports[0], context=unverified)) as connection:
        connection.connect()
        handshake = connection.sock
        for _ in range(3):
            connection.request("GET", "/")
            connection.getresponse().read()

            assert connection.sock is handshake


def _query(port: int, expression: str) -> Any:
    address = f"http://{LOOPBACK}:{port}/api/v1/query"
    return requests.get(address, params={"query": expression}, timeout=5).json()["data"]["result"]


def test_prometheus_scrapes_itself(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    config = tmp_path / "prometheus.yml"
    config.write_text(
        "scrape_configs: [{job_name: self, scrape_interval: 100ms, scrape_timeout: 100ms,"
        f" static_configs: [{{targets: ['{LOOPBACK}:{port}']}}]}}]"
    )
    with running(prometheus(tmp_path, port, config)):
        deadline = time.monotonic() + 20
        while not (samples := _query(port, "up")) and time.monotonic() < deadline:
            time.sleep(0.1)

    assert ["1"] == [sample["value"][1] for sample in samples]


def test_alertmanager_takes_an_alert_and_shows_its_page(tmp_path: Path) -> None:
    config = tmp_path / "alertmanager.yml"
    config.write_text("route: {receiver: none}\nreceivers: [{name: none}]\n")
    (port,) = free_ports(1)
    server = alertmanager(tmp_path, port, config)
    with running(server):
        address = f"http://{LOOPBACK}:{port}"
        requests.post(f"{address}/api/v2/alerts", json=[{"labels": {"alertname": "A"}}], timeout=5).raise_for_status()
        firing = [alert["labels"]["alertname"] for alert in requests.get(f"{address}/api/v2/alerts", timeout=5).json()]

        assert ["A"] == firing
        assert "script.js" in requests.get(address, timeout=5).text


def test_a_port_in_use_is_named_with_the_command_that_shows_its_user(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))
        taken.listen()
        port = taken.getsockname()[1]

        with pytest.raises(tools.PartError) as refusal, running(azurite(tmp_path, port)):
            pass

    assert f"azurite: port {port} on 127.0.0.1 is in use; `ss -ltnp 'sport = :{port}'` tells by whom" == str(
        refusal.value
    )


def test_a_server_that_dies_at_once_shows_its_last_words(tmp_path: Path) -> None:
    config = tmp_path / "prometheus.yml"
    config.write_text("nonsense: true\n")
    (port,) = free_ports(1)

    with (
        pytest.raises(tools.PartError, match=r"(?s)prometheus ended with status \d+ .*nonsense"),
        running(prometheus(tmp_path, port, config)),
    ):
        pass


def test_a_port_is_given_once() -> None:
    """To one process on the machine, which has it until it ends, whether it listens or not."""
    (port,) = free_ports(1)
    again = f"from tools.servers import reserve; print(reserve({port}))"

    assert not reserve(port)
    assert "False" == subprocess.check_output([sys.executable, "-c", again], cwd=ROOT, text=True).strip()


def test_a_port_is_given_back_when_its_process_ends() -> None:
    """Else a machine would run out of them."""
    ask = "from tools.servers import free_ports; print(*free_ports(20))"
    given = subprocess.check_output([sys.executable, "-c", ask], cwd=ROOT, text=True)

    assert [True] * 20 == [reserve(int(port)) for port in given.split()]
