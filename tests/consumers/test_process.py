"""A consumer process as an operator meets it: starts, answers, writes, ends."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pika
import pytest
import requests

from catalog import CATALOG
from tests.brokers import SLOWER, eventually, lines
from tests.reliability.stand import Stand
from tests.samples import body_of, envelope

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """Broker, stores and everything that `pulumi up` would put there."""
    with ExitStack() as ending:
        yield Stand(tmp_path_factory.mktemp("stand"), ending)


@pytest.fixture(params=[service.name for service in CATALOG.services])
def service(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def get(stand: Stand, service: str, path: str) -> requests.Response | None:
    try:
        return requests.get(f"http://127.0.0.1:{stand.ports[service]}{path}", timeout=2)
    except requests.ConnectionError:
        return None


def is_ready(stand: Stand, service: str) -> bool:
    answer = get(stand, service, "/health/ready")
    return answer is not None and answer.ok


def publish(stand: Stand, key: str, body: bytes) -> None:
    with pika.BlockingConnection(pika.URLParameters(stand.amqp)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.basic_publish(CATALOG.exchange.name, key, body)


def test_a_process_becomes_ready_and_ends_in_order(stand: Stand, service: str) -> None:
    """Ready once every queue is consumed, live, scraped; on SIGTERM it ends with status 0 within ten seconds."""
    process = stand.start(service)
    eventually(lambda: is_ready(stand, service), 30)
    ready = get(stand, service, "/health/ready")
    live = get(stand, service, "/health/live")
    metrics = get(stand, service, "/metrics")
    assert ready is not None
    assert live is not None
    assert metrics is not None

    assert {queue.name: "consuming" for queue in CATALOG.queues_of(service)} == ready.json()["queues"]
    assert live.json()["ok"]
    assert re.search(r"consumer_startup_seconds \d", metrics.text)
    process.send_signal(signal.SIGTERM)
    assert 0 == process.wait(timeout=10 * SLOWER)
    assert "ended" == lines(stand.log(service))[-1]["message"]


def test_fault_07_a_completed_prediction_is_counted(stand: Stand) -> None:
    """`ml.prediction.completed` becomes a usage document, once, however often it is delivered."""
    process = stand.start("analytics-service")
    event = envelope("ml.prediction.completed", id="counted-once")
    for _ in range(2):
        publish(stand, event["type"], json.dumps(event).encode())

    def documents() -> list[dict[str, object]]:
        place = f"analytics_usage_ml/{event['tenantId']}/{event['type']}_{event['id']}"
        store = CATALOG.store("cosmos_db.containers.usage_ml")
        return [content for found, content in stand.sinks.database.contents(store).items() if found == place]

    eventually(documents, 30)
    metrics = 'rabbitmq_messages_duplicate_total{queue="analytics_service"} 1.0'
    eventually(lambda: (answer := get(stand, "analytics-service", "/metrics")) and metrics in answer.text)
    assert [event["data"]["modelId"]] == [found["modelId"] for found in documents()]
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=10 * SLOWER)


def test_a_taken_port_is_named(stand: Stand) -> None:
    """The second process on a port ends at once and says whose setting it is."""
    first = stand.start("logging")
    eventually(lambda: is_ready(stand, "logging"), 30)
    second = stand.start("logging")

    assert 1 == second.wait(timeout=20 * SLOWER)
    assert (
        f"cannot listen on 127.0.0.1:{stand.ports['logging']} (Address already in use): set HOST and PORT"
        in stand.log("logging")
    )
    first.send_signal(signal.SIGTERM)
    first.wait(timeout=10 * SLOWER)


def test_events_are_written_by_a_process(stand: Stand) -> None:
    """From the exchange to one Parquet blob and one audit blob, under the event's own date."""
    process = stand.start("logging")
    publish(stand, "risk.evaluated", body_of("risk.evaluated", id="written-once", timestamp="2026-01-02T23:59:59Z"))

    eventually(lambda: is_ready(stand, "logging"), 30)
    folders = {"risk_evaluations": "parquet", "ml_audit": "json"}
    wanted = {f"risk/{f}/year=2026/month=01/day=02/risk.evaluated-written-once.{s}" for f, s in folders.items()}
    eventually(lambda: wanted <= stand.sinks.lake.places(), 30)
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=10 * SLOWER)


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [([], 2, "usage:"), (["--help"], 0, "usage:"), (["logging"], 1, "RABBITMQ_URL is not set")],
)
def test_a_wrong_start_says_how_to_start(arguments: list[str], status: int, said: str) -> None:
    """Help on request, usage on a wrong call, and every missing setting."""
    folder = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "consumers", *arguments], cwd=folder, env={}, check=False, capture_output=True, text=True
    )

    assert status == done.returncode
    assert said in done.stdout + done.stderr
