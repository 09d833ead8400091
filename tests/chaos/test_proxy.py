"""Each kind of weather between a consumer and its sink does what it says, and to as many requests as it says."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.chaos.proxy import Proxy, Weather, proxied


class Sink(BaseHTTPRequestHandler):
    """Keeps what it is given by path; answers a GET in two chunks."""

    protocol_version = "HTTP/1.1"
    held: dict[str, bytes]

    def do_PUT(self) -> None:
        self.held[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        body = self.held[self.path]
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for part in (body[:3], body[3:], b""):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.held[self.path])))
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def sink() -> Iterator[tuple[str, dict[str, bytes]]]:
    held: dict[str, bytes] = {}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Own", (Sink,), {"held": held}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", held
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def held_by() -> Iterator[tuple[Proxy, dict[str, bytes]]]:
    with sink() as (url, held), proxied(url, seed=7) as proxy:
        yield proxy, held


def ask(proxy: Proxy, verb: str, path: str, body: bytes | None = None) -> tuple[int, bytes, dict[str, str]]:
    """Status, body and headers; (0, ...) when the connection ends without an answer."""
    client = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=5)
    try:
        client.request(verb, path, body)
        answer = client.getresponse()
        return answer.status, answer.read(), dict(answer.headers)
    except (http.client.RemoteDisconnected, ConnectionResetError):
        return 0, b"", {}
    finally:
        client.close()


def test_fair_weather_changes_nothing(held_by: tuple[Proxy, dict[str, bytes]]) -> None:
    """What is put arrives, what is read comes back, with and without chunks, and a HEAD has no body."""
    proxy, held = held_by

    assert 201 == ask(proxy, "PUT", "/a", b"content")[0]
    assert {"/a": b"content"} == held
    assert (200, b"content") == ask(proxy, "GET", "/a")[:2]
    status, body, headers = ask(proxy, "HEAD", "/a")
    assert (200, b"", "7") == (status, body, headers["Content-Length"])


@pytest.mark.parametrize(
    ("weather", "status", "arrives"),
    [
        (Weather(down=True), 0, False),
        (Weather(unavailable=1.0), 503, False),
        (Weather(throttled=1.0), 429, False),
        (Weather(lost=1.0), 0, True),
        (Weather(slow=0.05), 201, True),
    ],
    ids=["down", "unavailable", "throttled", "response lost", "slow"],
)
def test_each_weather_does_what_it_says(
    held_by: tuple[Proxy, dict[str, bytes]], weather: Weather, status: int, *, arrives: bool
) -> None:
    """A lost response is the one fault after which the write is there."""
    proxy, held = held_by
    proxy.weather = weather

    assert status == ask(proxy, "PUT", "/a", b"content")[0]
    assert arrives == ("/a" in held)


def test_a_throttled_write_is_told_when_to_come_back_and_a_read_is_not_throttled(
    held_by: tuple[Proxy, dict[str, bytes]],
) -> None:
    """As Cosmos does: in milliseconds."""
    proxy, _ = held_by
    ask(proxy, "PUT", "/a", b"content")
    proxy.weather = Weather(throttled=1.0, retry_after=70)

    assert "70" == ask(proxy, "PUT", "/a", b"content")[2]["x-ms-retry-after-ms"]
    assert 200 == ask(proxy, "GET", "/a")[0]


def test_shares_are_met_and_the_same_seed_gives_the_same_faults() -> None:
    """A fifth of 200 requests, the same ones twice."""
    statuses = []
    for _ in range(2):
        with sink() as (url, _held), proxied(url, seed=3) as proxy:
            proxy.weather = Weather(unavailable=0.2)
            statuses.append([ask(proxy, "PUT", "/a", b"x")[0] for _ in range(200)])
            assert {"requests": 200, "unavailable": statuses[-1].count(503)} == proxy.seen

    assert statuses[0] == statuses[1]
    assert 20 < statuses[0].count(503) < 60
