"""The scenario of a job that takes longer than the broker waits for its acknowledgement, and of the alert about it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import requests

from alerts import build
from catalog import Catalog
from tests.brokers import eventually
from tests.chaos import lowered
from tests.chaos.campaign import Lab
from tests.chaos.figures import Row, at_least, at_most, exactly, fates, none
from tests.chaos.proxy import Weather
from tests.chaos.runs import filled, is_ended, run_of, snapshots
from tests.chaos.world import BATCH, Scene, World
from tests.cluster.publishing import FIRST
from tools import servers
from tools.servers import LOOPBACK, running

ALERT = "JobOverBudget"
SHORTER = 720  # times; what are hours and minutes in production are seconds here, all by the same factor
DAY = FIRST - timedelta(days=60)
BLOBS, SLOW = 1_024, 1.0  # four batches, each of which waits a second 8 times: 40 s, more than twice the patience


def outlasting(_: Lab, world: World) -> Row:
    """11: the broker delivers the trigger of a run in progress anew; the alert about the run has fired before that."""
    queue, catalog = world.catalog.queue_of("batch"), _shortened(world.catalog)
    patience = queue.ack_timeout / SHORTER
    rows = filled(world, DAY, BLOBS)
    with (
        world.scene() as scene,
        lowered.policy(world, queue, consumer_timeout=round(1000 * patience.total_seconds())),
        _prometheus(scene, catalog) as prometheus,
    ):
        scene.start(BATCH)
        scene.consuming(queue.name)
        eventually(lambda: _asked(prometheus, f'up{{job="{BATCH}"}} == 1'))
        early = len(_firing(prometheus))
        trigger = world.trigger(DAY)
        world.cosmos.weather = Weather(slow=SLOW)
        scene.preload([trigger])
        eventually(lambda: _firing(prometheus), 2 * patience.total_seconds())
        fired = datetime.now(UTC)
        run = run_of(scene, trigger)
        assert run
        eventually(lambda: is_ended(scene, trigger), 180)
        world.cosmos.weather = Weather()
        scene.settle()
        scene.end_all()
        told = [line for line in scene.log.lines(BATCH, message="not consuming") if _is_strike(line)]
        strikes = [(datetime.fromisoformat(line["time"]) - run.started_at).total_seconds() for line in told]
        written = scene.log.lines(BATCH, verdict="written")
        ended = run_of(scene, trigger)
        assert ended
        assert ended.ended_at
        took = (ended.ended_at - ended.started_at).total_seconds()
        return Row(
            f"a run of {took:.0f} s, all times {SHORTER} times shorter; struck after"
            f" {', '.join(f'{seconds:.1f} s' for seconds in strikes)}",
            [
                *fates(scene.account()),
                exactly("runs", 1, len(written)),
                snapshots(scene, rows),
                at_least("the run", patience.total_seconds(), took, "s"),
                at_least("timeouts that struck", 1, len(strikes), "times"),
                none("alerts before the run", early),
                at_most(
                    "alert, before that", round(min(strikes, default=0.0), 1), (fired - run.started_at).total_seconds()
                ),
            ],
        )


def _is_strike(line: dict[str, Any]) -> bool:
    """Whether the broker took the channel away, or from 4.3 on the subscription, because the run took too long."""
    return any(
        word in line["detail"] for word in ("acknowledgement on channel 1 timed out", "an event took longer than")
    )


def _shortened(catalog: Catalog) -> Catalog:
    """The catalog whose rules watch for shortened budgets; an alert still holds for a whole second."""
    [job], [signal] = catalog.jobs, [one for one in catalog.signals if one.alert and one.alert.name == ALERT]
    assert signal.alert
    alert = replace(signal.alert, hold=max(signal.alert.hold / SHORTER, timedelta(seconds=1)))
    jobs, signals = (replace(job, budget=job.budget / SHORTER),), (replace(signal, alert=alert),)
    return replace(catalog, jobs=jobs, signals=signals)


@contextmanager
def _prometheus(scene: Scene, catalog: Catalog) -> Iterator[str]:
    """The address of a Prometheus that asks the consumer every second and follows the rules of this catalog."""
    home, [port] = scene.world.home / "prometheus", servers.free_ports(1)
    home.mkdir(exist_ok=True)
    rules, config = home / "rules.yml", home / "prometheus.yml"
    rules.write_text(build.rules(catalog))
    target = f"{LOOPBACK}:{scene.stand.ports[BATCH]}"
    settings = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(rules)],
        "scrape_configs": [{"job_name": BATCH, "static_configs": [{"targets": [target]}]}],
    }
    config.write_text(json.dumps(settings))  # JSON is YAML too
    with running(servers.prometheus(home, port, config)):
        yield f"http://{LOOPBACK}:{port}"


def _firing(prometheus: str) -> list[dict[str, Any]]:
    alerts = requests.get(f"{prometheus}/api/v1/alerts", timeout=5).json()["data"]["alerts"]
    return [one for one in alerts if one["labels"]["alertname"] == ALERT and one["state"] == "firing"]


def _asked(prometheus: str, expression: str) -> list[Any]:
    answer = requests.get(f"{prometheus}/api/v1/query", params={"query": expression}, timeout=5).json()
    found: list[Any] = answer["data"]["result"]
    return found
