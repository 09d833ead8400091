"""A stack of target kubernetes on the API server of the tests: its settings, and what each `up` did in which order."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Self

import yaml

from tests import stacks
from tests.kubernetes.apiserver import ApiServer

PLUGIN = "pulumi-resource-kubernetes"  # the official one where it is on PATH, else the stand-in


class Step(NamedTuple):
    """What was done to one resource; `kind` is the last part of its type, e.g. Deployment or BrokerObject."""

    doing: str
    kind: str
    name: str


class ClusterStack(stacks.Stack):
    """A stack whose namespace is in a real API server, on which nothing runs: so nothing is awaited."""

    @classmethod
    def made(cls, folder: Path, name: str, server: ApiServer, config: Mapping[str, str] | None = None) -> Self:
        """The repository's stack `name` in a namespace of its own, with `config` on top."""
        env = {
            "KUBECONFIG": str(server.kubeconfig),
            "STANDIN_AWAIT": "off",
            "PULUMI_DEBUG_COMMANDS": "true",  # for --event-log
        }
        stack = cls.created(folder, name, env)
        if not shutil.which(PLUGIN):
            project = yaml.safe_load((folder / "Pulumi.yaml").read_text())
            plugin = {"name": "kubernetes", "path": str(Path(__file__).parent / "standin")}
            (folder / "Pulumi.yaml").write_text(yaml.safe_dump(project | {"plugins": {"providers": [plugin]}}))
        stack.set({"kubernetes.namespace": server.namespace(), **(config or {})})
        return stack

    def up(self, *options: str) -> list[Step]:
        """Everything that was done, in the order in which it was finished; what was said is kept in `said`."""
        log = self.folder / "events.jsonl"
        log.unlink(missing_ok=True)
        command = ("up", "--stack", self.name, "--yes", "--skip-preview", "--event-log", str(log))
        self.said.append(self.run(*command, *options))
        finished = [
            event["resOutputsEvent"]["metadata"]
            for event in map(json.loads, log.read_text().splitlines())
            if "resOutputsEvent" in event
        ]
        return [
            Step(done["op"], done["type"].rpartition(":")[2], done["urn"].rpartition("::")[2])
            for done in finished
            if done["op"] not in stacks.QUIET
        ]
