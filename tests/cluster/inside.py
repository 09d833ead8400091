"""The scenario's process in the node's namespaces: the world made, the node and its servers started, the story told."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

from catalog import CATALOG
from tests.cluster import images, operators, world
from tests.cluster.kubectl import Kubectl, KubectlError
from tests.cluster.node import Node
from tests.cluster.pods import Pods
from tests.cluster.programs import Failed, Programs
from tests.cluster.publishing import Stream, messages
from tests.cluster.report import Report
from tests.cluster.scenario import USUAL, Story
from tests.cluster.servers import NAMES, NAMESPACE, Servers, names
from tests.cluster.stack import NodeStack
from tools import folder


def main(home: Path, events: int, *, shell: bool) -> int:
    """Run as the first process of the namespaces."""
    brought = {str(folder(part) / "bin") for part in ("node-programs", "kubernetes")}
    os.environ["PATH"] = ":".join([*sorted(brought), os.environ["PATH"]])
    os.environ["XTABLES_LIBDIR"] = str(next(folder("node-programs").glob("usr/lib/*/xtables")))
    world.enter(NAMES)
    return world.reaping(lambda: _told(home, events, shell=shell))


def _told(home: Path, events: int, *, shell: bool) -> int:
    report, work = Report(), home / "node"
    node = Node(work, Programs(home / "logs"), images.pause(work / "images"))
    servers, image = Servers(node.programs), images.consumers(work / "images")
    try:
        node.start(image)
        report.say("the node is Ready and has the image")
        node.kubectl.apply(_namespace(), *names())
        servers.start()
        operators.start(node)
        report.say("broker, stores and operators are ready")
        stack = NodeStack.on(node, servers, image, work / "stack")
        if shell:
            return subprocess.call(["bash"], env={**os.environ, "KUBECONFIG": str(node.kubeconfig)})
        stream = Stream(servers.amqp, CATALOG.exchange.name, messages(CATALOG, events), USUAL)
        pods = Pods(Kubectl(node.kubeconfig, NAMESPACE), node.programs)
        Story(node, servers, stack, report, pods, stream).tell()
    except (Failed, KubectlError, AssertionError, subprocess.TimeoutExpired) as failure:
        report.fault(f"the story ends here: {failure}")
    return report.show()


def _namespace() -> dict[str, Any]:
    """The stack's namespace, which is given: made here, and never by the program."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}}
