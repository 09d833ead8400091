"""A real server as a child process: written, started, awaited, ended by its process id."""

import os
import random
import socket
import subprocess
import time
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit
from urllib.request import Request, urlopen

from tools.cache import PartError

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Server:
    """A program that stays in the foreground and whose process is the server itself.

    `files` (path -> text) are written with mode 0600 before it starts, `env` is added to the caller's environment,
    `ready` is an address that answers once it serves, see `answers`; the broker's holds its password.
    """

    name: str
    command: tuple[str, ...]
    ready: str
    ports: tuple[int, ...]
    directory: Path
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[Path, str] = field(default_factory=dict)

    @property
    def log(self) -> Path:
        return self.directory / f"{self.name}.log"


def write_files(server: Server) -> None:
    """Write what the server reads, for its owner only: a broker's file holds a password."""
    server.directory.mkdir(parents=True, exist_ok=True)
    for file, text in server.files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)
        file.write_text(text)


@contextmanager
def running(server: Server, *, within: float = 180.0) -> Iterator[subprocess.Popen[bytes]]:
    """The server as a child process, ready to serve; ended by its process id at the end.

    Raises PartError when a port is taken, when it ends early (with the last lines of its log), or is not ready in time:
    on two busy cores a broker once took more than a minute.
    """
    for port in server.ports:
        if not port_is_free(port):
            raise PartError(
                f"{server.name}: port {port} on {LOOPBACK} is in use; `ss -ltnp 'sport = :{port}'` tells by whom"
            )
    write_files(server)
    with ExitStack() as ending:
        log = ending.enter_context(server.log.open("ab"))
        process = subprocess.Popen(
            server.command, cwd=server.directory, env={**os.environ, **server.env},
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
        ending.callback(_end, process)
        _wait_until_ready(server, process, within)
        yield process


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait_until_ready(server: Server, process: subprocess.Popen[bytes], within: float) -> None:
    deadline = time.monotonic() + within
    while not answers(server.ready):
        if process.poll() is not None:
            raise PartError(
                f"{server.name} ended with status {process.returncode} before it was ready:\n{_tail(server)}"
            )
        if time.monotonic() > deadline:
            raise PartError(f"{server.name} was not ready within {within:.0f} s:\n{_tail(server)}")
        time.sleep(0.05)


def _tail(server: Server) -> str:
    lines = server.log.read_text(errors="replace").splitlines()[-15:]
    return "\n".join([*(f"  | {line}" for line in lines), f"  All of it: {server.log}"])


def answers(address: str) -> bool:
    """True when something serves there: a connection for tcp://host:port, a status below 500 for http://[user:password@]..."""
    url = urlsplit(address)
    if url.scheme == "tcp":
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex((url.hostname, url.port)) == 0
    credentials = b64encode(unquote(url.netloc.rpartition("@")[0]).encode()).decode()
    try:
        request = Request(
            f"http://{url.hostname}:{url.port}{url.path}", headers={"Authorization": f"Basic {credentials}"}
        )
        with urlopen(request, timeout=2):  # noqa: S310 - an address of our own making
            return True
    except HTTPError as refusal:
        return refusal.code < 500
    except (URLError, OSError):
        return False


def port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def free_ports(count: int) -> list[int]:
    """Ports that nothing on this machine listens on now, and that nobody else is given; see `reserve`.

    Below those that the kernel gives to outgoing connections: any of these may be taken a moment later.
    """
    candidates = random.sample(range(10_000, 32_000), 4 * count + 40)
    return list(islice(filter(reserve, candidates), count))


def reserve(port: int) -> bool:
    """Whether a free port is given to this process, for as long as it lives; no other that asks here gets it.

    Whoever has it may not listen yet, or be between an end and a new start. The kernel keeps the name, once for the
    whole machine, and forgets it with the process.
    """
    if not port_is_free(port):
        return False
    with socket.socket(socket.AF_UNIX) as name:
        try:
            name.bind(f"\0consumer-scaling port {port}")
        except OSError:
            return False
        name.detach()
    return True
