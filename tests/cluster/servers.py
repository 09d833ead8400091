"""Beside the node: the real broker and stores on the bridge, where pods find them by name."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import tools
from catalog import CATALOG
from catalog.broker import Capabilities
from infra.broker_api import Api, put
from infra.topology import topology
from oncall.endpoints import Account, Endpoints, Login
from tests.cluster.programs import Programs
from tests.cluster.world import ADDRESS
from tools import servers
from tools.foreground import LOOPBACK, Server, answers, write_files

NAMESPACE = "bi-risk-dev"
DATA = Path("/run/servers")  # in memory, and gone with the namespaces
PORTS = {  # by the name that pods and programs of the node know it by
    "rabbitmq": {"amqp": 5672, "http": 15672},
    "azurite": {"http": 10000},
    "cosmos": {"http": 8081},
}
HOST = f"rabbitmq.{NAMESPACE}.svc"
NAMES = {name: ADDRESS for host in PORTS for name in (host, f"{host}.{NAMESPACE}", f"{host}.{NAMESPACE}.svc")}


@dataclass(frozen=True)
class Servers:
    """Broker, blob store and document store, with the password of the broker's administrator."""

    programs: Programs
    password: str = secrets.token_urlsafe(12)
    user: str = "admin"

    def start(self) -> None:
        """Start all three; return when they answer. Raises Failed."""
        ports = servers.BrokerPorts(amqp=5672, management=15672, prometheus=15692, dist=25672, epmd=4369)
        everywhere = f"listeners.tcp.bridge = {ADDRESS}:5672\ncollect_statistics_interval = 1000\n"
        broker = servers.rabbitmq(DATA, ports=ports, user=self.user, password=self.password, conf=everywhere)
        files = {file: text.replace(f"management.tcp.ip = {LOOPBACK}", "management.tcp.ip = 0.0.0.0")
                 for file, text in broker.files.items()}  # fmt: skip
        blobs = servers.azurite(DATA / "azurite", PORTS["azurite"]["http"])
        on_bridge = tuple(word.replace(LOOPBACK, ADDRESS) for word in blobs.command)
        started = [
            servers.epmd(DATA, ports.epmd),
            replace(broker, files=files),
            replace(blobs, command=on_bridge, ready=f"tcp://{ADDRESS}:{PORTS['azurite']['http']}"),
            _documents(),
        ]
        for server in started:
            write_files(server)
            self.programs.start(server.name, server.command, server.env)
        for server in started:
            self.programs.wait(f"{server.name} answers", partial(answers, server.ready))
        put(self.api, *_exchange(), "")

    @property
    def api(self) -> Api:
        return Api(f"http://{LOOPBACK}:15672", self.amqp, self.user, self.password)

    @property
    def management(self) -> str:
        """The management API, as pods and this machine reach it."""
        return f"http://{HOST}:{PORTS['rabbitmq']['http']}"

    @property
    def amqp(self) -> str:
        return f"amqp://{self.user}:{self.password}@{LOOPBACK}:5672/%2F"

    @property
    def connection_string(self) -> str:
        """Of the blob store, as pods and this machine reach it."""
        account, key = tools.emulator_account(), tools.emulator_key("azurite")
        return (
            f"DefaultEndpointsProtocol=http;AccountName={account};AccountKey={key};"
            f"BlobEndpoint=http://azurite:{PORTS['azurite']['http']}/{account};"
        )

    @property
    def account(self) -> Account:
        """The document store, as pods and this machine reach it."""
        return Account(f"http://cosmos:{PORTS['cosmos']['http']}", tools.emulator_key("cosmos"), CATALOG.database)

    def endpoints(self, file: Path) -> Endpoints:
        return Endpoints(
            file=file,
            amqp=self.amqp,
            management=Login(self.api.url, self.user, self.password),
            prometheus="",
            alertmanager="",
            cosmos=self.account,
            services={},
            catalog=CATALOG,
        )


def _exchange() -> tuple[str, Mapping[str, Any]]:
    """The exchange that is there before us: where it is in the management API, and what it is."""
    shared = topology(CATALOG, Capabilities.of("4.3")).shared
    return shared.path, shared.body


def _documents() -> Server:
    package = tools.path("cosmosdb-server").parent.parent
    script = str(Path(__file__).with_name("documents.js"))
    port = PORTS["cosmos"]["http"]
    return Server(
        name="cosmos",
        command=(str(tools.path("node")), script, str(package), ADDRESS, str(port)),
        ready=f"tcp://{ADDRESS}:{port}",
        ports=(port,),
        directory=DATA / "cosmos",
    )


def names() -> Iterator[dict[str, Any]]:
    """The objects through which pods find the servers: a Service without pods, and where it leads."""
    for name, ports in PORTS.items():
        meta = {"name": name, "namespace": NAMESPACE}
        listed = [{"name": kind, "port": port} for kind, port in ports.items()]
        yield {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"ports": listed}}
        yield {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**meta, "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "ports": listed,
            "endpoints": [{"addresses": [ADDRESS], "conditions": {"ready": True}}],
        }
