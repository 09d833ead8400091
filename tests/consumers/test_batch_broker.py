"""Fault 9 against a real broker that loses patience: a run outlasts the acknowledgement timeout, again and again."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from catalog import CATALOG, Queue
from catalog.metrics import CONSUMED
from consumers import batch
from consumers.amqp import Broker
from consumers.dead import DeadLetters
from consumers.events import Event
from consumers.jobs import Sinks
from consumers.publish import ConfirmedPublisher
from consumers.worker import Worker
from infra.broker_api import Api
from tests.brokers import LiveBroker, eventually
from tests.runs import Platform, ScriptedJob, trigger, until
from tests.samples import body_of
from tests.stories import run
from tools import servers

pytestmark = [pytest.mark.servers, pytest.mark.slow]

TIMEOUT = timedelta(seconds=2)


@pytest.fixture(scope="module", params=["4.3", "4.0"])
def impatient(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveBroker]:
    """A broker that looks for overdue acknowledgements every second, and not every minute."""
    home, ports = tmp_path_factory.mktemp("impatient"), servers.BrokerPorts(*servers.free_ports(5))
    password = secrets.token_urlsafe(12)
    url = f"amqp://admin:{password}@127.0.0.1:{ports.amqp}/%2F"
    api = Api(f"http://127.0.0.1:{ports.management}", url, "admin", password)
    with ExitStack() as started:
        for server in _servers(home, ports, password, request.param):
            started.enter_context(servers.running(server))
        eventually(lambda: servers.answers(f"{api.url}/api/overview") and api.get("vhosts/%2F"), 30)
        yield LiveBroker(request.param, url, api)


def _servers(home: Path, ports: servers.BrokerPorts, password: str, version: str) -> list[servers.Server]:
    advanced = "[{rabbit, [{channel_tick_interval, 1000}]}]."
    node = servers.rabbitmq(home, ports=ports, user="admin", password=password, version=version, advanced=advanced)
    return [servers.epmd(home / "epmd", ports.epmd, version=version), node]


@pytest.mark.parametrize("prefetch", [1, 2])
def test_fault_09_a_run_longer_than_the_acknowledgement_timeout_runs_once(
    impatient: LiveBroker, job: ScriptedJob, monkeypatch: pytest.MonkeyPatch, prefetch: int
) -> None:
    """The broker delivers the trigger again and again meanwhile; there is one run, one outcome, and nothing is left."""
    monkeypatch.setattr(Queue, "ack_timeout", TIMEOUT)
    queue = replace(CATALOG.queue_of("batch"), name=f"batch_{secrets.token_hex(4)}", prefetch=prefetch)
    catalog = replace(CATALOG, queues=(queue,))
    impatient.prepare(catalog)

    async def story() -> None:
        platform, deliveries = Platform(), list[str]()
        process = platform.worker()
        handle = batch.handler(
            catalog,
            process.ledger,
            Sinks(platform.blobs, platform.documents),
            platform.outbox,
            process.meters,
            process.stopping,
        )

        async def noted(event: Event) -> bool:
            deliveries.append(event.id)
            return await handle(event)

        publisher = ConfirmedPublisher(Broker(impatient.url), "publisher")
        worker = Worker(
            queue,
            noted,
            Broker(impatient.url),
            DeadLetters(catalog.exchange, queue, publisher),
            process.meters,
            process.stopping,
        )
        working = asyncio.create_task(worker.run())
        job.go.clear()
        impatient.publish(queue, [body_of("workflow.job.trigger", id="trigger-1")])
        await until(lambda: job.begun)
        await asyncio.sleep(3 * TIMEOUT.total_seconds())
        job.go.set()
        consumed = process.meters[CONSUMED].labels(queue.name)
        await until(lambda: len(deliveries) > 1 and consumed._value.get() == 1)
        process.stopping.set()
        await asyncio.wait_for(working, 30)
        await publisher.close()

        assert 1 == job.begun
        assert {"trigger-1:completed"} == set(platform.outcomes)
        assert "completed" == (await platform.run_of(trigger())).status

    run(story())
    assert [0, 0] == [impatient.ready(name) for name in (queue.name, queue.dead)]
