"""A stack of a test's own: the real program and CLI, with state, home and ports beside a person's."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from catalog import CATALOG
from infra.ports import Ports
from infra.supervision import ask, strays
from tools.cache import ROOT
from tools.servers import port_is_free

LONGEST = 120  # seconds for one command


def free_offset() -> int:
    """An offset at which no port of a stack, with three replicas each, is taken."""
    while True:
        offset = random.randrange(100, 7000)  # below the ports of outgoing connections
        ports = Ports.moved(offset)
        services = [port + more for service in CATALOG.services for port in ports.of(service) for more in (0, 1, 2)]
        if all(port_is_free(port) for port in [*vars(ports).values(), *services] if port > offset):
            return offset


@dataclass(frozen=True)
class Stack:
    """Stack `local` of a project in `folder`."""

    folder: Path
    said: list[str] = field(default_factory=list)

    @classmethod
    def made(cls, folder: Path, **config: str) -> Stack:
        (folder / "infra").mkdir(parents=True)
        (folder / "state").mkdir()
        shutil.copy(ROOT / "infra/__main__.py", folder / "infra")
        for file in ("Pulumi.yaml", "Pulumi.local.yaml"):
            shutil.copy(ROOT / file, folder)
        stack = cls(folder)
        stack.run("stack", "select", "--create", "local")
        stack.set({"local.home": "home", **config})
        return stack

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def run(self, *arguments: str, fails: bool = False) -> str:
        """What the command printed, on both streams; AssertionError with it when it does not end as expected."""
        env = {**os.environ, "PULUMI_BACKEND_URL": f"file://{self.folder}/state", "NO_COLOR": "1"}
        command = [str(ROOT / "tools/pulumi"), "-C", str(self.folder), "--non-interactive", *arguments]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=LONGEST, check=False)
        assert fails == bool(done.returncode), done.stdout + done.stderr
        return done.stdout + done.stderr

    def set(self, config: dict[str, str]) -> None:
        values = [part for key, value in config.items() for part in ("--plaintext", f"{key}={value}")]
        self.run("config", "set-all", "--stack", "local", *values)

    def unset(self, *keys: str) -> None:
        self.run("config", "rm-all", "--stack", "local", *keys)

    def up(self) -> dict[str, str]:
        """{resource name: what was done to it}, by `up --refresh`; what the providers said is kept in `said`."""
        text = self.run("up", "--stack", "local", "--refresh", "--yes", "--skip-preview")
        self.said.append(text)
        return dict(re.findall(r"^ \S+ +\S+ (\S+) (created|updated|deleted|replaced) \(", text, re.MULTILINE))

    def destroy(self) -> str:
        return self.run("destroy", "--stack", "local", "--yes", "--skip-preview")

    def preview(self, *options: str) -> dict[str, str]:
        """{resource name: what would be done to it}, unchanged ones left out."""
        said = self.run("preview", "--stack", "local", "--json", *options)
        steps = json.loads(said[said.index("{\n") : said.rindex("\n}") + 2])["steps"]
        named = {step["urn"].rpartition("::")[2]: step["op"] for step in steps}
        return {name: doing for name, doing in named.items() if doing not in ("same", "read", "refresh")}

    def problem(self, *options: str) -> list[str]:
        """What a failing preview tells, as lines."""
        said = self.run("preview", "--stack", "local", *options, fails=True)
        found = re.search(r"^    error: (.*?)^    error: an unhandled", said, re.DOTALL | re.MULTILINE)
        assert found, said
        return [line.removeprefix("    ") for line in found[1].rstrip().splitlines()]

    @property
    def endpoints(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.home / "endpoints.json").read_text())
        return found

    @cached_property
    def offset(self) -> int:
        return int(self.run("config", "get", "local.port_offset", "--stack", "local").splitlines()[0])

    def pids(self) -> dict[str, int]:
        """{program: pid} of what the supervisor runs."""
        return {info["name"]: info["pid"] for info in ask(self.home, "getAllProcessInfo")}

    def all_pids(self) -> list[int]:
        """Every process of the stack, the supervisor first."""
        file = self.home / "supervisord.pid"
        return [*([int(file.read_text())] if file.exists() else []), *(pid for _, pid in strays(self.home))]
