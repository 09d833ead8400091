"""From an alert to what to do: its question, the numbers behind it now, and the change to commit."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from catalog.kinds import Alert, Catalog, Queue, Service, Signal
from catalog.links import LINKS
from catalog.metrics import CONSUMERS, SETTLED
from catalog.sizing import Sizing, rate
from catalog.text import quantity, span
from consumers.ledger import Run
from oncall import show
from oncall.command import Command
from oncall.endpoints import Endpoints
from oncall.http import Firing, Prometheus
from oncall.runs import HEAD, Ledger, as_data, row
from oncall.show import Answer
from oncall.trouble import Looked, unknown

# Where the numbers of a signal are not answered by replicas, the command that goes on from here.
NEXT: Mapping[str, str] = {
    "dead_letters": "oncall dead list {name}",
    "job_failures": "oncall runs {name}",
    "job_running": "oncall runs {name}",
    "consumers": "oncall status",
}

FLOW = ("queue", "arriving/s#", "settled/s#", "backlog#", "handling#", "CPU#", "consumers#")
REPLICAS = ("queue", "service", "replicas#", "required#", "decided by", "needs by constraint")

RUNS = 5  # of each job


@dataclass(frozen=True)
class Reading:
    """One entry of an alert: its value now beside the limit, both in the signal's unit, and the alert's state."""

    name: str
    value: float | None
    limit: float
    beyond: bool
    state: str
    since: str


@dataclass(frozen=True)
class Sized:
    """What goes into the sizing formula for one queue, and what comes out; times in s, rates in events/s."""

    queue: str
    service: str
    inputs: dict[str, float]
    settled: float | None
    consumers: float | None
    needs: dict[str, float]
    binding: str
    required: int
    replicas: int


def run(options: argparse.Namespace, endpoints: Endpoints) -> Answer:
    """Exit code 1 while a reading is beyond its limit."""
    catalog = endpoints.catalog
    signal, alert = _signal(catalog, options.alert)
    entries = _entries(catalog, signal, options.entry)
    prometheus = Prometheus(endpoints)
    active = [firing for firing in prometheus.alerts() if firing.name == alert.name]
    readings = [_reading(prometheus, signal, alert, entry, active) for entry in entries]
    sized = [_sized(endpoints, prometheus, queue) for queue in _queues(catalog, signal, entries)]
    looked = Looked()
    past = looked.at(lambda: _runs(endpoints, entries)) if signal.per == "job" else None
    steps = _steps(signal, alert, readings, sized, endpoints)
    data = {
        "alert": alert.name,
        "question": signal.question,
        "readings": [asdict(reading) for reading in readings],
        "sizing": [asdict(one) for one in sized],
        "runs": [as_data(run) for run in past or ()],
        "troubles": looked.troubles,
        "page": LINKS.page(alert),
        "next": steps,
    }
    page = [*_readings(signal, alert, readings), *_numbers(sized, past), _next(steps)]
    beyond = [alert.summary.format(name=reading.name) for reading in readings if reading.beyond]
    return Answer(data, page, [*beyond, *looked.troubles])


def _runs(endpoints: Endpoints, jobs: list[Any]) -> list[Run]:
    ledger = Ledger(endpoints)
    return [run for job in jobs for run in ledger.newest(job.name, RUNS)]


def _signal(catalog: Catalog, name: str) -> tuple[Signal, Alert]:
    known = {signal.alert.name: (signal, signal.alert) for signal in catalog.signals if signal.alert}
    if name not in known:
        raise unknown("alert", name, known)
    return known[name]


def _entries(catalog: Catalog, signal: Signal, name: str | None) -> list[Any]:
    entries = {entry.name: entry for entry in catalog.entries(signal)}
    if name is None:
        return list(entries.values())
    if name not in entries:
        raise unknown(signal.per, name, entries)
    return [entries[name]]


def _queues(catalog: Catalog, signal: Signal, entries: list[Any]) -> list[Queue]:
    """The queues whose numbers stand behind an alert; behind one of a job stand its runs."""
    if signal.per == "queue":
        return entries
    if signal.per == "job":
        return []
    return [queue for service in entries for queue in catalog.queues_of(service.name)]


def _reading(prometheus: Prometheus, signal: Signal, alert: Alert, entry: Any, active: list[Firing]) -> Reading:
    value, limit = prometheus.value(signal.expr(entry)), alert.limit(entry)
    beyond = value is not None and (value > limit if alert.above else value < limit)
    found = next((firing for firing in active if firing.entry == entry.name), None)
    return Reading(entry.name, value, limit, beyond, found.state if found else "quiet", found.since if found else "")


def _sized(endpoints: Endpoints, prometheus: Prometheus, queue: Queue) -> Sized:
    service = endpoints.catalog.service(queue.service)
    sizing = Sizing(queue, service)
    inputs = {name: prometheus.value(expression) or 0.0 for name, expression in sizing.measurements.items()}
    return Sized(
        queue=queue.name,
        service=service.name,
        inputs=inputs,
        settled=prometheus.value(rate(SETTLED, queue)),
        consumers=prometheus.value(f"sum({CONSUMERS.at(queue=queue.name)})"),
        needs={name: term.value(inputs) for name, term in sizing.needs.items()},
        binding=sizing.binding(inputs),
        required=sizing.replicas(inputs),
        replicas=service.replicas,
    )


def _steps(
    signal: Signal, alert: Alert, readings: list[Reading], sized: list[Sized], endpoints: Endpoints
) -> list[str]:
    """What to do next, each step something that can be typed or opened."""
    steps = [f"open {LINKS.page(alert)}"]
    if signal.name in NEXT:
        named = [reading.name for reading in readings if reading.beyond] or [reading.name for reading in readings]
        steps += dict.fromkeys(NEXT[signal.name].format(name=name) for name in named)
    most = {one.service: max(other.required for other in sized if other.service == one.service) for one in sized}
    for one in sized:
        steps += _change(one, endpoints, most[one.service])
    return list(dict.fromkeys(steps))


def _change(one: Sized, endpoints: Endpoints, required: int) -> list[str]:
    """The change to commit for one queue: replicas, or why more of them would not help."""
    service = endpoints.catalog.service(one.service)
    if one.binding == "sink":
        return [
            f"{one.queue}: its sink takes {service.sink_rate:g} events/s; more replicas of {service.name} do not help"
        ]
    if one.binding == "most replicas":
        why = f"needs {max(one.needs.values()):.1f} replicas, at most {service.most_replicas} are allowed"
        return [
            f"{one.queue} {why}: raise most_replicas of {service.name} in catalog/services.py",
            *_set(service, required, endpoints),
        ]
    return _set(service, required, endpoints)


def _set(service: Service, required: int, endpoints: Endpoints) -> list[str]:
    if required <= service.replicas:
        return []
    setting = f"replicas.{service.name} {required}"
    if endpoints.kubernetes:
        return [f"pulumi config set {setting} --stack $STACK   # commit it, then: pulumi up --stack $STACK"]
    return [f"tools/pulumi config set {setting}   # commit it, then: make up"]


def _readings(signal: Signal, alert: Alert, readings: list[Reading]) -> list[Any]:
    rows = [
        (
            reading.name,
            show.unit(reading.value, signal.unit),
            f"{alert.comparison} {quantity(reading.limit, signal.unit)}",
            span(alert.hold),
            "yes" if reading.beyond else "no" if reading.value is not None else "no data",
            reading.state,
            show.duration(show.age(reading.since)) if reading.since else None,
        )
        for reading in readings
    ]
    head = (signal.per, "now#", "fires when", "for at least", "beyond now", "state", "since#")
    title = f"{alert.name} ({alert.severity}): {signal.question}"
    return [show.text(title), show.table(signal.title, head, rows)]


def _numbers(sized: list[Sized], past: list[Run] | None) -> list[Any]:
    if past is not None:
        return [show.table("Runs", HEAD, map(row, past))]
    if not sized:
        return []
    return [
        show.table("What comes in, what goes out", FLOW, map(_flow, sized)),
        show.table("Replicas", REPLICAS, map(_replicas, sized)),
    ]


def _next(steps: list[str]) -> Any:
    return show.text("\n".join(["Next", *(f"  {number}. {step}" for number, step in enumerate(steps, 1))]))


def _flow(one: Sized) -> tuple[Any, ...]:
    inputs = one.inputs
    return (
        one.queue,
        f"{inputs['arrivals']:.2f}",
        None if one.settled is None else f"{one.settled:.2f}",
        f"{inputs['backlog']:.0f}",
        show.duration(inputs["handling_time"]),
        show.duration(inputs["cpu_time"]),
        None if one.consumers is None else round(one.consumers),
    )


def _replicas(one: Sized) -> tuple[Any, ...]:
    needs = ", ".join(f"{name} {value:.2f}" for name, value in one.needs.items())
    return one.queue, one.service, one.replicas, one.required, one.binding, needs


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("alert", metavar="ALERT", help="its name, as it paged")
    parser.add_argument("entry", nargs="?", metavar="QUEUE|JOB", help="only this one; all without it")


COMMAND = Command(
    name="explain",
    summary="the numbers behind an alert, and what to do",
    description="Show the question an alert asks, its value now against the limit, what goes into the sizing formula\n"
    "and which constraint decides, then what to do next.",
    examples=(
        "oncall explain QueueWillNotDrainInTime logging_data_lake",
        "oncall explain DeadLettersWaiting",
        "oncall explain JobFailed risk-snapshot-backfill --json",
    ),
    one="a value is beyond its limit now",
    arguments=_arguments,
    run=run,
)
