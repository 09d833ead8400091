"""The scenario's process in the node's namespaces: the world made, the node and its servers started, the story told."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.cluster import images, operators, world
from tests.cluster.node import Node
from tests.cluster.programs import Failed, Programs
from tests.cluster.servers import NAMES, NAMESPACE, Servers, names
from tools import folder


def main(home: Path, *, shell: bool) -> int:
    """Run as the first process of the namespaces."""
    brought = {str(folder(part) / "bin") for part in ("node-programs", "kubernetes")}
    os.environ["PATH"] = ":".join([*sorted(brought), os.environ["PATH"]])
    os.environ["XTABLES_LIBDIR"] = str(next(folder("node-programs").glob("usr/lib/*/xtables")))
    world.enter(NAMES)
    return world.reaping(lambda: _told(home, shell=shell))


def _told(home: Path, *, shell: bool) -> int:
    logs, work = home / "logs", home / "node"
    programs = Programs(logs)
    node = Node(work, programs, images.pause(work / "images"))
    servers = Servers(programs)
    try:
        node.start()
        node.kubectl.apply(_namespace(), *names())
        servers.start()
        operators.start(node)
    except Failed as failure:
        print(failure, file=sys.stderr)
        return 1
    if shell:
        return subprocess.call(["bash"], env={**os.environ, "KUBECONFIG": str(node.kubeconfig)})
    return 0


def _namespace() -> dict[str, Any]:
    """The stack's namespace, which is given: made here, and never by the program."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}}
