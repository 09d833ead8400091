"""A stack of target kubernetes on the API server of the tests: its settings, what each `up` did, and what is there."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests import stacks
from tests.kubernetes.apiserver import ApiServer
from tests.kubernetes.controllers import all_is_well
from tests.kubernetes.surroundings import surround
from tests.plugins import DYNAMIC, KUBERNETES

PLUGIN = "pulumi-resource-kubernetes"  # the official one where it is on PATH, else the stand-in
APPS = "apps/v1"
BROKER = "rabbitmq.com/v1beta1"
IMAGE = f"registry.example.com/consumers@sha256:{'5' * 64}"  # nothing runs it
GIVEN = ("default", "sinks")  # the ServiceAccount of every namespace, and a Secret
# Every kind of object that a stack makes, by version.
KINDS = {
    "v1": ("configmaps", "secrets", "serviceaccounts", "services"),
    APPS: ("deployments",),
    "policy/v1": ("poddisruptionbudgets",),
    "networking.k8s.io/v1": ("networkpolicies",),
    "rbac.authorization.k8s.io/v1": ("roles", "rolebindings"),
    "keda.sh/v1alpha1": ("scaledobjects", "triggerauthentications"),
    "monitoring.coreos.com/v1": ("podmonitors", "prometheusrules", "servicemonitors"),
    BROKER: (
        "bindings", "exchanges", "permissions", "policies", "queues", "topicpermissions", "users",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class PluggedStack(stacks.Stack):
    """A stack of target kubernetes, by the official plugin where it is on PATH, else by the stand-in."""

    def prepare(self) -> None:
        super().prepare()
        if not shutil.which(PLUGIN):
            file = self.folder / "Pulumi.yaml"
            plugin = {"name": "kubernetes", "path": str(Path(__file__).parent / "standin")}
            file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {"plugins": {"providers": [plugin]}}))


@dataclass(frozen=True, kw_only=True)
class ClusterStack(PluggedStack):
    """A stack whose namespace is in a real API server, on which nothing runs that could make an object ready.

    So the stand-in waits for nothing, unless `env` says so; the official plugin always does.
    """

    server: ApiServer
    namespace: str

    @classmethod
    def made(cls, folder: Path, name: str, server: ApiServer, config: Mapping[str, str] | None = None) -> ClusterStack:
        """The repository's stack `name` in a namespace of its own, with `config` on top."""
        env = {"KUBECONFIG": str(server.kubeconfig), "STANDIN_AWAIT": "off"}
        stays = (DYNAMIC,) if shutil.which(PLUGIN) else (DYNAMIC, KUBERNETES)
        stack = cls(folder=folder, name=name, env=env, stays=stays, server=server, namespace=server.namespace())
        stack.prepare()
        stack.give()
        stack.set({"kubernetes.namespace": stack.namespace, "image": IMAGE, **(config or {})})
        return stack

    def give(self) -> None:
        """What a stack finds in its cluster: the sinks' Secret, a RabbitmqCluster of its own and a shared one."""
        surround(self.server, self.namespace)
        for home in ("messaging", "messaging-staging"):
            surround(self.server, self.namespace, home=home)

    def run(self, *arguments: str, fails: bool = False) -> str:
        if not shutil.which(PLUGIN):
            return super().run(*arguments, fails=fails)
        with all_is_well(self.server, self.namespace):
            return super().run(*arguments, fails=fails)

    def path(self, version: str, kind: str, name: str = "") -> str:
        """Where one of our objects is served, or the list of them."""
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        return f"{root}/namespaces/{self.namespace}/{kind}{'/' if name else ''}{name}"

    def objects(self, version: str, kind: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.server.request("GET", self.path(version, kind))["items"]
        return found

    def versions(self) -> dict[str, str]:
        """{Kind/name: resource version} of everything that a stack makes; the version changes with every write."""
        kinds = [(version, kind) for version, kinds in KINDS.items() for kind in kinds]
        lists = [self.server.request("GET", self.path(*kind)) for kind in kinds]
        return {
            f"{found['kind'].removesuffix('List')}/{entry['metadata']['name']}": entry["metadata"]["resourceVersion"]
            for found in lists
            for entry in found["items"]
            if entry["metadata"]["name"] not in GIVEN
        }

    def scale(self, deployment: str, replicas: int, manager: str = "kubectl") -> None:
        """As `kubectl scale` and an autoscaler do it: an update of the scale, which takes the field over."""
        self.server.request(
            "PATCH",
            self.path(APPS, "deployments", deployment) + "/scale",
            params={"fieldManager": manager},
            json={"spec": {"replicas": replicas}},
            headers={"Content-Type": "application/merge-patch+json"},
        )

    def replicas(self, deployment: str) -> int:
        found: int = self.server.request("GET", self.path(APPS, "deployments", deployment))["spec"]["replicas"]
        return found
