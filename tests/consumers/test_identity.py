"""Consumer processes with a workload identity: no secret of a sink anywhere, a token for each."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pika
import pytest
from azure.storage.blob import ContainerClient

import tools
from catalog import CATALOG
from tests.brokers import SLOWER, eventually
from tests.reliability.stand import Stand
from tests.samples import body_of
from tests.sinks.entra import Entra, certificate, entra
from tests.sinks.wire import Wire, wired
from tools import servers

pytestmark = pytest.mark.servers

NO_SECRET = {"DATA_LAKE_CONNECTION_STRING": "", "COSMOS_DB_KEY": ""}
ASKED = "/tenant/oauth2/v2.0/token"


class Cloud:
    """A stand whose stores are asked as Azure's would be: over TLS, by tokens of an endpoint that takes ours."""

    def __init__(self, home: Path, ending: ExitStack) -> None:
        self.stand = Stand(home / "stand", ending)
        self.certificate = certificate(home)
        self.entra: Entra = ending.enter_context(entra(self.certificate))
        self.documents: Wire = ending.enter_context(
            wired(self.stand.endpoints.cosmos.endpoint, tls=self.certificate.context())
        )
        self.token = home / "federated-token"
        self.token.write_text("first federated token")
        trusted = home / "trusted.pem"
        trusted.write_text(self.certificate.file.read_text() + tools.cosmos_certificate().read_text())
        self.environment = {
            **NO_SECRET,
            "AZURE_CLIENT_ID": "client",
            "AZURE_TENANT_ID": "tenant",
            "AZURE_FEDERATED_TOKEN_FILE": str(self.token),
            "AZURE_AUTHORITY_HOST": self.entra.url,
            "COSMOS_DB_ENDPOINT": self.documents.url,
            "SSL_CERT_FILE": str(trusted),
        }

    def lake(self, home: Path, ending: ExitStack) -> ContainerClient:
        """A blob store that takes tokens, and looks at their audience, issuer and time."""
        (port,) = servers.free_ports(1)
        usual = servers.azurite(home, port)
        secure = ("--oauth", "basic", "--cert", str(self.certificate.file), "--key", str(self.certificate.key))
        store = replace(usual, command=usual.command + secure, ready=f"tcp://127.0.0.1:{port}")
        ending.enter_context(servers.running(store))
        name = tools.emulator_account()
        self.environment["DATA_LAKE_ACCOUNT"] = address = f"https://127.0.0.1:{port}/{name}"
        text = f"AccountName={name};AccountKey={tools.emulator_key('azurite')};BlobEndpoint={address};"
        container = CATALOG.store("data_lake.container").name
        client = ContainerClient.from_connection_string(text, container, connection_verify=str(self.certificate.file))
        ending.enter_context(client).create_container()
        return client


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with ExitStack() as ending:
        yield Cloud(tmp_path_factory.mktemp("cloud"), ending)


def publish(cloud: Cloud, key: str, identity: str) -> None:
    with pika.BlockingConnection(pika.URLParameters(cloud.stand.amqp)) as connection:
        connection.channel().basic_publish(CATALOG.exchange.name, key, body_of(key, id=identity))


def test_the_lake_is_written_with_the_pods_own_token(cloud: Cloud, tmp_path: Path) -> None:
    """The federated token is read anew for each token that is asked for, since the cluster renews it."""
    with ExitStack() as ending:
        lake = cloud.lake(tmp_path, ending)
        process = cloud.stand.start("logging", **cloud.environment)
        asked = cloud.entra.asked
        for token in ("first federated token", "second federated token"):
            cloud.token.write_text(token)
            publish(cloud, "risk.evaluated", token.replace(" ", "-"))
            wanted = f"risk.evaluated-{token.replace(' ', '-')}.parquet"
            eventually(lambda wanted=wanted: [name for name in lake.list_blob_names() if name.endswith(wanted)], 30)
            for n in range(30):  # a token that is still good is used up first
                if token == asked[-1][1]["client_assertion"]:
                    break
                time.sleep(1)
                publish(cloud, "risk.evaluated", f"{token.replace(' ', '-')}-{n}")
            assert (ASKED, "client") == (asked[-1][0], asked[-1][1]["client_id"])
            assert token == asked[-1][1]["client_assertion"]
            assert "https://storage.azure.com/.default" == asked[-1][1]["scope"]
        process.send_signal(signal.SIGTERM)
        assert 0 == process.wait(timeout=10 * SLOWER)


def test_documents_are_written_with_the_pods_own_token(cloud: Cloud) -> None:
    """Every request carries a token for the account, and none a key."""
    cloud.token.write_text("third federated token")
    process = cloud.stand.start("analytics-service", **cloud.environment)
    publish(cloud, "ml.prediction.completed", "by-identity")
    store = CATALOG.store("cosmos_db.containers.usage_ml")
    eventually(lambda: [place for place in cloud.stand.sinks.database.contents(store) if "by-identity" in place], 30)
    process.send_signal(signal.SIGTERM)
    assert 0 == process.wait(timeout=10 * SLOWER)

    assert (ASKED, "third federated token") == (cloud.entra.asked[-1][0], cloud.entra.asked[-1][1]["client_assertion"])
    assert "https://127.0.0.1/.default" == cloud.entra.asked[-1][1]["scope"]
    assert {"type=aad&ver=1.0&sig="} == {found.partition("ey")[0] for found in cloud.documents.authorizations}
