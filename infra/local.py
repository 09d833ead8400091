"""Target `local`: the resolved catalog on this machine, real servers and consumers as processes of one supervisor."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pulumi
from pulumi import Output, Resource, ResourceOptions

import alerts.alertmanager
import alerts.build
import dashboards
from catalog.broker import Capabilities
from catalog.kinds import CLOSING_TIME, Service
from infra import monitoring
from infra.broker import Broker, BrokerObject
from infra.files import File, Password
from infra.processes import Process
from infra.programs import ADMIN, Programs, board_file, check_ports
from infra.retire import Retirement
from infra.settings import Settings
from infra.stores import BlobContainer, CosmosContainer
from infra.supervision import Supervisor, ours
from infra.topology import Object, topology
from tools.servers import LOOPBACK

After = Sequence[Resource]


class Local:
    """Each method makes one part of the stack and returns what others have to wait for; all is kept in one folder."""

    def __init__(self, stack: Settings) -> None:
        self.catalog, self.home, self.programs = stack.catalog, stack.home, Programs(stack)
        check_ports(self.programs.wanted_ports(), partial(ours, self.home))
        self.version = stack.broker_version
        self.topology = topology(self.catalog, Capabilities.of(self.version), stack.generation)
        self.supervisor = Supervisor("supervisord", self.home)
        users = [ADMIN, *(user.owner for user in self.topology.users)]
        self.passwords = {user: Password(user).text for user in users}
        self.api = self.passwords[ADMIN].apply(self.programs.api)
        self.connection_string = Output.secret(self.programs.connection_string)

    def broker(self) -> list[Resource]:
        """RabbitMQ and all its objects except the bindings that bring events."""
        files = self.passwords[ADMIN].apply(lambda password: _as_text(self.programs.rabbitmq(password).files))
        process = self._server("rabbitmq", after=[self._server("epmd", after=[])], files=files)
        reached = [Broker("broker", self.api, self.version, ResourceOptions(depends_on=[process]))]
        parts = self.topology
        exchanges = self._objects(parts.exchanges, after=reached, keep=True)
        # Policies first: a queue is never without its limits, and while it is deleted it still tells what they are.
        queues = self._objects(parts.queues, after=[*exchanges, *self._objects(parts.policies, after=exchanges)])
        users = self._objects(parts.users, after=reached)
        retired = Retirement.over_the_api(parts.bindings, self.api, ResourceOptions(depends_on=reached))
        return [
            retired,
            *self._objects(parts.dead_bindings, after=queues),
            *self._objects(parts.permissions, after=[*users, *exchanges]),
        ]

    def stores(self) -> list[Resource]:
        """The emulators and the containers in them."""
        emulators = {
            name: self._server(name, after=[]) for name in ("cosmos", "azurite") if name in self.programs.servers
        }
        opts = ResourceOptions(depends_on=list(emulators.values()))
        account = self.programs.cosmos_account
        account_since = emulators["cosmos"].started.apply(lambda since: {**account, "since": since})
        return [
            BlobContainer(store, self.connection_string, opts)
            if store.kind == "blob"
            else CosmosContainer(store, self.catalog.database, Output.secret(account_since), opts)
            for store in self.catalog.stores
        ]

    def service(self, service: Service, after: After) -> list[Resource]:
        """A service's replicas, and the file through which Prometheus finds them."""
        replicas = [self._replica(service, index, after) for index in range(service.replicas)]
        targets = monitoring.targets(self.programs.ports.of(service))
        return [*replicas, self._file(f"prometheus/targets/{service.name}.json", targets, after=replicas)]

    def bindings(self, after: Sequence[After]) -> None:
        self._objects(self.topology.bindings, after=[resource for group in after for resource in group])

    def monitoring(self, after: Sequence[After]) -> None:
        """Prometheus with the rules, Alertmanager, and the boards as files for a Grafana."""
        scraped = monitoring.prometheus(
            self.catalog,
            broker=f"{LOOPBACK}:{self.programs.ports.broker_metrics}",
            alertmanager=f"{LOOPBACK}:{self.programs.ports.alertmanager}",
            folder=self.home / "prometheus",
        )
        files = {
            "alertmanager": {"alertmanager.yml": alerts.alertmanager.config(self.catalog)},
            "prometheus": {"prometheus.yml": scraped, "rules.yml": alerts.build.rules(self.catalog)},
        }
        services = [resource for group in after for resource in group]
        for server, texts in files.items():
            reload = f"{self.programs.url(server)}/-/reload"
            read = [self._file(f"{server}/{name}", text, after=[], reload=reload) for name, text in texts.items()]
            self._server(server, after=[*read, *services])
        for uid, board in dashboards.boards(self.catalog).items():
            self._file(board_file(uid), board, after=[])

    def export(self) -> None:
        """The stack's output `endpoints`, and the same as a file for those who do not ask Pulumi."""
        endpoints = Output.all(self.passwords[ADMIN], self.connection_string).apply(
            lambda secrets: self.programs.endpoints(*secrets)
        )
        self._file("endpoints.json", endpoints.apply(lambda found: json.dumps(found, indent=2)), after=[])
        pulumi.export("endpoints", endpoints)

    def _server(self, name: str, after: After, files: pulumi.Input[Mapping[str, str]] | None = None) -> Process:
        server = self.programs.servers[name]
        props = {
            "command": list(server.command),
            "env": dict(server.env),
            "directory": str(server.directory),
            "ready": server.ready,
            "stop_seconds": CLOSING_TIME.total_seconds(),
            "files": _as_text(server.files) if files is None else files,
        }
        return self._process(name, props, after)

    def _replica(self, service: Service, index: int, after: After) -> Process:
        secrets = Output.all(self.passwords[self.programs.user_of(service)], self.connection_string)
        grace = max(queue.grace for queue in self.catalog.queues_of(service.name))
        props = {
            "command": [sys.executable, "-m", "consumers", service.name],
            "env": self.programs.environment(service, index),
            "secrets": secrets.apply(lambda found: self.programs.secrets(service, *found)),
            "directory": str(self.home),
            "ready": f"http://{LOOPBACK}:{self.programs.ports.of(service)[index]}/health/ready",
            "stop_seconds": grace.total_seconds(),
            "files": {},
        }
        return self._process(f"{service.name}-{index}", props, after)

    def _process(self, name: str, props: dict[str, Any], after: After) -> Process:
        opts = ResourceOptions(depends_on=[self.supervisor, *after])
        return Process(name, {"home": str(self.home), "secrets": {}, **props}, opts)

    def _objects(self, wanted: Sequence[Object], after: After, *, keep: bool = False) -> list[Resource]:
        """`keep`: others may use the object too, so that it outlives the stack."""
        opts = ResourceOptions(depends_on=list(after), retain_on_delete=keep)
        return [
            BrokerObject(entry, self.api, opts, password=self.passwords[entry.owner] if entry.owner else "")
            for entry in wanted
        ]

    def _file(self, path: str, text: pulumi.Input[str], after: After, reload: str = "") -> File:
        opts = ResourceOptions(depends_on=[self.supervisor, *after])
        return File(path, self.home / path, text, opts, reload=reload)


def _as_text(files: Mapping[Path, str]) -> dict[str, str]:
    return {str(path): text for path, text in files.items()}
