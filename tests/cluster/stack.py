"""Stack `dev` of the repository, pointed at the node: namespace, broker on the bridge, emulators as stores."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.node import PODS, Node
from tests.cluster.servers import HOST, NAMESPACE, PORTS, Servers
from tests.kubernetes.stack import PluggedStack
from tests.stacks import Step
from tools.image import Image

NAME = "dev"
BROKER = "rabbitmq-connection"  # the Secret through which the topology operator finds a broker outside the cluster


@dataclass(frozen=True)
class NodeStack(PluggedStack):
    """The stack by the real CLI, whose commands are timed."""

    @classmethod
    def on(cls, node: Node, servers: Servers, image: Image, folder: Path) -> NodeStack:
        """The stack as the repository has it, with addresses of the node, and nothing made yet."""
        node.kubectl.apply(_connection(servers))
        stack = cls(folder, NAME, {"KUBECONFIG": str(node.kubeconfig)})
        stack.prepare()
        stack.unset("broker.cluster", "sinks.secret")
        stack.set(
            {
                "kubernetes.namespace": NAMESPACE,
                "image": image.reference,
                "exchange.manage": "off",  # others publish to it, and must not notice when we go
                "broker.connection_secret": BROKER,
                "broker.amqp": f"amqp://{HOST}:{PORTS['rabbitmq']['amqp']}/%2F",
                "broker.http": servers.management,
                "broker.admin_url": servers.management,
                "broker.admin_user": servers.user,
                "network.broker": PODS,
                "cosmos_db.endpoint": servers.account.endpoint,
            }
        )
        hidden = {
            "broker.admin_password": servers.password,
            "data_lake.connection_string": servers.connection_string,
            "cosmos_db.key": servers.account.key,
        }
        stack.hide(hidden)
        return stack

    def timed_up(self, *options: str, **settings: str) -> tuple[float, list[Step]]:
        """`up` with some settings changed before: its seconds, and what was done."""
        if settings:
            self.set(settings)
        began = time.monotonic()
        steps = self.up(*options)
        return time.monotonic() - began, steps

    def drift(self) -> set[str]:
        """What `oncall drift` names, as `kind name`."""
        return {f"{row['kind']} {row['name']}" for row in self.oncall("drift")["drift"]}

    def oncall(self, *arguments: str) -> dict[str, Any]:
        """What a command finds, asked with the stack's own output; its exit code has to say the same."""
        file = self.folder / "endpoints.json"
        file.write_text(self.run("stack", "output", "endpoints", "--show-secrets", "--json", "--stack", self.name))
        command = [sys.executable, "-m", "oncall", *arguments, "--json", "--endpoints", str(file)]
        done = subprocess.run(command, env={**os.environ, **self.env}, capture_output=True, text=True, check=False)
        assert done.returncode in (0, 1), done.stdout + done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        assert bool(found["needs"]) == bool(done.returncode), done.stdout + done.stderr
        return found

    def seconds(self, *command: str) -> float:
        began = time.monotonic()
        self.run(*command, "--stack", self.name)
        return time.monotonic() - began


def _connection(servers: Servers) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": BROKER,
            "namespace": NAMESPACE,
            "labels": {"rabbitmq.com/topology-operator": "true"},
        },
        "stringData": {
            "uri": servers.management,
            "username": servers.user,
            "password": servers.password,
        },
    }
