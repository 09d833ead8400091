"""Plugins that stay: the engine attaches to those it is told of, instead of starting each two or three times a command.

Half a second each. Their words do not reach the command's output: who asks what was said lets the engine start them.
"""

from __future__ import annotations

import atexit
import os
import runpy
import subprocess
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from google.protobuf.empty_pb2 import Empty
from pulumi.runtime.proto.provider_pb2_grpc import ResourceProviderServicer

KUBERNETES, DYNAMIC = "kubernetes", "pulumi-python"
STANDIN = Path(__file__).parent / "kubernetes/standin/pulumi-resource-kubernetes"
PROGRAMS = {KUBERNETES: (str(STANDIN),), DYNAMIC: ("-u", "-m", __name__)}


def attached(plugins: Iterable[str], env: Mapping[str, str]) -> dict[str, str]:
    """How a command is told of these plugins; the first that asks for one in an environment starts it."""
    ports = [f"{plugin}:{_port(plugin, frozenset(env.items()))}" for plugin in plugins]
    return {"PULUMI_DEBUG_PROVIDERS": ",".join(ports)} if ports else {}


@cache
def _port(plugin: str, own: frozenset[tuple[str, str]]) -> int:
    env = {**os.environ, **dict(own)}
    started = subprocess.Popen([sys.executable, *PROGRAMS[plugin]], env=env, stdout=subprocess.PIPE)
    atexit.register(started.kill)
    assert started.stdout
    return int(started.stdout.readline())


if __name__ == "__main__":  # Pulumi's own, of dynamic resources, which only lacks the answer to this
    ResourceProviderServicer.Attach = lambda *_: Empty()
    runpy.run_module("pulumi.dynamic", run_name="__main__")
