"""A broker, two stores and consumers as real processes, each of which a test may kill and start again."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote

from azure.cosmos import CosmosClient, PartitionKey
from azure.storage.blob import ContainerClient

import tools
from catalog import CATALOG, Catalog, Service, environment
from catalog.broker import Capabilities
from infra.broker_api import Api, put
from infra.topology import topology, user_of
from oncall.endpoints import Account, Endpoints, Login
from proof.readback import Sinks
from tests.brokers import SLOWER, eventually
from tools import servers
from tools.servers import LOOPBACK, BrokerPorts, Server, running

ADMIN, PASSWORD = "admin", "throwaway"
QUICK = {
    "conf": "collect_statistics_interval = 500",  # ms, as the next
    "advanced": "[{rabbit, [{quorum_tick_interval, 500}, {channel_tick_interval, 1000}]}].",
}


class Stand:
    """Everything a service needs, by the defaults of a catalog, on ports of its own.

    `quick`: the management API is half a second behind, and not five; blobs live in memory.
    """

    def __init__(
        self, home: Path, ending: ExitStack, version: str = "4.3", *, catalog: Catalog = CATALOG, quick: bool = False
    ) -> None:
        self.home, self._ending, self.catalog, self.version = home, ending, catalog, version
        amqp, management, prometheus, dist, epmd, blobs, cosmos, *own = servers.free_ports(7 + len(CATALOG.services))
        ports = BrokerPorts(amqp, management, prometheus, dist, epmd)
        self.ports = dict(zip((service.name for service in CATALOG.services), own, strict=True))
        self.amqp = f"amqp://{ADMIN}:{PASSWORD}@{LOOPBACK}:{amqp}/%2F"
        self.api = Api(f"http://{LOOPBACK}:{management}", self.amqp, ADMIN, PASSWORD)
        self._broker = servers.rabbitmq(
            home, ports=ports, user=ADMIN, password=PASSWORD, version=version, **(QUICK if quick else {})
        )
        account, key = tools.emulator_account(), tools.emulator_key("azurite")
        self.blobs = (
            f"DefaultEndpointsProtocol=http;AccountName={account};AccountKey={key};"
            f"BlobEndpoint=http://{LOOPBACK}:{blobs}/{account};"
        )
        self.endpoints = Endpoints(
            file=home / "endpoints.json",
            amqp=self.amqp,
            management=Login(self.api.url, ADMIN, PASSWORD),
            prometheus="",
            alertmanager="",
            cosmos=Account(f"https://{LOOPBACK}:{cosmos}", tools.emulator_key("cosmos"), CATALOG.database),
            services={name: [f"http://{LOOPBACK}:{port}"] for name, port in self.ports.items()},
            catalog=catalog,
        )
        self._run(servers.epmd(home, epmd, version=version))
        self._run(servers.azurite(home / "azurite", blobs, in_memory=quick))
        self._run(servers.cosmos(home / "cosmos", cosmos))
        self._broker_process = self._run(self._broker)
        eventually(lambda: servers.answers(f"{self.api.url}/api/overview"))
        self._provision()
        self.sinks = Sinks.of(self.endpoints, self.blobs)

    def restart_broker(self, how: signal.Signals) -> None:
        """End the broker's process by a signal, and start it on the same data."""
        self._broker_process.send_signal(how)
        self._broker_process.wait(timeout=30 * SLOWER)
        self._broker_process = self._run(self._broker)

    @property
    def broker_pid(self) -> int:
        return self._broker_process.pid

    def rabbitmqctl(self, *arguments: str) -> str:
        return servers.rabbitmqctl(self._broker, *arguments)

    def start(
        self, service: str, program: Sequence[str] = ("-m", "consumers"), **environment: str
    ) -> subprocess.Popen[bytes]:
        """A consumer process of a service, told some things otherwise; the stand kills it if nobody did before."""
        log = self._ending.enter_context((self.home / f"{service}.log").open("ab"))
        process = subprocess.Popen(
            [sys.executable, *program, service],
            env={**self._environment(CATALOG.service(service)), **environment},
            stdout=log,
            stderr=log,
        )
        self._ending.callback(process.wait)
        self._ending.callback(process.kill)
        return process

    def held(self) -> dict[str, int]:
        """Messages by queue, those between two tries included; the figures are a statistics interval old at most."""
        names = [queue.name for queue in self.catalog.queues]
        return {name: self.api.get(f"queues/%2F/{name}").get("messages", 1) for name in names}

    def log(self, service: str) -> str:
        return (self.home / f"{service}.log").read_text()

    def _environment(self, service: Service) -> dict[str, str]:
        return {
            **os.environ,
            **environment(self.catalog, service.name),
            "RABBITMQ_URL": self.amqp.replace(f"{ADMIN}:{PASSWORD}", f"{user_of(service.name, 1)}:{quote(PASSWORD)}"),
            "PORT": str(self.ports[service.name]),
            "SCHEDULER": "off",
            "DATA_LAKE_CONNECTION_STRING": self.blobs,
            "COSMOS_DB_ENDPOINT": self.endpoints.cosmos.endpoint,
            "COSMOS_DB_KEY": self.endpoints.cosmos.key,
            "SSL_CERT_FILE": str(tools.cosmos_certificate()),
        }

    def _run(self, server: Server) -> subprocess.Popen[bytes]:
        return self._ending.enter_context(running(server))

    def _provision(self) -> None:
        """What `pulumi up` does for a stack."""
        for wanted in topology(self.catalog, Capabilities.of(self.version)).objects:
            put(self.api, wanted.path, wanted.body, PASSWORD if wanted.path.startswith("users/") else "")
        client = CosmosClient(self.endpoints.cosmos.endpoint, self.endpoints.cosmos.key)
        database = client.create_database_if_not_exists(self.catalog.database)
        for store in self.catalog.stores:
            if store.kind == "blob":
                ContainerClient.from_connection_string(self.blobs, store.name).create_container()
            else:
                database.create_container_if_not_exists(store.name, PartitionKey(store.partition_key))
