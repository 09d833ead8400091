"""A stack as its operator meets it: a real broker, ledger, Prometheus and Alertmanager, and a file that names them."""

from __future__ import annotations

import json
import secrets
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import pika
import pytest
import yaml
from azure.cosmos import ContainerProxy, CosmosClient, PartitionKey
from prometheus_client import CollectorRegistry
from urllib3.exceptions import InsecureRequestWarning

import tools
from alerts.alertmanager import config as alertmanager_config
from alerts.build import rules
from catalog import CATALOG, Catalog, Metric, Queue, resolve
from catalog.metrics import CONSUMERS, HANDLING, JOB_RUNS, OLDEST, PAUSED, PUBLISHED, READY, SETTLED, SLOTS
from consumers.dead import PREFIX, identity
from consumers.health import Health, serve
from consumers.ledger import Run
from oncall.__main__ import main
from tests.brokers import LiveBroker
from tests.oncall.classic import ARGUMENTS, declare
from tests.oncall.sites import Answered, Site
from tests.programs import run as run_program
from tools import servers

RENAMED = {f"{queue.setting}.queue": f"{queue.name}_{uuid.uuid4().hex[:6]}" for queue in CATALOG.queues}


@contextmanager
def quiet() -> Iterator[None]:
    """The library warns that it checks no certificate on loopback, where the emulator is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InsecureRequestWarning)
        yield


@dataclass(frozen=True)
class Stack:
    """Everything behind one endpoints file."""

    file: Path
    broker: LiveBroker
    catalog: Catalog
    ledger: ContainerProxy

    def bury(self, queue: Queue, body: bytes, reason: str, **headers: Any) -> None:
        """Put a dead letter where a worker would, with its headers."""
        headers = {
            f"{PREFIX}reason": reason,
            f"{PREFIX}detail": f"seeded as {reason}",
            f"{PREFIX}attempts": 1,
            f"{PREFIX}queue": queue.name,
            f"{PREFIX}key": queue.keys[0],
            f"{PREFIX}at": "2026-01-05T09:30:00+00:00",
            **headers,
        }
        properties = pika.BasicProperties(
            delivery_mode=2, message_id=identity(body), headers=headers, content_type="application/json"
        )
        channel = self.broker.channel()
        channel.basic_publish(self.catalog.exchange.dead, queue.name, body, properties, mandatory=True)
        channel.connection.close()

    def note(self, run: Run) -> None:
        """Write a run into the ledger, as a worker would."""
        with quiet():
            self.ledger.upsert_item(msgspec.to_builtins(run))

    def empty(self) -> None:
        """Take all events, dead letters and runs away."""
        with quiet():
            for run in list(self.ledger.read_all_items()):
                self.ledger.delete_item(run["id"], run["job"])
        channel = self.broker.channel()
        for queue in self.catalog.queues:
            channel.queue_purge(queue.name)
            channel.queue_purge(queue.dead)
        channel.connection.close()


@dataclass
class Watched:
    """One queue's worker, as readiness sees it."""

    name: str
    trouble: str
    paused: str = ""


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    """The catalog of a stack that gave its queues other names."""
    return resolve(CATALOG, RENAMED)


