"""The shapes of the catalog: frozen data, and the names and limits that follow from it as properties."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

Severity = Literal["page", "ticket"]
Per = Literal["queue", "service", "job", "once"]
PanelKind = Literal["timeseries", "stat"]

# A node drain waits no longer than this by default, whatever a pod asks for (cluster autoscaler).
DRAIN_CAP = timedelta(minutes=10)
CLOSING_TIME = timedelta(seconds=30)


def buckets(longest_run: timedelta) -> tuple[float, ...]:
    """Histogram bounds in seconds, 1-2-5 steps from a five-thousandth of the longest run to past twice of it."""
    steps = [factor * 10.0**power for power in range(-4, 6) for factor in (1, 2, 5)]
    longest = longest_run.total_seconds()
    end = next(index for index, step in enumerate(steps) if step >= 2 * longest)
    return tuple(round(step, 6) for step in steps[: end + 1] if step >= longest / 5000)


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """A topic exchange that may be shared with services that are not ours."""

    name: str

    @property
    def dead(self) -> str:
        """The direct exchange where dead letters arrive, keyed by the queue they come from."""
        return f"{self.name}.dead"


@dataclass(frozen=True, kw_only=True)
class Queue:
    """One queue, the keys bound to it, the handler that empties it, and what is promised about it.

    `setting` is the prefix of its stack settings; `keys_setting` is the one for its keys where people know it by
    another name than `<setting>.bindings`. `retry` holds the shortest and the longest pause between two tries.
    `drain_within` is the longest time in which a backlog may take to disappear: the promise to the readers.
    """

    setting: str
    keys_setting: str = ""
    name: str
    keys: tuple[str, ...]
    handler: str
    service: str
    prefetch: int
    prefetch_max: int
    delivery_limit: int
    retry: tuple[timedelta, timedelta]
    longest_run: timedelta
    drain_within: timedelta

    @property
    def bindings(self) -> str:
        """The setting that holds its keys."""
        return self.keys_setting or f"{self.setting}.bindings"

    @property
    def dead(self) -> str:
        """The queue that keeps its dead letters."""
        return f"{self.name}.dead"

    @property
    def ack_timeout(self) -> timedelta:
        """How long the broker waits for an acknowledgement before it gives the event to somebody else."""
        return max(3 * self.longest_run, timedelta(minutes=30))

    @property
    def grace(self) -> timedelta:
        """How long a consumer may take to end after SIGTERM."""
        return min(self.longest_run + CLOSING_TIME, DRAIN_CAP)

    @property
    def finish_within(self) -> timedelta:
        """How long work in hand may go on after SIGTERM before it is given back."""
        return CLOSING_TIME if self.slow else timedelta(seconds=8)

    @property
    def lease(self) -> timedelta:
        """How long a silent worker keeps its run before another may take it over."""
        return max(self.longest_run / 60, timedelta(seconds=30))

    @property
    def late_after(self) -> timedelta:
        """The age at which an event breaks the promise: waited for its turn, then ran, and still is not done."""
        return self.drain_within + self.longest_run

    @property
    def slow(self) -> bool:
        """Whether events are few and long, so that rates over minutes are zero most of the time."""
        return self.longest_run >= timedelta(minutes=10)

    @property
    def window(self) -> str:
        """The PromQL range that holds enough events for a mean."""
        return "1d" if self.slow else "5m"

    def retry_delay(self, attempt: int) -> timedelta:
        """The pause before try `attempt` + 1; grows by its first value and is capped, as the broker does from 4.3 on.

        Source: RabbitMQ, quorum queues, delayed retry: min(delayed-retry-min * delivery count, delayed-retry-max).
        """
        shortest, longest = self.retry
        return min(max(attempt, 1) * shortest, longest)

    @property
    def patience(self) -> timedelta:
        """How long one event is tried in all before it becomes a dead letter."""
        return sum((self.retry_delay(n) for n in range(1, self.delivery_limit + 1)), timedelta())


@dataclass(frozen=True, kw_only=True)
class Handler:
    """What turns an event into a write; `types` are the event types it knows, empty when it takes any."""

    name: str
    types: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Service:
    """One Deployment: its port, how many replicas it has and may have, and what its sink stands in events per second.

    `stores` are the settings of the containers it reads or writes; `publishes` are the routing keys it may publish to
    the shared exchange.
    """

    name: str
    port: int
    replicas: int
    most_replicas: int
    sink_rate: float
    stores: tuple[str, ...]
    publishes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Job:
    """One batch job: when it is due (cron, UTC) and how long it may take; its module has its name."""

    name: str
    cron: str
    budget: timedelta

    @property
    def module(self) -> str:
        return self.name.replace("-", "_")


@dataclass(frozen=True, kw_only=True)
class Store:
    """A container that provisioning creates: a blob container, or a Cosmos container with its partition key."""

    setting: str
    name: str
    partition_key: str = ""

    @property
    def kind(self) -> Literal["blob", "cosmos"]:
        return "cosmos" if self.partition_key else "blob"


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric family: emitted by our consumers (`source` "consumers") or read from the broker or Prometheus itself.

    `informational` says why no signal uses it.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    source: Literal["consumers", "broker", "prometheus"] = "consumers"
    informational: str = ""

    def at(self, suffix: str = "", **labels: str) -> str:
        """The PromQL selector; `suffix` picks a histogram's part. Raises ValueError on a label it lacks."""
        if unknown := set(labels) - {*self.labels, "job"}:
            raise ValueError(f"{self.name} has no label {', '.join(sorted(unknown))}: its labels are {self.labels}")
        matchers = ",".join(f'{label}="{value}"' for label, value in sorted(labels.items()))
        return f"{self.name}{suffix}{{{matchers}}}" if matchers else f"{self.name}{suffix}"

    @property
    def series(self) -> tuple[str, ...]:
        """The names under which it appears in Prometheus."""
        suffixes = ("_bucket", "_sum", "_count") if self.kind == "histogram" else ("",)
        return tuple(self.name + suffix for suffix in suffixes)


