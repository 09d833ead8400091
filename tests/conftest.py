"""Real servers for the whole session, each on ports of its own."""

from __future__ import annotations

import gc
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import hypothesis
import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

from infra.broker_api import Api
from tests.brokers import LiveBroker, eventually
from tools import servers

# No example may fail for its duration: the machines that run these tests are shared.
hypothesis.settings.register_profile("shared", deadline=None)
hypothesis.settings.load_profile("shared")

BROKERS = pytest.StashKey[list[LiveBroker]]()
ALONE = ("tests/kubernetes/test_cli_changes.py",)  # takes as long as the others of its folder together


# What is imported stays: to look through all of it for garbage, again and again, was a tenth of the work of the tests.
gc.disable()


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first: one that begins last would keep one worker busy and the others waiting."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


class ByServers(LoadFileScheduling):
    """The tests of a file go to one worker, and so do those of all files that share a server which is slow to start."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "an API server" if file.startswith("tests/kubernetes/") and file not in ALONE else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByServers:
    return ByServers(config, log)


@contextmanager
def live_broker(home: Path, version: str) -> Iterator[LiveBroker]:
    """A single-node broker of a version, ready with its management API."""
    ports = servers.BrokerPorts(*servers.free_ports(5))
    user, password = "admin", secrets.token_urlsafe(12)
    url = f"amqp://{user}:{password}@127.0.0.1:{ports.amqp}/%2F"
    api = Api(f"http://127.0.0.1:{ports.management}", url, user, password)
    with ExitStack() as started:
        started.enter_context(servers.running(servers.epmd(home / "epmd", ports.epmd, version=version)))
        quick = "collect_statistics_interval = 500"  # ms; the management API is otherwise 5 s behind
        node = servers.rabbitmq(home, ports=ports, user=user, password=password, version=version, conf=quick)
        started.enter_context(servers.running(node))
        eventually(lambda: servers.answers(f"{api.url}/api/overview") and api.get("vhosts/%2F"), 30)
        yield LiveBroker(version, url, api, node)


@pytest.fixture(scope="module", autouse=True)
def _as_new(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a module leaves on the session's brokers goes with it: the next one may be any other."""
    yield
    ours = (item for item in request.session.items if item.path == request.path)
    if any(item.get_closest_marker("servers") for item in ours):
        for running in request.session.stash.get(BROKERS, []):
            running.clear()


@pytest.fixture(scope="session")
def broker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveBroker]:
    """The default broker."""
    with live_broker(tmp_path_factory.mktemp("broker"), "4.3") as running:
        request.session.stash.setdefault(BROKERS, []).append(running)
        yield running


@pytest.fixture(scope="session")
def oldest_broker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveBroker]:
    """The oldest broker that is supported."""
    with live_broker(tmp_path_factory.mktemp("oldest"), "4.0") as running:
        request.session.stash.setdefault(BROKERS, []).append(running)
        yield running


@pytest.fixture(params=["broker", "oldest_broker"], ids=["4.3", "4.0"])
def any_broker(request: pytest.FixtureRequest) -> LiveBroker:
    """Each of the supported brokers, one after the other."""
    running: LiveBroker = request.getfixturevalue(request.param)
    return running
