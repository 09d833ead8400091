"""Between a process and those who watch it: /health/live, /health/ready and /metrics, from a thread of its own."""

from __future__ import annotations

import asyncio
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from socketserver import ThreadingMixIn
from typing import Any, Protocol
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

STALLED_AFTER = 10.0  # seconds without a turn of the loop

StartResponse = Callable[[str, list[tuple[str, str]]], Any]


class Watched(Protocol):
    """What readiness asks of a worker."""

    @property
    def name(self) -> str: ...

    @property
    def trouble(self) -> str:
        """Why it is not consuming; empty when it is, or is paused."""

    @property
    def paused(self) -> str:
        """Why it is paused; empty when it is not."""


@dataclass
class Health:
    """The answers: live while the loop turns, ready while every worker consumes, or is paused."""

    registry: CollectorRegistry
    watched: Iterable[Watched]
    token: str = ""
    _turned: float = field(default_factory=time.monotonic)

    async def watch_loop(self) -> None:
        """Note every second that the loop turns; runs until cancelled."""
        while True:
            self._turned = time.monotonic()
            await asyncio.sleep(1)

    def live(self) -> tuple[bool, dict[str, Any]]:
        stalled = time.monotonic() - self._turned
        return stalled < STALLED_AFTER, {"seconds_since_loop_turned": round(stalled, 1)}

    def ready(self) -> tuple[bool, dict[str, Any]]:
        queues = {worker.name: _state(worker) for worker in self.watched}
        return not any(worker.trouble for worker in self.watched), {"queues": queues}

    def __call__(self, environ: Mapping[str, Any], start: StartResponse) -> list[bytes]:
        path = environ["PATH_INFO"]
        if path == "/metrics":
            return self._metrics(environ, start)
        checks = {"/health/live": self.live, "/health/ready": self.ready, "/health": self.ready}
        if path not in checks:
            start("404 Not Found", [("Content-Type", "text/plain")])
            return [f"there are {', '.join(checks)} and /metrics\n".encode()]
        good, details = checks[path]()
        start("200 OK" if good else "503 Service Unavailable", [("Content-Type", "application/json")])
        return [json.dumps({"ok": good, **details}).encode() + b"\n"]

    def _metrics(self, environ: Mapping[str, Any], start: StartResponse) -> list[bytes]:
        shown = environ.get("HTTP_AUTHORIZATION", "").encode("latin-1")  # PEP 3333: bytes, one a character
        if self.token and not hmac.compare_digest(shown, f"Bearer {self.token}".encode()):
            start("401 Unauthorized", [("Content-Type", "text/plain"), ("WWW-Authenticate", "Bearer")])
            return [b"send the METRICS_TOKEN of this process as a bearer token\n"]
        start("200 OK", [("Content-Type", CONTENT_TYPE_LATEST)])
        return [generate_latest(self.registry)]


def _state(worker: Watched) -> str:
    if worker.trouble:
        return worker.trouble
    return f"paused: {worker.paused}" if worker.paused else "consuming"


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        """A scrape every few seconds is not worth a line."""


def serve(health: Health, host: str, port: int) -> WSGIServer:
    """Answer in a thread until `shutdown()`. Raises OSError naming the address when the port is taken."""
    try:
        server = make_server(host, port, health, server_class=_Server, handler_class=_Quiet)
    except OSError as error:
        raise OSError(
            error.errno, f"cannot listen on {host}:{port} ({error.strerror}): set HOST and PORT, or see `ss -ltnp`"
        ) from None
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
    return server
