"""A fault proxy between consumers and one sink: HTTP in, HTTP out, and what goes wrong is told by `Weather`."""

from __future__ import annotations

import asyncio
import queue
import random
import ssl
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import urlsplit

LOOPBACK = "127.0.0.1"
LONGEST_HEAD = 64 * 1024
BODILESS = (204, 304)


@dataclass
class Weather:
    """What happens to requests; may be changed at any time. Shares are probabilities 0..1, tried in this order.

    `down`: connections are closed unanswered. `slow`: seconds before anything else. `unavailable`: answered with 503.
    `throttled`: a write is answered with 429 and `retry_after` ms. `lost`: carried out, and the connection closed
    instead of the answer.
    """

    down: bool = False
    slow: float = 0.0
    unavailable: float = 0.0
    throttled: float = 0.0
    retry_after: int = 50
    lost: float = 0.0


class Message(NamedTuple):
    """A request or an answer as it goes over the wire: its first line, its other header lines, its body."""

    first: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes

    @property
    def verb(self) -> bytes:
        return self.first.partition(b" ")[0]

    @property
    def status(self) -> int:
        return int(self.first.split()[1])

    def header(self, name: bytes) -> bytes:
        return next((value for key, value in self.headers if key.lower() == name), b"")

    def encoded(self, *, bodiless: bool = False) -> bytes:
        """With its length said anew, since the body was read in full; `bodiless` keeps what a HEAD was told."""
        kept = [
            (key, value)
            for key, value in self.headers
            if key.lower() not in (b"transfer-encoding", b"connection", *(() if bodiless else (b"content-length",)))
        ]
        if not bodiless:
            kept.append((b"Content-Length", str(len(self.body)).encode()))
        lines = [self.first, *(key + b": " + value for key, value in kept)]
        return b"\r\n".join(lines) + b"\r\n\r\n" + (b"" if bodiless else self.body)


@dataclass
class Proxy:
    """One running proxy: `weather` steers it, `seen` counts requests and what was done to them."""

    upstream: str
    seed: int
    port: int = 0
    weather: Weather = field(default_factory=Weather)
    seen: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._chance, address = random.Random(self.seed), urlsplit(self.upstream)
        self._host, self._port = str(address.hostname), int(address.port or 0)
        self._tls = ssl._create_unverified_context() if address.scheme == "https" else None  # an emulator's own
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._serving: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    async def serve(self, client: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        """One connection of a client, for as long as both sides want it."""
        task = asyncio.current_task()
        assert task
        self._serving.add(task)
        try:
            while request := await _read(client):
                if not await self._answer(request, answer):
                    break
        except (OSError, EOFError):
            self.seen["client left"] += 1
        except asyncio.CancelledError:  # by `close`; raised again, Python 3.11 would print it as an error
            self.seen["cut off"] += 1
        finally:
            answer.close()
            self._serving.discard(task)

    async def close(self) -> None:
        """End every connection, of both sides."""
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        for _, writer in self._idle:
            writer.close()
        await asyncio.sleep(0.05)  # sockets close some turns of the loop later

    async def _answer(self, request: Message, answer: asyncio.StreamWriter) -> bool:
        """False when the connection has to be closed."""
        weather = self.weather
        self.seen["requests"] += 1
        if weather.down:
            self.seen["down"] += 1
            return False
        if weather.slow:
            await asyncio.sleep(weather.slow)
        if self._happens(weather.unavailable):
            self.seen["unavailable"] += 1
            answer.write(_refusal(b"503 Service Unavailable"))
        elif request.verb in (b"POST", b"PUT") and self._happens(weather.throttled):
            self.seen["throttled"] += 1
            wait = str(weather.retry_after).encode()
            answer.write(_refusal(b"429 Too Many Requests", (b"x-ms-retry-after-ms", wait)))
        else:
            try:
                got = await self._ask(request)
            except (OSError, EOFError):
                self.seen["upstream failed"] += 1
                return False
            if self._happens(weather.lost):
                self.seen["lost"] += 1
                return False
            bodiless = request.verb == b"HEAD" or got.status in BODILESS
            answer.write(got.encoded(bodiless=bodiless))
        await answer.drain()
        return True

    def _happens(self, share: float) -> bool:
        return share > 0 and self._chance.random() < share

    async def _ask(self, request: Message) -> Message:
        """The answer of the sink, over a connection that is used again where the sink keeps it open."""
        while True:
            fresh = not self._idle
            reader, writer = (
                await asyncio.open_connection(self._host, self._port, ssl=self._tls) if fresh else self._idle.pop()
            )
            try:
                writer.write(request.encoded())
                await writer.drain()
                if got := await _read(reader, to=request.verb):
                    break
            except (OSError, EOFError):
                got = None
            writer.close()
            if fresh:
                raise EOFError(f"{self.upstream} closed the connection")
        if got.header(b"connection").lower() == b"close":
            writer.close()
        else:
            self._idle.append((reader, writer))
        return got


async def _read(reader: asyncio.StreamReader, to: bytes = b"") -> Message | None:
    """The next request, or the answer `to` a verb; None at the end of the connection. Raises EOFError within one."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as end:
        if end.partial:
            raise EOFError from None
        return None
    first, *lines = head[:-4].split(b"\r\n")
    headers = tuple((key, value.strip()) for key, _, value in (line.partition(b":") for line in lines))
    message = Message(first, headers, b"")
    if to == b"HEAD" or (to and message.status in BODILESS):
        return message
    if message.header(b"transfer-encoding").lower() == b"chunked":
        return message._replace(body=await _chunks(reader))
    return message._replace(body=await reader.readexactly(int(message.header(b"content-length") or 0)))


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = []
    while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
        body.append(await reader.readexactly(size))
        await reader.readexactly(2)
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass  # trailers
    return b"".join(body)


def _refusal(status: bytes, *headers: tuple[bytes, bytes]) -> bytes:
    return Message(b"HTTP/1.1 " + status, headers, b"").encoded()


@contextmanager
def proxied(upstream: str, seed: int) -> Iterator[Proxy]:
    """A proxy before a sink, on a port of its own, in a thread of its own."""
    proxy, loops = Proxy(upstream, seed), queue.Queue[asyncio.AbstractEventLoop]()
    ended = asyncio.Event()

    async def main() -> None:
        server = await asyncio.start_server(proxy.serve, LOOPBACK, 0, limit=LONGEST_HEAD)
        proxy.port = server.sockets[0].getsockname()[1]
        loops.put(asyncio.get_running_loop())
        await ended.wait()
        server.close()
        await proxy.close()

    thread = threading.Thread(target=asyncio.run, args=(main(),), name=f"proxy of {upstream}", daemon=True)
    thread.start()
    loop = loops.get(timeout=10)
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(10)
