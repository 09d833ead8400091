"""The program as Pulumi sees it, without starting anything: what it registers is what the catalog resolves to."""

from __future__ import annotations

import asyncio
import gc
import json
import runpy
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pulumi
import pytest
import yaml
from pulumi.runtime import mocks

import dashboards
from alerts.build import rules
from catalog import CATALOG, Catalog, environment, resolve
from catalog.broker import Capabilities
from infra import __file__ as package
from infra.topology import topology
from tests.catalog.test_resolve import ONE_OF_EACH
from tests.infra.stack import free_offset

pytestmark = pytest.mark.servers  # it starts none, but names their programs, so they must be on this machine

PROGRAM = Path(package).with_name("__main__.py")
STACKS: dict[str, dict[str, str]] = {
    "defaults": {},
    "one override of each kind": {key: str(text) for key, (text, _) in ONE_OF_EACH.items()},
}


class Recorder(pulumi.runtime.Mocks):
    """Answers as if every resource had been made, and keeps what was asked for."""

    def __init__(self) -> None:
        self.inputs: dict[tuple[str, str], dict[str, Any]] = {}

    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        self.inputs[args.typ.rpartition(":")[2], args.name] = args.inputs
        made = {"text": "made-up"} if args.typ.endswith("Password") else {"started": 0.0}
        return args.name, {**args.inputs, **made}

    def call(self, args: pulumi.runtime.MockCallArgs) -> dict[str, Any]:
        raise AssertionError(f"the program calls {args.token}, which nobody expected")

    def of(self, kind: str) -> dict[str, dict[str, Any]]:
        return {name: inputs for (typ, name), inputs in self.inputs.items() if typ == kind}


def run(config: Mapping[str, str]) -> Recorder:
    """Run the program of stack `local` in the present folder."""
    recorder = Recorder()
    mocks.set_mocks(recorder, project="consumer-scaling", stack="local")
    pulumi.runtime.set_all_config({f"consumer-scaling:{key}": value for key, value in config.items()}, [])

    @pulumi.runtime.test
    def program() -> None:
        runpy.run_path(str(PROGRAM))

    program()
    return recorder


@pytest.fixture(autouse=True)
def event_loop() -> Iterator[None]:
    """Pulumi's mocks expect a loop in this thread, and leave one open in each thread of its pool."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    asyncio.set_event_loop(None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture(params=STACKS)
def overrides(request: pytest.FixtureRequest) -> dict[str, str]:
    return STACKS[request.param]


@pytest.fixture
def catalog(overrides: dict[str, str]) -> Catalog:
    return resolve(CATALOG, overrides)


@pytest.fixture
def offset() -> int:
    return free_offset()


@pytest.fixture
def made(overrides: dict[str, str], offset: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    (tmp_path / "infra").mkdir()
    monkeypatch.chdir(tmp_path / "infra")
    return run({"target": "local", "local.port_offset": str(offset), **overrides})


def test_the_broker_gets_the_topology(made: Recorder, catalog: Catalog) -> None:
    """Every object with the body that the topology has, and no other."""
    wanted = topology(catalog, Capabilities.of("4.3"))

    assert {entry.name: entry.body for entry in wanted.objects} == {
        name: inputs["body"] for name, inputs in made.of("Object").items()
    }


def test_each_user_has_a_password_of_its_own(made: Recorder, catalog: Catalog) -> None:
    users = {f"{service.name}-1" for service in catalog.services}

    assert {f"password/{name}" for name in ("admin", *users)} == set(made.of("Password"))
    assert {f"user/{name}" for name in users} == {
        name for name, inputs in made.of("Object").items() if inputs["password"]
    }


def test_a_process_runs_for_each_replica(made: Recorder, catalog: Catalog, offset: int) -> None:
    """Each is told its names and prefetches, has a port of its own, and may end as slowly as its queues allow."""
    consumers = {name: inputs for name, inputs in made.of("Process").items() if "consumers" in inputs["command"]}

    assert {
        f"{service.name}-{index}": {
            "told": environment(catalog, service.name),
            "ready": f"http://127.0.0.1:{service.port + offset + index}/health/ready",
            "stop_seconds": max(queue.grace.total_seconds() for queue in catalog.queues_of(service.name)),
        }
        for service in catalog.services
        for index in range(service.replicas)
    } == {
        name: {
            "told": {key: inputs["env"][key] for key in environment(catalog, inputs["command"][-1])},
            "ready": inputs["ready"],
            "stop_seconds": inputs["stop_seconds"],
        }
        for name, inputs in consumers.items()
    }


def test_the_servers_run_beside_them(made: Recorder) -> None:
    servers = {name for name, inputs in made.of("Process").items() if "consumers" not in inputs["command"]}

    assert {"epmd", "rabbitmq", "cosmos", "azurite", "prometheus", "alertmanager"} == servers


def test_every_container_is_made(made: Recorder, catalog: Catalog) -> None:
    blobs = {store.name for store in catalog.stores if store.kind == "blob"}
    documents = {store.name: store.partition_key for store in catalog.stores if store.kind == "cosmos"}

    assert blobs == {inputs["name"] for inputs in made.of("BlobContainer").values()}
    assert documents == {inputs["name"]: inputs["partition_key"] for inputs in made.of("CosmosContainer").values()}


def test_prometheus_is_given_the_rules_and_every_replica(made: Recorder, catalog: Catalog, offset: int) -> None:
    files = {name: inputs["text"] for name, inputs in made.of("File").items()}
    scraped = yaml.safe_load(files["prometheus/prometheus.yml"])["scrape_configs"]

    assert rules(catalog) == files["prometheus/rules.yml"]
    assert dashboards.boards(catalog) == {uid: files[f"boards/{uid}.json"] for uid in dashboards.boards(catalog)}
    assert {"rabbitmq", *(service.name for service in catalog.services)} == {job["job_name"] for job in scraped}
    assert {
        service.name: [f"127.0.0.1:{service.port + offset + index}" for index in range(service.replicas)]
        for service in catalog.services
    } == {
        service.name: json.loads(files[f"prometheus/targets/{service.name}.json"])[0]["targets"]
        for service in catalog.services
    }


def test_providers_know_nothing_of_the_catalog() -> None:
    """A stack can be refreshed and destroyed while the catalog is broken: their modules do not even load it."""
    modules = ("broker", "files", "processes", "retire", "stores", "supervision")
    program = (
        f"import sys; from infra import {', '.join(modules)}; print([m for m in sys.modules if m[:7] == 'catalog'])"
    )

    assert "[]\n" == subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
