"""Planned work on a sink: real consumers under the supervisor are told to pause, and to go on."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pika
import pytest
import requests

from catalog import CATALOG
from infra import processes, supervision
from oncall.pause import PAUSED
from tests.brokers import eventually, lines
from tests.oncall.sites import Answered, oncall
from tests.reliability.stand import Stand
from tests.samples import body_of
from tools.servers import free_ports

pytestmark = [pytest.mark.servers, pytest.mark.slow]

REPLICAS = ("logging-0", "logging-1")
QUEUES = [queue.name for queue in CATALOG.queues_of("logging")]
KEY = "risk.evaluated"


class Supervised:
    """Two replicas of `logging` as stack local has them, on a stand of their own."""

    def __init__(self, home: Path, stand: Stand) -> None:
        self.home, self.stand = home, stand
        self.file = home / "endpoints.json"
        self.file.write_text(json.dumps({}))
        self.urls = dict(zip(REPLICAS, (f"http://127.0.0.1:{port}" for port in free_ports(2)), strict=True))
        supervision.start(home)
        for name in REPLICAS:
            self.run(name)

    def run(self, name: str) -> None:
        """(Re)start one replica and wait until it is ready."""
        environment = self.stand._environment(CATALOG.service("logging"))
        own = {"PORT": self.urls[name].rpartition(":")[2], "REPLICA": name}
        props: dict[str, Any] = {
            "home": str(self.home),
            "name": name,
            "command": [sys.executable, "-m", "consumers", "logging"],
            "env": {**environment, **own},
            "secrets": {},
            "directory": str(Path(__file__).parents[2]),
            "ready": f"{self.urls[name]}/health/ready",
            "stop_seconds": 20,
            "files": {},
        }
        processes.run(props)

    def oncall(self, *arguments: str) -> Answered:
        return oncall(self.file, *arguments)

    def said(self, name: str) -> tuple[bool, set[str]]:
        """Whether a replica is ready, and what it says of its queues."""
        answer = requests.get(f"{self.urls[name]}/health/ready", timeout=5)
        return answer.ok, set(answer.json()["queues"].values())

    def publish(self, *ids: str) -> None:
        with pika.BlockingConnection(pika.URLParameters(self.stand.amqp)) as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            for identity in ids:
                channel.basic_publish(CATALOG.exchange.name, KEY, body_of(KEY, id=identity))

    def written(self) -> set[str]:
        return {place.rpartition(f"{KEY}-")[2].split(".")[0] for place in self.stand.sinks.lake.places()}

    def attempts(self) -> list[int]:
        """Of every delivery that either of them answered."""
        text = "".join((self.home / "logs" / f"{name}.log").read_text() for name in REPLICAS)
        return [line["attempt"] for line in lines(text) if "verdict" in line]


@pytest.fixture(scope="module")
def supervised(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Supervised]:
    home = tmp_path_factory.mktemp("home")
    with ExitStack() as ending:
        stand = Stand(tmp_path_factory.mktemp("stand"), ending, quick=True)
        ending.callback(lambda: supervision.end([int(supervision.ask(home, "getPID"))]))
        yield Supervised(home, stand)


CONSUMING = (True, {"consuming"})
HELD = (True, {f"paused: on purpose, by SIG{PAUSED[0]}; `oncall resume logging` ends it"})


def test_nothing_is_taken_until_the_consumers_are_told_to_go_on(supervised: Supervised) -> None:
    """Both replicas stay ready and say why they wait; then every event is written, at its first delivery."""
    first, later = {f"first-{n}" for n in range(30)}, {f"later-{n}" for n in range(30)}
    supervised.publish(*first)
    eventually(lambda: first <= supervised.written())

    paused = supervised.oncall("pause", "logging")
    for name in REPLICAS:
        eventually(lambda name=name: supervised.said(name) == HELD)
    supervised.publish(*later)
    waiting = [len(later)] * len(QUEUES)
    eventually(lambda: [supervised.stand.api.get(f"queues/%2F/{q}").get("messages_ready") for q in QUEUES] == waiting)
    between = supervised.written()
    resumed = supervised.oncall("resume", "logging")
    eventually(lambda: later <= supervised.written(), 30)

    assert (0, f"SIGUSR1 went to 2 of 2 processes of logging: {', '.join(REPLICAS)}") == (
        paused.code,
        paused.out.splitlines()[0],
    )
    assert set() == between & later
    assert (0, f"SIGUSR2 went to 2 of 2 processes of logging: {', '.join(REPLICAS)}") == (
        resumed.code,
        resumed.out.splitlines()[0],
    )
    assert [CONSUMING] * 2 == [supervised.said(name) for name in REPLICAS]
    eventually(lambda: len(supervised.attempts()) == len(QUEUES) * len(first | later))
    assert {1} == set(supervised.attempts())


def test_a_process_that_starts_later_begins_unpaused(supervised: Supervised) -> None:
    """As the help says, so that it has to be told as well."""
    supervised.oncall("pause", "logging")
    supervised.run(REPLICAS[1])

    eventually(lambda: [supervised.said(name) for name in REPLICAS] == [HELD, CONSUMING])
    supervised.oncall("resume", "logging")


def test_a_replica_that_does_not_run_is_named(supervised: Supervised) -> None:
    """The others are told, and a person has to know of this one."""
    supervision.ask(supervised.home, "stopProcess", REPLICAS[0])

    answer = supervised.oncall("resume", "logging", "--json")

    assert (1, [REPLICAS[1]]) == (answer.code, answer.data["told"])
    assert [f"{REPLICAS[0]} was not told: it is STOPPED, and begins unpaused once it runs"] == answer.data["needs"]
    supervision.ask(supervised.home, "startProcess", REPLICAS[0])


@pytest.mark.parametrize(
    ("service", "said"),
    [
        ("loging", "service 'loging' does not exist: did you mean logging?"),
        ("analytics-service", "has no process of analytics-service: `make up` starts it"),
    ],
)
def test_nobody_to_tell_is_told(supervised: Supervised, service: str, said: str) -> None:
    """A slip of the hand, and a service of which nothing runs."""
    answer = supervised.oncall("pause", service)

    assert (2, True) == (answer.code, said in answer.err), answer.err


def test_a_file_away_from_its_supervisor_is_named(tmp_path: Path) -> None:
    """The message says where it looked and what belongs there."""
    file = tmp_path / "endpoints.json"
    file.write_text("{}")

    answer = oncall(file, "pause", "logging")

    assert (2, True) == (answer.code, f"no supervisor answers at {tmp_path}/supervisor.sock" in answer.err), answer.err
