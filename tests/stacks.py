"""Any stack of a test's own: the real program and CLI, with state beside a person's."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tests.plugins import attached
from tools.cache import ROOT

LONGEST = 120  # seconds for one command
# A command ends before its garbage matters, and its state is written once, at its end, instead of after every resource.
BRIEF = {"GOGC": "off", "PULUMI_EXPERIMENTAL": "true", "PULUMI_SKIP_CHECKPOINTS": "true"}
QUIET = ("same", "read", "refresh")  # steps that change nothing
ENGINES_OWN = ("pulumi:pulumi:", "pulumi:providers:")


class Step(NamedTuple):
    """What is done to one resource; `kind` is the last part of its type, e.g. Deployment or BrokerObject."""

    doing: str
    kind: str
    name: str


def counted(steps: Iterable[Mapping[str, str]]) -> list[Step]:
    """Of the engine's steps those that change something; its own bookkeeping, of stack and plugins, left out."""
    types = [(step["op"], step["urn"].split("::")[2].rpartition("$")[2], step["urn"].split("::")[3]) for step in steps]
    return [
        Step(doing, type_.rpartition(":")[2], name)
        for doing, type_, name in types
        if doing not in QUIET and not type_.startswith(ENGINES_OWN)
    ]


@dataclass(frozen=True)
class Stack:
    """Stack `name` of a project in `folder`.

    `env` is added to the caller's environment; `stays` names those of tests/plugins.py that its commands attach to.
    """

    folder: Path
    name: str
    env: Mapping[str, str] = field(default_factory=dict)
    stays: tuple[str, ...] = ()
    said: list[str] = field(default_factory=list)

    def prepare(self) -> None:
        """Write the project with the settings that the repository has for the stack; nothing is made of it yet."""
        (self.folder / "infra").mkdir(parents=True)
        (self.folder / "state").mkdir()
        shutil.copy(ROOT / "infra/__main__.py", self.folder / "infra")
        for file in ("Pulumi.yaml", f"Pulumi.{self.name}.yaml"):
            shutil.copy(ROOT / file, self.folder)
        self.run("stack", "select", "--create", self.name)

    def run(self, *arguments: str, fails: bool = False) -> str:
        """What the command printed, on both streams; AssertionError with it when it does not end as expected."""
        own = {
            "PULUMI_BACKEND_URL": f"file://{self.folder}/state",
            "PULUMI_DEBUG_COMMANDS": "true",  # allows --event-log
            "NO_COLOR": "1",
            **BRIEF,
        }
        env = {**os.environ, **own, **self.env, **attached(self.stays, self.env)}
        command = [str(ROOT / "tools/pulumi"), "-C", str(self.folder), "--non-interactive", *arguments]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=LONGEST, check=False)
        assert fails == bool(done.returncode), done.stdout + done.stderr
        return done.stdout + done.stderr

    def set(self, config: Mapping[str, str]) -> None:
        """As `pulumi config set` does it for each, and at once."""
        self._write({**self._read(), **{self._key(key): value for key, value in config.items()}})

    def hide(self, config: Mapping[str, str]) -> None:
        """As `set`, encrypted."""
        values = [part for key, value in config.items() for part in ("--secret", f"{key}={value}")]
        self.run("config", "set-all", "--stack", self.name, *values)

    def unset(self, *keys: str) -> None:
        gone = {self._key(key) for key in keys}
        self._write({key: value for key, value in self._read().items() if key not in gone})

    @property
    def _file(self) -> Path:
        return self.folder / f"Pulumi.{self.name}.yaml"

    @staticmethod
    def _key(key: str) -> str:
        return f"consumer-scaling:{key}"

    def _read(self) -> dict[str, Any]:
        found: dict[str, Any] = yaml.safe_load(self._file.read_text())["config"]
        return found

    def _write(self, config: Mapping[str, Any]) -> None:
        self._file.write_text(yaml.safe_dump({**yaml.safe_load(self._file.read_text()), "config": dict(config)}))

    def plan(self, *options: str) -> list[Step]:
        """What an `up` would do, unchanged resources left out, in no order."""
        said = self.run("preview", "--stack", self.name, "--json", *options)
        steps = json.loads(said[said.index("{\n") : said.rindex("\n}") + 2])["steps"]
        return counted(steps)

    def preview(self, *options: str) -> dict[str, str]:
        """{resource name: what would be done to it}, unchanged ones left out."""
        return {step.name: step.doing for step in self.plan(*options)}

    def problem(self, *options: str) -> list[str]:
        """What a failing preview tells, as lines."""
        said = self.run("preview", "--stack", self.name, *options, fails=True)
        found = re.search(r"^    error: (.*?)^    error: an unhandled", said, re.DOTALL | re.MULTILINE)
        assert found, said
        return [line.removeprefix("    ") for line in found[1].rstrip().splitlines()]

    def up(self, *options: str) -> list[Step]:
        """Everything that was done, in the order in which it was finished; what was said is kept in `said`."""
        log = self.folder / "events.jsonl"
        log.unlink(missing_ok=True)
        command = ("up", "--stack", self.name, "--yes", "--skip-preview", "--event-log", str(log))
        self.said.append(self.run(*command, *options))
        events = [json.loads(line).get("resOutputsEvent") for line in log.read_text().splitlines()]
        return counted(event["metadata"] for event in events if event)

    def destroy(self) -> str:
        return self.run("destroy", "--stack", self.name, "--yes", "--skip-preview")
