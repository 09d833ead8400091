"""Between the local target and the machine: the one supervisord of a stack, which starts and restarts its programs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault, ServerProxy

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, ResourceProvider
from supervisor.xmlrpc import SupervisorTransport

from infra.files import write

Props = dict[str, Any]

SOCKET = "supervisor.sock"
ALIVE = ("STARTING", "RUNNING")
READY_WITHIN = 180  # seconds; the broker takes 5, and was seen to take 69 beside ten others on slow cores
POLL = 0.1
KEPT_VARIABLES = ("HOME", "LANG", "PATH", "TMPDIR", "TZ", "USER")  # what programs inherit; never the stack's passphrase
DOWN = (OSError, HTTPException)  # how it shows that no supervisord listens

SUPERVISORD = """\
[supervisord]
directory = {home}
logfile = {home}/logs/supervisord.log
pidfile = {home}/supervisord.pid
[unix_http_server]
file = {home}/{socket}
chmod = 0700
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[include]
files = {home}/programs/*.conf
"""


class ProgramError(Exception):
    """A program, or the supervisor, does not do what it should; the text has what it said last."""


def ask(home: Path | str, method: str, *arguments: object) -> Any:
    """Call the supervisor over XML-RPC; raises one of DOWN when it does not run, Fault when it refuses."""
    transport = SupervisorTransport(None, None, f"unix://{home}/{SOCKET}")
    with ServerProxy("http://127.0.0.1", transport=transport) as server:
        return getattr(server.supervisor, method)(*arguments)


def state_of(home: Path | str, name: str) -> tuple[str, int]:
    """(state, pid) of a program; ("ABSENT", 0) when there is no such program, or no supervisor."""
    try:
        info = ask(home, "getProcessInfo", name)
    except (Fault, *DOWN):
        return "ABSENT", 0
    return str(info["statename"]), int(info["pid"])


def strays(home: Path | str) -> Iterator[tuple[str, int]]:
    """(program, pid) of what a killed supervisor left running, told by the variables it gave them (needs /proc)."""
    mark = f"SUPERVISOR_SERVER_URL=unix://{home}/{SOCKET}".encode()
    name = b"SUPERVISOR_PROCESS_NAME="
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            variables = (process / "environ").read_bytes().split(b"\0")
            if mark in variables:
                found = next(value for value in variables if value.startswith(name))
                yield found.removeprefix(name).decode(), int(process.name)


def ours(home: Path) -> set[str]:
    """The programs of this stack that hold their ports already."""
    with suppress(*DOWN):
        return {info["name"] for info in ask(home, "getAllProcessInfo") if info["statename"] in ALIVE}
    return {name for name, _ in strays(home)}


class _Supervisors(ResourceProvider):
    serialize_as_secret_always = False

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        moved = olds["home"] != news["home"]
        return DiffResult(changes=moved, replaces=["home"] if moved else [], delete_before_replace=True)

    def create(self, props: Props) -> CreateResult:
        start(Path(props["home"]))
        return CreateResult(props["home"], props)

    def read(self, id_: str, props: Props) -> ReadResult:
        try:
            ask(props["home"], "getState")
        except DOWN:
            return ReadResult(None, {})
        return ReadResult(id_, props)

    def delete(self, _id: str, props: Props) -> None:
        home = props["home"]
        with suppress(*DOWN):
            pid = int(ask(home, "getPID"))
            ask(home, "shutdown")
            wait_for_end([pid], READY_WITHIN)
        end(pid for _, pid in strays(home))


class Supervisor(Resource, module="machine", name="Supervisor"):
    """The supervisord of one home folder, started as a daemon; it restarts what crashes."""

    home: pulumi.Output[str]

    def __init__(self, name: str, home: Path, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(_Supervisors(), name, {"home": str(home)}, opts)


def start(home: Path) -> None:
    """Start supervisord with no program yet: each comes with its resource, in the order of the graph."""
    end(pid for _, pid in strays(home))
    for old in (home / "programs").glob("*"):
        old.unlink()
    for folder in (home, home / "programs", home / "logs"):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
    write(home / "supervisord.conf", SUPERVISORD.format(home=literal(home), socket=SOCKET))
    command = [str(Path(sys.executable).with_name("supervisord")), "-c", str(home / "supervisord.conf")]
    env = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ProgramError(f"supervisord does not start in {home}:\n{done.stderr or done.stdout}")
    until(lambda: ask(home, "getState"), "supervisord", home / "logs/supervisord.log")


def until(condition: Callable[[], Any], name: str, log: Path) -> None:
    """Wait for a program. Raises ProgramError, with what its log says, when it takes too long."""
    give_up = time.monotonic() + READY_WITHIN
    while time.monotonic() < give_up:
        with suppress(*DOWN):
            if condition():
                return
        time.sleep(POLL)
    raise ProgramError(f"{name} is not ready after {READY_WITHIN} s{last_words(log)}")


def last_words(log: Path, lines: int = 15) -> str:
    """The end of a log, to be put behind a sentence."""
    said = log.read_text(errors="replace").splitlines()[-lines:] if log.exists() else []
    return "\n".join([f"; {log} ends with:", *said]) if said else f"; it said nothing (see {log})"


def literal(value: object) -> str:
    """A value for supervisord's files, in which % begins an expansion."""
    return str(value).replace("%", "%%")


def end(pids: Iterable[int]) -> None:
    """End processes: asked first, then forced."""
    left = list(pids)
    for number, patience in ((signal.SIGTERM, 15), (signal.SIGKILL, 5)):
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        left = wait_for_end(left, patience)


def wait_for_end(pids: Iterable[int], seconds: float) -> list[int]:
    """The processes that still run after a while."""
    give_up, left = time.monotonic() + seconds, [pid for pid in pids if _runs(pid)]
    while left and time.monotonic() < give_up:
        time.sleep(POLL)
        left = [pid for pid in left if _runs(pid)]
    return left


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with suppress(OSError):  # one that has ended may wait for its parent to notice
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return True
