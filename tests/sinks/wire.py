"""A wire between a client and a server that counts what goes over it, and breaks when told to."""

from __future__ import annotations

import http.client
import ssl
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

HOP = ("connection", "transfer-encoding", "keep-alive")


@dataclass(frozen=True)
class Answer:
    """What the wire answers instead of the server."""

    status: int
    body: str = ""


@dataclass(frozen=True)
class Lost:
    """The server carries the request out, its answer never arrives."""


@dataclass(frozen=True)
class Late:
    """The server carries the request out, its answer comes when the client has stopped waiting."""


@dataclass(frozen=True)
class Silence:
    """Nothing happens for as long as the client waits."""


@dataclass
class Wire:
    """`faults` are used up one per request, `always` takes the place of the server until it is None again."""

    upstream: str
    url: str = ""
    requests: list[str] = field(default_factory=list)
    authorizations: set[str] = field(default_factory=set)
    connections: int = 0
    faults: deque[Answer | Lost | Late | Silence] = field(default_factory=deque)
    always: Answer | Lost | Late | Silence | None = None
    ended: threading.Event = field(default_factory=threading.Event)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wire: Wire

    def setup(self) -> None:
        super().setup()
        self.wire.connections += 1

    def log_message(self, *_: Any) -> None: ...

    def _carry(self) -> None:
        wire, body = self.wire, self.rfile.read(int(self.headers.get("content-length", 0)))
        wire.requests.append(f"{self.command} {self.path}")
        wire.authorizations.add(self.headers.get("authorization", ""))
        fault = wire.always or (wire.faults.popleft() if wire.faults else None)
        if isinstance(fault, Silence):
            wire.ended.wait(20)
            self.close_connection = True
        elif isinstance(fault, Answer):
            self._say(fault.status, {}, fault.body.encode())
        else:
            status, headers, answer = self._ask(body)
            if isinstance(fault, Late):
                wire.ended.wait(20)
            if isinstance(fault, Lost | Late):
                self.close_connection = True
            else:
                self._say(status, headers, answer)

    do_GET = _carry  # noqa: N815 - the names that the base class calls, as in the next
    do_HEAD = _carry  # noqa: N815
    do_PUT = _carry  # noqa: N815
    do_POST = _carry  # noqa: N815

    def _ask(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        address = urlsplit(self.wire.upstream)
        if address.scheme == "https":
            trusting = ssl._create_unverified_context()
            server: http.client.HTTPConnection = http.client.HTTPSConnection(address.netloc, context=trusting)
        else:
            server = http.client.HTTPConnection(address.netloc)
        try:
            server.request(self.command, self.path, body, dict(self.headers))
            answer = server.getresponse()
            return answer.status, dict(answer.headers), answer.read()
        finally:
            server.close()

    def _say(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in (*HOP, "content-length", "date", "server"):
                self.send_header(name, value)
        length = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(body))
        self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def wired(upstream: str, port: int = 0, tls: ssl.SSLContext | None = None) -> Iterator[Wire]:
    """A wire to a server, at an address of its own: http, or https with a context."""
    wire = Wire(upstream)
    server = ThreadingHTTPServer(("127.0.0.1", port), type("Handler", (_Handler,), {"wire": wire}))
    server.daemon_threads = True
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    wire.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield wire
    finally:
        wire.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()
