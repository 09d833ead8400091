"""What a local stack runs and where it answers: servers, consumers, endpoints; pure, given the passwords."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any
from urllib.parse import quote

import pulumi

import dashboards
import tools
from catalog import environment
from catalog.kinds import Catalog, Service
from infra.ports import Ports
from infra.settings import Settings
from infra.topology import user_of
from tools import servers
from tools.servers import LOOPBACK, Server

ADMIN = "admin"
ENDING_WITHIN = 1.0  # seconds


@dataclass(frozen=True)
class Programs:
    stack: Settings

    @property
    def catalog(self) -> Catalog:
        return self.stack.catalog

    @cached_property
    def ports(self) -> Ports:
        return Ports.moved(self.stack.port_offset)

    @cached_property
    def servers(self) -> dict[str, Server]:
        """Every server by name, RabbitMQ without its password. Raises PartError for what is not on this machine."""
        ports, home = self.ports, self.stack.home
        made = [
            servers.epmd(home / "rabbitmq", ports.epmd, version=self.stack.broker_version),
            self.rabbitmq(password=""),
            servers.cosmos(home / "cosmos", ports.cosmos),
            servers.prometheus(home / "prometheus", ports.prometheus, home / "prometheus/prometheus.yml"),
            servers.alertmanager(home / "alertmanager", ports.alertmanager, home / "alertmanager/alertmanager.yml"),
        ]
        if not self.stack.connection_string:
            made.append(servers.azurite(home / "azurite", ports.blobs))
        return {server.name: server for server in made}

    def rabbitmq(self, password: str) -> Server:
        ports, home = self.ports, self.stack.home
        definitions = home / "rabbitmq/definitions.json"
        server = servers.rabbitmq(
            home,
            ports=servers.BrokerPorts(
                ports.amqp, ports.management, ports.broker_metrics, ports.broker_nodes, ports.epmd
            ),
            user=ADMIN,
            password=password,
            node="rabbitmq",
            version=self.stack.broker_version,
            # The server's own default user counts only for an empty data folder. `pulumi destroy` keeps the data and
            # forgets the password, so the user is defined anew at each start.
            conf=f"load_definitions = {definitions}",
        )
        return replace(server, files={**server.files, definitions: json.dumps(_admin(password))})

    def environment(self, service: Service, index: int) -> dict[str, str]:
        """What consumers/settings.py reads for one replica, without the secrets: these can be shown in a preview."""
        return {
            **environment(self.catalog, service.name),
            "HOST": LOOPBACK,
            "PORT": str(self.ports.of(service)[index]),
            "REPLICA": f"{service.name}-{index}",
            "SCHEDULER": "on" if self.stack.scheduler else "off",
            "COSMOS_DB_ENDPOINT": self.cosmos_account["endpoint"],
            # Without its certificate the client library reads the system's at every call; a real account needs those.
            **({} if self.stack.connection_string else {"SSL_CERT_FILE": str(tools.cosmos_certificate())}),
        }

    def user_of(self, service: Service) -> str:
        return user_of(service.name, self.stack.generation)

    def secrets(self, service: Service, password: str, connection_string: str) -> dict[str, str]:
        """The rest of what consumers/settings.py reads."""
        return {
            "RABBITMQ_URL": self._amqp(self.user_of(service), password),
            "DATA_LAKE_CONNECTION_STRING": connection_string,
            "COSMOS_DB_KEY": self.cosmos_account["key"],
        }

    @property
    def connection_string(self) -> str:
        """That of the stack's own storage account, else of the emulator."""
        account = tools.emulator_account()
        return self.stack.connection_string or (
            f"DefaultEndpointsProtocol=http;AccountName={account};AccountKey={tools.emulator_key('azurite')};"
            f"BlobEndpoint={self.url('blobs')}/{account};"
        )

    @property
    def cosmos_account(self) -> dict[str, str]:
        return {
            "endpoint": f"https://{LOOPBACK}:{self.ports.cosmos}",
            "key": tools.emulator_key("cosmos"),
            "ca_file": str(tools.cosmos_certificate()),
        }

    def api(self, password: str) -> dict[str, str]:
        """How the broker's administrator reaches it: the fields of broker_api.Api."""
        return {
            "url": self.url("management"),
            "amqp": self._amqp(ADMIN, password),
            "user": ADMIN,
            "password": password,
        }

    def endpoints(self, password: str, connection_string: str) -> dict[str, Any]:
        """Where everything answers, for the operator's command."""
        api, home = self.api(password), self.stack.home
        services = {
            service.name: [f"http://{LOOPBACK}:{port}" for port in self.ports.of(service)]
            for service in self.catalog.services
        }
        return {
            "amqp": api["amqp"],
            "management": {key: api[key] for key in ("url", "user", "password")},
            "prometheus": self.url("prometheus"),
            "alertmanager": self.url("alertmanager"),
            "blobs": {"connection_string": connection_string},
            "cosmos": {**self.cosmos_account, "database": self.catalog.database},
            "services": services,
            "boards": [str(home / board_file(uid)) for uid in dashboards.boards(self.catalog)],
            "overrides": dict(self.stack.overrides),
            "generation": self.stack.generation,
            "logs": str(home / "logs"),
        }

    def url(self, server: str) -> str:
        return f"http://{LOOPBACK}:{getattr(self.ports, server)}"

    def _amqp(self, user: str, password: str) -> str:
        return f"amqp://{user}:{quote(password)}@{LOOPBACK}:{self.ports.amqp}/%2F"

    def wanted_ports(self) -> dict[int, str]:
        """Every port with the program that will listen on it."""
        replicas = {
            port: f"{service.name}-{index}"
            for service in self.catalog.services
            for index, port in enumerate(self.ports.of(service))
        }
        return {port: server.name for server in self.servers.values() for port in server.ports} | replicas


def board_file(uid: str) -> str:
    return f"boards/{uid}.json"


def check_ports(wanted: Mapping[int, str], running: Callable[[], set[str]]) -> None:
    """Raises RunError naming every port that a program of ours wants and somebody else holds.

    One of ours that is just ending has lost its name already and holds its port a moment longer: it is waited for.
    """
    give_up = time.monotonic() + ENDING_WITHIN
    while (taken := _taken(wanted, running())) and time.monotonic() < give_up:
        time.sleep(0.1)
    if taken:
        advice = "stop it, or move this stack: pulumi config set local.port_offset 100"
        raise pulumi.RunError("\n  ".join(["The stack cannot start:", *taken, advice]))


def _taken(wanted: Mapping[int, str], running: set[str]) -> list[str]:
    return [
        f"port {port}, which {name} wants, is in use by another program (`ss -ltnp 'sport = :{port}'` tells by whom)"
        for port, name in wanted.items()
        if name not in running and not servers.port_is_free(port)
    ]


def _admin(password: str) -> dict[str, Any]:
    """Definitions as RabbitMQ imports them at a start: the virtual host and the administrator."""
    rights = {"user": ADMIN, "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"}
    return {
        "vhosts": [{"name": "/"}],
        "users": [{"name": ADMIN, "password": password, "tags": ["administrator"]}],
        "permissions": [rights],
    }