@dataclass(frozen=True, kw_only=True)
class Alert:
    """When a signal needs a person: beyond a limit for a while. Exactly one of `above` and `below` is given.

    A limit is a function of the entry (queue, service or job) and has the signal's unit; `summary` may name the entry
    as {name}. `explains` names alerts that are mere consequences: while this one fires they are not sent for its entry.
    """

    name: str
    severity: Severity
    hold: timedelta
    summary: str
    explains: tuple[str, ...] = ()
    above: Callable[[Any], float] | None = None
    below: Callable[[Any], float] | None = None

    def limit(self, entry: object) -> float:
        chosen = self.above or self.below
        if chosen is None:
            raise ValueError(f"{self.name} has no limit: give `above` or `below`")
        return chosen(entry)

    @property
    def comparison(self) -> Literal[">", "<"]:
        return ">" if self.above else "<"


@dataclass(frozen=True, kw_only=True)
class Signal:
    """One question with its expression, its panel, and its alert or the reason for none.

    `expr` gives the PromQL for one entry of `per`; `only` narrows the entries; `title` heads the panel in row `row`.
    `label` is the label by which the expression tells several series of one entry apart.
    """

    name: str
    question: str
    title: str
    row: str
    unit: str
    per: Per
    expr: Callable[[Any], str]
    only: Callable[[Any], bool] = lambda _: True
    label: str = ""
    panel: PanelKind = "timeseries"
    alert: Alert | None = None
    no_alert: str = ""


@dataclass(frozen=True, kw_only=True)
class Catalog:
    """Everything that is declared: `CATALOG` has the defaults, `resolve(...)` a stack's settings applied."""

    exchange: Exchange
    queues: tuple[Queue, ...]
    handlers: tuple[Handler, ...]
    services: tuple[Service, ...]
    jobs: tuple[Job, ...]
    stores: tuple[Store, ...]
    database: str
    metrics: tuple[Metric, ...]
    signals: tuple[Signal, ...]

    def queue(self, name: str) -> Queue:
        found: Queue = _named(self.queues, name)
        return found

    def service(self, name: str) -> Service:
        found: Service = _named(self.services, name)
        return found

    def job(self, name: str) -> Job:
        found: Job = _named(self.jobs, name)
        return found

    def handler(self, name: str) -> Handler:
        found: Handler = _named(self.handlers, name)
        return found

    def store(self, setting: str) -> Store:
        """The container that a setting names, whatever the stack calls it."""
        return next(store for store in self.stores if store.setting == setting)

    def queues_of(self, service: str) -> tuple[Queue, ...]:
        return tuple(queue for queue in self.queues if queue.service == service)

    def queue_of(self, handler: str) -> Queue:
        """The first queue that a handler empties."""
        return next(queue for queue in self.queues if queue.handler == handler)

    def entries(self, signal: Signal) -> tuple[Any, ...]:
        """What a signal is asked about: each queue, service or job it concerns, or the catalog itself, once."""
        every: dict[Per, tuple[Any, ...]] = {
            "queue": self.queues,
            "service": self.services,
            "job": self.jobs,
            "once": (self,),
        }
        return tuple(entry for entry in every[signal.per] if signal.only(entry))

    @property
    def alerting(self) -> tuple[tuple[Signal, Alert], ...]:
        """Each signal that has an alert, with it."""
        return tuple((signal, signal.alert) for signal in self.signals if signal.alert)

    @property
    def alerts(self) -> tuple[Alert, ...]:
        return tuple(alert for _, alert in self.alerting)

    @property
    def keys(self) -> tuple[str, ...]:
        """Every routing key that is bound somewhere, once, sorted."""
        return tuple(sorted({key for queue in self.queues for key in queue.keys}))


def _named(entries: Iterable[Any], name: str) -> Any:
    known = {entry.name: entry for entry in entries}
    if name not in known:
        raise KeyError(f"{name!r} is not in the catalog: there are {', '.join(sorted(known))}")
    return known[name]
