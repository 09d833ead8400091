"""How many replicas a service needs: one formula that both computes the number and renders itself as PromQL rules."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from catalog.kinds import Catalog, Metric, Queue, Service
from catalog.metrics import CONSUMED, CPU, HANDLING, PUBLISHED, READY, SLOTS, UNACKED

UTILISATION = 0.7  # above it queueing delay grows faster than throughput (M/M/c, any textbook)
TINY = 1e-6  # keeps a division defined when nothing happens


@dataclass(frozen=True)
class Term:
    """A number that can be computed from values by name, or rendered as PromQL from selectors by name."""

    value: Callable[[Mapping[str, float]], float]
    promql: Callable[[Mapping[str, str]], str]

    def __add__(self, other: Term) -> Term:
        return self._with(other, "+", lambda a, b: a + b)

    def __mul__(self, other: Term) -> Term:
        return self._with(other, "*", lambda a, b: a * b)

    def __truediv__(self, other: Term) -> Term:
        return self._with(other, "/", lambda a, b: a / b)

    def _with(self, other: Term, sign: str, apply: Callable[[float, float], float]) -> Term:
        return Term(
            lambda values: apply(self.value(values), other.value(values)),
            lambda names: f"({self.promql(names)} {sign} {other.promql(names)})",
        )


def measured(name: str) -> Term:
    return Term(lambda values: values[name], lambda names: names[name])


def literal(value: float) -> str:
    """A number in PromQL, exactly: 14400, 0.7, 1e-06."""
    return repr(float(value)).removesuffix(".0")


def number(value: float) -> Term:
    return Term(lambda _: value, lambda _: literal(value))


def at_most(term: Term, limit: float) -> Term:
    return Term(
        lambda values: min(term.value(values), limit),
        lambda names: f"clamp_max({term.promql(names)}, {literal(limit)})",
    )


def smaller(a: Term, b: Term) -> Term:
    """The smaller of two vectors with the same labels, nothing where one is missing; PromQL has no such function."""
    return Term(
        lambda values: min(a.value(values), b.value(values)),
        lambda names: f"({a.promql(names)} <= {b.promql(names)} or {b.promql(names)} < {a.promql(names)})",
    )


# What is measured, per queue: events/s arriving, events in the backlog, seconds of handling and of CPU per event, and
# how many events a replica takes in hand at once.
ARRIVALS, BACKLOG = measured("arrivals"), measured("backlog")
HANDLING_TIME, CPU_TIME = measured("handling_time"), measured("cpu_time")
AT_ONCE = measured("at_once")

NEEDED = "queue:replicas_needed"
REQUIRED = "service:required_replicas"


@dataclass(frozen=True)
class Record:
    """One Prometheus recording rule."""

    name: str
    expr: str
    labels: Mapping[str, str]


@dataclass(frozen=True)
class Sizing:
    """The formula for one queue of a service: `needs` by constraint, `replicas` as the largest of them, rounded up.

    Steady work keeps workers below UTILISATION; a backlog is to be gone within `drain_within`; both take
    `handling_time` on one of `at_once` slots and `cpu_time` on one core. Little's law gives the number of busy slots:
    events/s x seconds. More events/s than the sink takes are not sized for: more replicas would not help.
    """

    queue: Queue
    service: Service

    @property
    def demand(self) -> Term:
        """Events/s to be handled so that the backlog is gone in time."""
        return ARRIVALS + BACKLOG / number(self.queue.drain_within.total_seconds())

    @property
    def needs(self) -> dict[str, Term]:
        """Replicas that each constraint alone would need, before rounding."""
        sink = self.service.sink_rate
        return {
            "arrivals": at_most(ARRIVALS, sink) * HANDLING_TIME / number(UTILISATION) / AT_ONCE,
            "backlog": at_most(self.demand, sink) * HANDLING_TIME / AT_ONCE,
            # Idle time is charged to events too, but no event uses more CPU than it takes: a process has one core.
            "cpu": at_most(self.demand, sink) * smaller(CPU_TIME, HANDLING_TIME) / number(UTILISATION),
        }

    def replicas(self, values: Mapping[str, float]) -> int:
        """Replicas for {"arrivals", "backlog", "handling_time", "cpu_time", "at_once"}."""
        wanted = max(math.ceil(term.value(values)) for term in self.needs.values())
        return min(max(wanted, 1), self.service.most_replicas)

    def binding(self, values: Mapping[str, float]) -> str:
        """The constraint that decides: "sink", "most replicas", "arrivals", "backlog", "cpu", or "at least one"."""
        needs = {name: term.value(values) for name, term in self.needs.items()}
        decisive = max(needs, key=lambda name: needs[name])
        if self.demand.value(values) > self.service.sink_rate:
            return "sink"
        if needs[decisive] > self.service.most_replicas:
            return "most replicas"
        return decisive if needs[decisive] > 1 else "at least one"

    @property
    def measurements(self) -> dict[str, str]:
        """PromQL for what is measured, without labels."""
        name, window, job = self.queue.name, self.queue.window, self.queue.service
        backlog = [READY, UNACKED] if self.queue.slow else [READY]
        return {
            "arrivals": rate(PUBLISHED, self.queue, window),
            "backlog": " + ".join(f"sum({metric.at(queue=name)})" for metric in backlog),
            "handling_time": handling_time(self.queue),
            "cpu_time": f"sum(rate({CPU.at(job=job)}[{window}]))"
            f" / clamp_min(sum(rate({CONSUMED.at(job=job)}[{window}])), {literal(TINY)})",
            "at_once": at_once(self.queue),
        }

    def records(self) -> list[Record]:
        """The rules for this queue: one per measurement, then one per constraint that reads them."""
        labels = {"queue": self.queue.name, "service": self.service.name}
        names = {name: f'queue:{name}{{queue="{self.queue.name}"}}' for name in self.measurements}
        return [
            *(Record(f"queue:{name}", expr, labels) for name, expr in self.measurements.items()),
            *(
                Record(NEEDED, term.promql(names), {**labels, "constraint": constraint})
                for constraint, term in self.needs.items()
            ),
        ]


def sizings(catalog: Catalog) -> list[Sizing]:
    return [Sizing(queue, service) for service in catalog.services for queue in catalog.queues_of(service.name)]


def records(catalog: Catalog) -> list[Record]:
    """Every recording rule of the formula, in the order in which they build on each other."""
    per_queue = [record for sizing in sizings(catalog) for record in sizing.records()]
    per_service = [
        Record(
            REQUIRED,
            f'clamp(ceil(max({NEEDED}{{service="{service.name}"}})), 1, {service.most_replicas})',
            {"service": service.name},
        )
        for service in catalog.services
    ]
    return [*per_queue, *per_service]


def rate(metric: Metric, queue: Queue, window: str = "5m") -> str:
    """PromQL for one of the broker's counters of a queue, per second.

    The broker counts from the first event on: before it, a queue that the broker knows has a rate of 0.
    """
    return f"(sum(rate({metric.at(queue=queue.name)}[{window}])) or 0 * sum({READY.at(queue=queue.name)}))"


def at_once(queue: Queue) -> str:
    """PromQL for the events that one replica takes in hand, as the running ones tell it: no rule repeats a setting.

    While none runs, as the last one did; before there was any, one.
    """
    told = SLOTS.at(queue=queue.name)
    return f"(max({told}) or max(last_over_time({told}[1d])) or vector(1))"


def mean_handling_time(queue: Queue) -> str:
    """PromQL for the mean seconds of handling per event; nothing when none was handled."""
    spent = f"sum(rate({HANDLING.at('_sum', queue=queue.name)}[{queue.window}]))"
    events = f"sum(rate({HANDLING.at('_count', queue=queue.name)}[{queue.window}]))"
    return f"{spent} / ({events} > 0)"


def handling_time(queue: Queue) -> str:
    """The same, or half of the longest run until something was measured."""
    return f"({mean_handling_time(queue)} or vector({literal(queue.longest_run.total_seconds() / 2)}))"
