"""Between the local target and supervisord: each program as a resource that is started, awaited, watched and ended."""

from __future__ import annotations

import shlex
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, ResourceProvider, UpdateResult

from infra.files import write
from infra.supervision import ALIVE, DOWN, ProgramError, ask, last_words, literal, state_of, until
from tools.servers import answers

Props = dict[str, Any]

FAILED = ("BACKOFF", "EXITED", "FATAL", "UNKNOWN")
KEYS = ("home", "name", "command", "env", "secrets", "directory", "ready", "stop_seconds", "files")

WITH_VARIABLES = 'set -a; . "$0"; exec "$@"'

PROGRAM = """\
[program:{name}]
command = {command}
directory = {directory}
startsecs = 1
autorestart = true
stopwaitsecs = {stop_seconds}
killasgroup = true
redirect_stderr = true
stdout_logfile = {log}
stdout_logfile_maxbytes = 50MB
stdout_logfile_backups = 1
"""


class _Processes(ResourceProvider):
    serialize_as_secret_always = False

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        replaces = [key for key in ("home", "name") if olds[key] != news[key]]
        changes = any(olds.get(key) != news[key] for key in KEYS)
        return DiffResult(changes=changes, replaces=replaces, delete_before_replace=True)

    def create(self, props: Props) -> CreateResult:
        run(props)
        return CreateResult(props["name"], {**props, "started": time.time()})

    def update(self, _id: str, _olds: Props, news: Props) -> UpdateResult:
        run(news)
        return UpdateResult({**news, "started": time.time()})

    def read(self, id_: str, props: Props) -> ReadResult:
        state, _ = state_of(props["home"], props["name"])
        unchanged = all(_content(Path(path)) == text for path, text in _files(props).items())
        return ReadResult(id_, props) if state in ALIVE and unchanged else ReadResult(None, {})

    def delete(self, _id: str, props: Props) -> None:
        stop(props["home"], props["name"])
        for path in props["files"]:  # some hold passwords; what the program wrote itself stays
            Path(path).unlink(missing_ok=True)


class Process(Resource, module="machine", name="Process"):
    """One program that runs, answers at `ready`, and is restarted when its command, environment or files change.

    `ready` is http://..., which must answer below 500, or tcp://host:port, which must listen; `files` are
    {path: content}, written before the program starts; `secrets` are the variables that no preview may show;
    `stop_seconds` may pass after SIGTERM.
    """

    started: pulumi.Output[float]  # Unix time

    def __init__(self, name: str, props: pulumi.Inputs, opts: pulumi.ResourceOptions) -> None:
        super().__init__(_Processes(), name, {"name": name, "started": None, **props}, opts)


def run(props: Props) -> None:
    """Put a program's files in place, (re)start just this program, wait until it is ready. Raises ProgramError."""
    home, name = props["home"], props["name"]
    stop(home, name)
    Path(props["directory"]).mkdir(parents=True, exist_ok=True)
    for path, text in _files(props).items():
        write(Path(path), text)
    try:
        ask(home, "reloadConfig")
        ask(home, "addProcessGroup", name)
    except Fault as fault:
        raise ProgramError(f"supervisord does not take {name}: {fault.faultString}") from fault
    try:
        _wait_until_ready(home, name, props["ready"])
    except ProgramError:
        stop(home, name)
        raise


def stop(home: str, name: str) -> None:
    """End a program and forget it; nothing happens when it is not there."""
    with suppress(Fault, *DOWN):
        ask(home, "stopProcessGroup", name)
        ask(home, "removeProcessGroup", name)
    for file in (_described(home, name), _variables(home, name)):
        file.unlink(missing_ok=True)


def _files(props: Props) -> dict[str, str]:
    home, name = props["home"], props["name"]
    env = {**props["env"], **props["secrets"]}
    variables = _variables(home, name)
    program = PROGRAM.format(
        name=name,
        # Not supervisord's own `environment`: a quote or a semicolon in a password would break it.
        command=literal(shlex.join(["/bin/sh", "-c", WITH_VARIABLES, str(variables), *props["command"]])),
        directory=literal(props["directory"]),
        stop_seconds=int(props["stop_seconds"]),
        log=literal(_log(home, name)),
    )
    return {
        **props["files"],
        str(variables): "".join(f"{key}={shlex.quote(value)}\n" for key, value in sorted(env.items())),
        str(_described(home, name)): program,
    }


def _described(home: str, name: str) -> Path:
    return Path(home) / "programs" / f"{name}.conf"


def _variables(home: str, name: str) -> Path:
    return Path(home) / "programs" / f"{name}.env"


def _log(home: str, name: str) -> Path:
    return Path(home) / "logs" / f"{name}.log"


def _content(path: Path) -> str | None:
    try:
        return path.read_text()
    except OSError:
        return None


def _wait_until_ready(home: str, name: str, ready: str) -> None:
    first = 0

    def is_ready() -> bool:
        nonlocal first
        state, pid = state_of(home, name)
        first = first or pid
        if state in FAILED or (pid and pid != first):
            raise ProgramError(f"{name} ended as soon as it was started{last_words(_log(home, name))}")
        return state == "RUNNING" and answers(ready)

    until(is_ready, name, _log(home, name))