@pytest.fixture(scope="module")
def stack(broker: LiveBroker, catalog: Catalog, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Servers for the commands of a module; what Prometheus has recorded ends when they start, and would grow old."""
    home = tmp_path_factory.mktemp("stack")
    broker.prepare(catalog)
    ports = servers.free_ports(3)
    with ExitStack() as started:
        started.enter_context(servers.running(servers.cosmos(home / "cosmos", ports[0])))
        monitoring(started, home, catalog, ports[1], ports[2])
        account = {
            "endpoint": f"https://127.0.0.1:{ports[0]}",
            "key": tools.emulator_key("cosmos"),
            "database": catalog.database,
        }
        endpoints = {
            "amqp": broker.url,
            "management": {"url": broker.api.url, "user": broker.api.user, "password": broker.api.password},
            "prometheus": f"http://127.0.0.1:{ports[1]}",
            "alertmanager": f"http://127.0.0.1:{ports[2]}",
            "cosmos": account,
            "services": replicas(started, catalog),
            "overrides": RENAMED,
        }
        file = home / "endpoints.json"
        file.write_text(json.dumps(endpoints))
        with quiet():
            made = ledger(account, catalog)
        yield Stack(file, broker, catalog, made)


def replicas(started: ExitStack, catalog: Catalog) -> dict[str, list[str]]:
    """One replica per service; that of `logging` is not ready, and says why."""
    urls = {}
    for service in catalog.services:
        trouble = "not connected yet" if service.name == "logging" else ""
        watched = [Watched(queue.name, trouble) for queue in catalog.queues_of(service.name)]
        server = serve(Health(CollectorRegistry(), watched), "127.0.0.1", 0)
        started.callback(server.server_close)
        started.callback(server.shutdown)
        urls[service.name] = [f"http://127.0.0.1:{server.server_port}"]
    return urls


def ledger(account: Mapping[str, str], catalog: Catalog) -> ContainerProxy:
    """The container of the runs, made as provisioning makes it."""
    client = CosmosClient(account["endpoint"], account["key"])
    store = catalog.store("cosmos_db.containers.batch_job_runs")
    database = client.create_database_if_not_exists(account["database"])
    return database.create_container_if_not_exists(store.name, PartitionKey(store.partition_key))


def monitoring(started: ExitStack, home: Path, catalog: Catalog, prometheus: int, alertmanager: int) -> None:
    """Prometheus with a quarter of an hour recorded, the stack's own rules, and an Alertmanager to tell."""
    (home / "recorded.txt").write_text(recorded(catalog))
    run_program(
        "promtool", "tsdb", "create-blocks-from", "openmetrics", home / "recorded.txt", home / "prometheus/data"
    )
    (home / "rules.yml").write_text(rules(catalog))
    (home / "alertmanager.yml").write_text(alertmanager_config(catalog))
    config = {
        "global": {"evaluation_interval": "1s"},
        "rule_files": [str(home / "rules.yml")],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{alertmanager}"]}]}]},
    }
    (home / "prometheus.yml").write_text(yaml.safe_dump(config))
    told = servers.alertmanager(home / "alertmanager", alertmanager, home / "alertmanager.yml")
    started.enter_context(servers.running(told))
    server = servers.prometheus(home / "prometheus", prometheus, home / "prometheus.yml")
    quick = replace(
        server, command=(*server.command, "--rules.alert.resend-delay=1s")
    )  # one that was missed comes soon
    started.enter_context(servers.running(quick))


def recorded(catalog: Catalog) -> str:
    """OpenMetrics for the last 15 minutes: the lake gets 40 events/s and settles 8/s at 1 s each; a run failed."""
    lake, job = catalog.queue_of("lake"), catalog.jobs[0].name
    now = int(time.time())
    series: list[tuple[Metric, str, Callable[[int], float]]] = [
        (READY, READY.at(queue=lake.name), lambda t: 36000 + 32 * t),
        (READY, READY.at(queue=lake.dead), lambda _: 2),
        (CONSUMERS, CONSUMERS.at(queue=lake.name), lambda _: 1),
        (PUBLISHED, PUBLISHED.at(queue=lake.name, exchange=catalog.exchange.name), lambda t: 40 * t),
        (SETTLED, SETTLED.at(queue=lake.name), lambda t: 8 * t),
        (HANDLING, HANDLING.at("_sum", queue=lake.name), lambda t: 8 * t),
        (HANDLING, HANDLING.at("_count", queue=lake.name), lambda t: 8 * t),
        (SLOTS, SLOTS.at(queue=lake.name), lambda _: lake.prefetch),
        (OLDEST, OLDEST.at(queue=lake.name), lambda _: 1234),
        (PAUSED, PAUSED.at(queue=catalog.queue_of("audit").name), lambda _: 2),
        (JOB_RUNS, JOB_RUNS.at(job_name=job, status="failed"), lambda t: 0 if t < 600 else 1),
    ]
    lines, families = [], set()
    for metric, name, value in series:
        if metric.kind == "counter" and metric.name not in families:
            lines.append(f"# TYPE {metric.name.removesuffix('_total')} counter")
        families.add(metric.name)
        lines += [f"{name} {value(t):g} {now - 900 + t}" for t in range(0, 901, 15)]
    return "\n".join([*lines, "# EOF", ""])


@pytest.fixture
def oncall(stack: Stack, capsys: pytest.CaptureFixture[str]) -> Callable[..., Answered]:
    """Run one command against the stack, whose queues are empty to begin with."""
    stack.empty()

    def run(*arguments: str, endpoints: Path = stack.file) -> Answered:
        capsys.readouterr()
        code = main([*arguments, "--endpoints", str(endpoints)])
        return Answered(code, *capsys.readouterr())

    return run


@pytest.fixture
def elsewhere(stack: Stack, tmp_path: Path) -> Callable[..., Path]:
    """An endpoints file in which some addresses differ."""

    def write(**changes: Any) -> Path:
        file = tmp_path / f"{secrets.token_hex(4)}.json"
        file.write_text(json.dumps({**json.loads(stack.file.read_text()), **changes}))
        return file

    return write


@pytest.fixture
def site(any_broker: LiveBroker, tmp_path: Path) -> Iterator[Site]:
    """A broker with the shared exchange, and a classic queue with the name of one of ours, bound to eight keys."""
    with Site.on(any_broker, tmp_path) as made:
        declare(made, ARGUMENTS)
        yield made


@pytest.fixture
def bare(broker: LiveBroker, tmp_path: Path) -> Iterator[Site]:
    """The default broker, without any queue of ours."""
    with Site.on(broker, tmp_path) as made:
        yield made


@pytest.fixture
def on_default(bare: Site) -> Site:
    """As `site` on the default broker, for what does not depend on a version."""
    declare(bare, ARGUMENTS)
    return bare
