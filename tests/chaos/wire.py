"""The wire between consumers and broker: toxiproxy, which can slow, silence or reset it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

import tools
from tools import servers
from tools.servers import LOOPBACK, Server, running


@dataclass(frozen=True)
class Wire:
    """The TCP wire to the broker: toxiproxy, told by its own API."""

    port: int
    api: str

    @contextmanager
    def toxic(self, kind: str, **attributes: int) -> Iterator[None]:
        """A toxic in both directions while the block runs. Source: toxiproxy, README, "Toxics"."""
        ways = ("upstream", "downstream")
        for way in ways:
            body = {"name": way, "type": kind, "stream": way, "attributes": attributes}
            requests.post(f"{self.api}/proxies/amqp/toxics", json=body, timeout=5).raise_for_status()
        try:
            yield
        finally:
            for way in ways:
                requests.delete(f"{self.api}/proxies/amqp/toxics/{way}", timeout=5).raise_for_status()

    def reset(self) -> None:
        """Every connection is reset as soon as something goes over it."""
        with self.toxic("reset_peer", timeout=0):
            time.sleep(0.3)


@contextmanager
def toxiproxy(home: Path, broker: int) -> Iterator[Wire]:
    port, control = servers.free_ports(2)
    command = (str(tools.path("toxiproxy-server")), "-host", LOOPBACK, "-port", str(control))
    with running(Server("toxiproxy", command, f"tcp://{LOOPBACK}:{control}", (control, port), home)):
        wire = Wire(port, f"http://{LOOPBACK}:{control}")
        body = {"name": "amqp", "listen": f"{LOOPBACK}:{port}", "upstream": f"{LOOPBACK}:{broker}"}
        requests.post(f"{wire.api}/proxies", json=body, timeout=5).raise_for_status()
        yield wire
