"""The main job as a person runs it: the whole stack by Pulumi, the proof twice, and what monitoring shows of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import yaml

import dashboards
from alerts.build import rules
from catalog import CATALOG
from tests.brokers import eventually
from tests.infra.stack import Stack
from tools.cache import ROOT

pytestmark = [pytest.mark.servers, pytest.mark.slow]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A whole stack of its own."""
    with Stack.made(tmp_path_factory.mktemp("main-job")).running() as running:
        yield running


def run(stack: Stack, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """One of our commands against the stack."""
    command = [sys.executable, "-m", module, *arguments]
    environment = {**os.environ, "ONCALL_ENDPOINTS": str(stack.home / "endpoints.json")}
    return subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True)


def asked(stack: Stack, path: str, **parameters: str) -> Any:
    answer = requests.get(f"{stack.endpoints['prometheus']}/api/v1/{path}", params=parameters, timeout=10)
    answer.raise_for_status()
    return answer.json()["data"]


@pytest.fixture(scope="module")
def proved(stack: Stack) -> str:
    """What the proof printed."""
    done = run(stack, "proof")

    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_proof_shows_every_queue_and_nothing_missing(proved: str) -> None:
    """A row for each queue, each process with its start-up time, and the outcome of the job."""
    for name in (*(queue.name for queue in CATALOG.queues), *(f"{service.name}" for service in CATALOG.services)):
        assert name in proved
    assert CATALOG.jobs[0].name in proved


def test_a_second_proof_shows_the_same_truth(stack: Stack, proved: str) -> None:
    """The same events again are duplicates, and the sinks hold what they held."""
    again = run(stack, "proof")

    assert again.returncode == 0, proved + again.stdout + again.stderr


def test_every_panel_has_data(stack: Stack, proved: str) -> None:
    """Each expression of each board answers with at least one sample after the proof."""
    assert proved
    boards = [json.loads(text) for text in dashboards.boards(CATALOG).values()]
    expressions = {
        (panel["title"], target["expr"])
        for board in boards
        for panel in board["panels"]
        for target in panel.get("targets", [])
    }

    def empty() -> list[str]:
        return [f"{title}: {expr}" for title, expr in expressions if not asked(stack, "query", query=expr)["result"]]

    assert len(expressions) > len(CATALOG.signals)
    eventually(lambda: not empty() or None, 45)
    assert [] == empty()


def test_prometheus_has_loaded_every_rule_and_sees_every_process(stack: Stack) -> None:
    """The rules that are committed are the rules that are evaluated, without an error."""
    loaded = asked(stack, "rules")["groups"]
    wanted = [group["name"] for group in yaml.safe_load(rules(CATALOG))["groups"]]

    assert sorted(wanted) == sorted(group["name"] for group in loaded)
    eventually(
        lambda: all(rule["health"] == "ok" for group in asked(stack, "rules")["groups"] for rule in group["rules"]), 60
    )
    eventually(lambda: all(target["health"] == "up" for target in asked(stack, "targets")["activeTargets"]), 30)
    jobs = {target["labels"]["job"] for target in asked(stack, "targets")["activeTargets"]}
    assert {service.name for service in CATALOG.services} < jobs


def test_dead_letters_of_the_proof_alert_and_are_explained(stack: Stack, proved: str) -> None:
    """The bad events of the portfolio wait for a person: the rule fires, and `oncall` tells what to do."""
    assert proved
    eventually(
        lambda: (
            "DeadLettersWaiting"
            in {
                alert["labels"]["alertname"] for alert in asked(stack, "alerts")["alerts"] if alert["state"] == "firing"
            }
        ),
        120,
    )
    status = json.loads(run(stack, "oncall", "status", "--json").stdout)
    explained = run(stack, "oncall", "explain", "DeadLettersWaiting")

    assert {queue.name for queue in CATALOG.queues} == {queue["name"] for queue in status["queues"]}
    assert "runbooks/DeadLettersWaiting.md" in explained.stdout
