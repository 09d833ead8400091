"""A blob server that takes every PUT and keeps nothing: what is measured is the consumer, not the store."""

from __future__ import annotations

import asyncio
import sys

ANSWER = (
    b'HTTP/1.1 201 Created\r\nContent-Length: 0\r\nETag: "0x1"\r\nLast-Modified: Mon, 01 Jan 2024 00:00:00 GMT\r\n'
    b"x-ms-request-id: 1\r\nx-ms-version: 2023-11-03\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\n\r\n"
)


class Sink(asyncio.Protocol):
    """Answers each request once its body is in, after `latency` seconds."""

    def __init__(self, latency: float) -> None:
        self._latency, self._received, self._wanted = latency, b"", -1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while self._request_is_in():
            self._received, self._wanted = self._received[self._wanted :], -1
            asyncio.get_running_loop().call_later(self._latency, self._transport.write, ANSWER)

    def _request_is_in(self) -> bool:
        if self._wanted < 0 and (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = self._received[:end].lower()
            _, found, rest = head.partition(b"content-length:")
            self._wanted = end + 4 + (int(rest.partition(b"\r\n")[0]) if found else 0)
        return 0 <= self._wanted <= len(self._received)


async def serve(port: int, latency: float) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: Sink(latency), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), float(sys.argv[2])))
