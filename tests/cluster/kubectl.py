"""The scenario's hands on the cluster: what a person would type, with the answers as values."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools import path

LONGEST = 120  # seconds for one command


class KubectlError(Exception):
    """A command that failed, with what it said."""


@dataclass(frozen=True)
class Kubectl:
    """kubectl with a kubeconfig, in `namespace` where a command names none."""

    kubeconfig: Path
    namespace: str = ""

    def run(self, *arguments: str, given: str = "") -> str:
        """What it prints. Raises KubectlError."""
        done = self._done(arguments, given)
        if done.returncode:
            raise KubectlError(f"kubectl {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def succeeds(self, *arguments: str) -> bool:
        return self._done(arguments, "").returncode == 0

    def apply(self, *objects: dict[str, Any]) -> None:
        listed = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.run("apply", "--server-side", "--force-conflicts", "-f", "-", given=json.dumps(listed))

    def patch(self, kind: str, name: str, change: dict[str, Any]) -> None:
        self.run("patch", kind, name, "--type=merge", "--patch", json.dumps(change))

    def find(self, kind: str, name: str) -> dict[str, Any] | None:
        answer = self.run("get", kind, name, "--ignore-not-found", "-o", "json")
        found: dict[str, Any] | None = json.loads(answer) if answer else None
        return found

    def list(self, kind: str, selector: str = "") -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = json.loads(self.run("get", kind, "-l", selector, "-o", "json"))["items"]
        return items

    def _done(self, arguments: Sequence[str], given: str) -> subprocess.CompletedProcess[str]:
        place = [f"--namespace={self.namespace}"] if self.namespace else []
        command = [str(path("kubectl")), f"--kubeconfig={self.kubeconfig}", *place]
        return subprocess.run(
            [*command, *arguments], input=given, capture_output=True, text=True, timeout=LONGEST, check=False,
            env={**os.environ, "KUBECACHEDIR": "/run/kubectl"},
        )  # fmt: skip
