"""Credentials rotated while events flow: old and new user work side by side, and every event is there once."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from pathlib import Path
from threading import Event

import pytest

from catalog.broker import Capabilities
from infra.broker_api import put
from infra.topology import topology, user_of
from proof.flow import STALE, publish
from proof.plan import Plan, good
from proof.portfolio import DAYS, Window, events
from proof.readback import Seen
from proof.verify import sink
from tests.brokers import SLOWER, eventually
from tests.reliability.stand import ADMIN, PASSWORD, Stand
from tools import servers
from tools.servers import LOOPBACK

SERVICE = "logging"
NEWER = "throwaway-2"
SEED = 7
EVENTS = 2_000
SETTLED_WITHIN = 120.0  # seconds after the last event
NOTHING = Seen(frozenset(), {}, {})

pytestmark = [
    pytest.mark.servers,
    pytest.mark.broker,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning"),  # the emulator's certificate
]


def some_weeks(stand: Stand) -> Plan:
    """Of the portfolio, as many as it takes."""
    today = date(2026, 3, 2)
    happened = [event for week in range(2) for event in events(today - week * timedelta(days=DAYS), SEED)]
    assert EVENTS <= len(happened)
    return Plan(stand.catalog, Window.before(today), tuple(good(stand.catalog, event) for event in happened[:EVENTS]))


def mounted(folder: Path, user: str, password: str) -> Path:
    """A Secret as a pod sees it."""
    folder.mkdir()
    (folder / "username").write_text(user)
    (folder / "password").write_text(password)
    return folder


def start(stand: Stand, credentials: Path) -> subprocess.Popen[bytes]:
    """A replica that has its login from a Secret."""
    port = servers.free_ports(1)[0]
    replica = stand.start(
        SERVICE,
        RABBITMQ_URL=stand.amqp.replace(f"{ADMIN}:{PASSWORD}@", ""),
        RABBITMQ_CREDENTIALS=str(credentials),
        PORT=str(port),
    )
    eventually(lambda: servers.answers(f"http://{LOOPBACK}:{port}/health/ready"))
    return replica


def logins(stand: Stand) -> Counter[str]:
    """Connections by user, without the administrator's own."""
    return Counter(row["user"] for row in stand.api.get("connections") if row.get("user") not in (None, ADMIN))


def test_a_rotation_loses_and_repeats_nothing(stand: Stand, tmp_path: Path) -> None:
    """One replica rolls to the new user, one is forgotten and loses its connection: what it held is taken by others."""
    plan, old, new = some_weeks(stand), user_of(SERVICE, 1), user_of(SERVICE, 2)
    stop = Event()
    first = mounted(tmp_path / "first", old, PASSWORD)
    rolled, forgotten = start(stand, first), start(stand, first)

    def flow() -> None:
        """All events, fifty at a time, as slowly as the rotation takes."""
        for number in range(0, EVENTS, 50):
            asyncio.run(publish(stand.amqp, stand.catalog.exchange.name, plan.messages[number : number + 50]))
            stop.wait(0.5)

    with ThreadPoolExecutor(1) as pool:
        flowing = pool.submit(flow)
        eventually(lambda: set(logins(stand)) == {old}, 20)
        for wanted in topology(stand.catalog, Capabilities.of(stand.version), 2).objects:
            if new in wanted.path:
                put(stand.api, wanted.path, wanted.body, NEWER if wanted.owner else "")
        replacement = start(stand, mounted(tmp_path / "second", new, NEWER))
        eventually(lambda: set(logins(stand)) == {old, new}, 20)
        rolled.send_signal(signal.SIGTERM)
        assert 0 == rolled.wait(timeout=30 * SLOWER)
        assert not flowing.done(), "nothing flowed any more: publish more slowly"
        stand.api.delete(f"users/{old}")
        eventually(lambda: set(logins(stand)) == {new}, 20)
        assert not flowing.done(), "nothing flowed any more: publish more slowly"
        stop.set()
        flowing.result()

    last = time.monotonic()
    queues = stand.catalog.queues_of(SERVICE)
    eventually(lambda: time.monotonic() > last + STALE and not _held(stand), SETTLED_WITHIN)
    assert None is forgotten.poll(), "it goes on trying, until its pod is deleted"
    replacement.send_signal(signal.SIGTERM)
    assert 0 == replacement.wait(timeout=30 * SLOWER)
    after = stand.sinks.look()
    ledgers = [sink(plan, queue, stand.sinks.lake, NOTHING, after) for queue in queues]
    assert [] == [sentence for ledger in ledgers for sentence in ledger.sentences()]
    assert [len(plan.written(queue)) for queue in queues] == [ledger.equal for ledger in ledgers]
    assert {} == {place: reason for letters in after.dead.values() for place, reason in letters.items()}


def _held(stand: Stand) -> int:
    return sum(
        int(stand.api.get(f"queues/%2F/{queue.name}").get("messages", 1)) for queue in stand.catalog.queues_of(SERVICE)
    )
