"""The first look: is each queue keeping up, is everything running, does anything wait for a person?"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

from catalog.kinds import Queue, Service
from catalog.links import LINKS
from catalog.metrics import OLDEST, PAUSED, PUBLISHED, SETTLED
from catalog.sizing import REQUIRED, rate
from consumers.ledger import Run
from oncall import deployments, show
from oncall.command import Command
from oncall.endpoints import Endpoints
from oncall.http import Alertmanager, Firing, Management, Prometheus, ready
from oncall.runs import HEAD, Ledger, as_data, row
from oncall.show import Answer
from oncall.trouble import Looked


@dataclass(frozen=True)
class QueueNow:
    """Events waiting, in hand and between two tries, processes that pause it, events/s over 5 minutes, age in seconds.

    None where nobody can tell.
    """

    name: str
    ready: int | None = None
    in_hand: int | None = None
    between_tries: int | None = None
    consumers: int | None = None
    paused: float | None = None
    dead: int | None = None
    arrivals: float | None = None
    settled: float | None = None
    oldest: float | None = None


@dataclass(frozen=True)
class ServiceNow:
    """Replicas that are ready, that are configured, and that the traffic requires; why others are not ready."""

    name: str
    up: int
    wanted: int
    required: int | None
    reasons: tuple[str, ...]


def run(_: argparse.Namespace, endpoints: Endpoints) -> Answer:
    """Raises Trouble only when the broker cannot be asked: without it there is no answer to the first question."""
    looked, prometheus, catalog = Looked(), Prometheus(endpoints), endpoints.catalog
    live, consumers = Management(endpoints).queues(), Management(endpoints).consumers()
    measured = looked.at(lambda: {queue.name: _measured(prometheus, queue) for queue in catalog.queues}) or {}
    required = looked.at(lambda: {entry.name: _required(prometheus, entry) for entry in catalog.services}) or {}
    queues = [_queue(queue, live, consumers[queue.name], measured.get(queue.name, {})) for queue in catalog.queues]
    services = _services(looked, endpoints, required)
    alerts = _alerts(looked, endpoints)
    runs = looked.at(lambda: _last_runs(endpoints)) or []
    data = {
        "queues": [asdict(queue) for queue in queues],
        "services": [asdict(service) for service in services],
        "alerts": [asdict(alert) for alert in alerts],
        "jobs": [as_data(run) for run in runs],
        "troubles": looked.troubles,
    }
    needs = [*looked.troubles, *_of_queues(queues, endpoints), *_of_services(services), *_of_alerts(alerts)]
    return Answer(data, _page(queues, services, alerts, runs), needs)


def _measured(prometheus: Prometheus, queue: Queue) -> dict[str, float | None]:
    return {
        "arrivals": prometheus.value(rate(PUBLISHED, queue)),
        "settled": prometheus.value(rate(SETTLED, queue)),
        "paused": prometheus.value(f"sum({PAUSED.at(queue=queue.name)})"),
        "oldest": prometheus.value(f"max({OLDEST.at(queue=queue.name)})"),
    }


def _required(prometheus: Prometheus, service: Service) -> int | None:
    value = prometheus.value(f'max({REQUIRED}{{service="{service.name}"}})')
    return None if value is None else int(value)


def _queue(
    queue: Queue, live: Mapping[str, dict[str, Any]], consumers: int, measured: Mapping[str, float | None]
) -> QueueNow:
    if queue.name not in live:
        return QueueNow(queue.name)
    row = live[queue.name]
    ready, in_hand = row.get("messages_ready", 0), row.get("messages_unacknowledged", 0)
    return QueueNow(
        name=queue.name,
        ready=ready,
        in_hand=in_hand,
        between_tries=max(row.get("messages", 0) - ready - in_hand, 0),
        consumers=consumers,
        dead=live.get(queue.dead, {}).get("messages_ready"),
        **measured,
    )


def _services(looked: Looked, endpoints: Endpoints, required: Mapping[str, int | None]) -> list[ServiceNow]:
    """Replicas as the cluster counts them, where there is one; else each is asked by itself."""
    services = endpoints.catalog.services
    if endpoints.kubernetes is None:
        return [_service(service, endpoints, required.get(service.name)) for service in services]
    found = looked.at(lambda: deployments.replicas(endpoints)) or {}
    return [ServiceNow(name, *count, required.get(name), ()) for name, count in found.items()]


def _service(service: Service, endpoints: Endpoints, required: int | None) -> ServiceNow:
    urls = endpoints.services.get(service.name, [])
    with ThreadPoolExecutor(max_workers=max(len(urls), 1)) as pool:
        answers = list(pool.map(ready, urls))
    reasons = tuple(answer for answer in answers if answer)
    return ServiceNow(service.name, len(answers) - len(reasons), service.replicas, required, reasons)


def _alerts(looked: Looked, endpoints: Endpoints) -> list[Firing]:
    """Prometheus knows first what fires, Alertmanager what is silenced; either alone is better than none."""
    firing = [alert for alert in looked.at(Prometheus(endpoints).alerts) or [] if alert.state == "firing"]
    known = looked.at(Alertmanager(endpoints).alerts) or []
    return list({(alert.name, alert.entry): alert for alert in [*firing, *known]}.values())


def _last_runs(endpoints: Endpoints) -> list[Run]:
    ledger = Ledger(endpoints)
    return [run for job in endpoints.catalog.jobs for run in ledger.newest(job.name, 1)]


def _of_queues(queues: Sequence[QueueNow], endpoints: Endpoints) -> list[str]:
    needs = []
    for queue in queues:
        if queue.ready is None:
            needs.append(
                f"queue {queue.name} does not exist on broker {endpoints.broker}: `oncall drift` tells what makes it"
            )
        elif queue.paused:
            service = endpoints.catalog.queue(queue.name).service
            needs.append(
                f"{queue.paused:g} process(es) pause {queue.name}: its sink is down, or somebody said so;"
                f" `oncall resume {service}` ends the latter"
            )
        elif not queue.consumers:
            needs.append(f"nobody consumes {queue.name}: `oncall explain QueueWithoutConsumer {queue.name}`")
        if queue.dead:
            needs.append(f"{queue.dead} dead letter(s) of {queue.name} wait: `oncall dead list {queue.name}`")
    return needs


def _of_services(services: Sequence[ServiceNow]) -> list[str]:
    return [
        f"{service.name} has {service.up} of {service.wanted} replicas ready"
        + (f" ({' | '.join(service.reasons)})" if service.reasons else "")
        for service in services
        if service.up < service.wanted
    ]


def _of_alerts(alerts: Sequence[Firing]) -> list[str]:
    return [
        f"{alert.name} fires: `oncall explain {alert.name} {alert.entry}`"
        for alert in alerts
        if alert.state == "firing"
    ]


def _page(
    queues: Sequence[QueueNow], services: Sequence[ServiceNow], alerts: Sequence[Firing], runs: Sequence[Run]
) -> list[Any]:
    rows = [
        (
            queue.name,
            queue.ready,
            queue.in_hand,
            queue.between_tries,
            _rate(queue.arrivals),
            _rate(queue.settled),
            queue.consumers,
            queue.paused,
            queue.dead,
            show.duration(queue.oldest),
        )
        for queue in queues
    ]
    counts = ("ready#", "in hand#", "between tries#", "arriving/s#", "settled/s#", "consumers#", "paused#", "dead#")
    head = ("queue", *counts, "oldest in hand#")
    replicas = [(service.name, f"{service.up} of {service.wanted}", service.required) for service in services]
    firing = [(alert.name, alert.entry, alert.state, _since(alert), alert.summary) for alert in alerts]
    return [
        show.table("Queues", head, rows),
        show.table("Services", ("service", "replicas ready", "required#"), replicas),
        show.table("Alerts", ("alert", "about", "state", "for#", "summary"), firing),
        show.table("Last run of each job", HEAD, map(row, runs)),
    ]


def _rate(value: float | None) -> str | None:
    return None if value is None else f"{value:.2f}"


def _since(alert: Firing) -> str | None:
    return show.duration(show.age(alert.since))


COMMAND = Command(
    name="status",
    summary="queues, services, alerts and jobs at a glance",
    description="Show per queue its depth, rates, consumers and dead letters; per service its replicas; what alerts;\n"
    f"and when each job last ran. Rates are means over 5 minutes. Pages of alerts are in {LINKS.runbooks}/.",
    examples=("oncall status", "oncall status --json"),
    one="an alert fires, dead letters wait, a queue has no consumer, a replica is not ready, or a server is silent",
    arguments=lambda _: None,
    run=run,
)
