"""The shapes of the catalog: frozen data, and the names and limits that follow from it as properties."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from catalog.kinds.watch import Alert, Metric, Per, Severity, Signal
from catalog.kinds.work import CLOSING_TIME, DRAIN_CAP, Exchange, Handler, Job, Queue, Service, Store, buckets

__all__ = [
    "CLOSING_TIME",
    "DRAIN_CAP",
    "Alert",
    "Catalog",
    "Exchange",
    "Handler",
    "Job",
    "Metric",
    "Queue",
    "Service",
    "Severity",
    "Signal",
    "Store",
    "buckets",
]


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
        """The container that a setting names, whatever the stack calls it. Raises KeyError when there is none."""
        for store in self.stores:
            if store.setting == setting:
                return store
        raise KeyError(f"no container has setting {setting!r}: declare one in catalog/services.py")

    def queues_of(self, service: str) -> tuple[Queue, ...]:
        return tuple(queue for queue in self.queues if queue.service == service)

    def queue_of(self, handler: str) -> Queue:
        """The first queue that a handler empties. Raises KeyError when there is none."""
        for queue in self.queues:
            if queue.handler == handler:
                return queue
        raise KeyError(f"no queue is emptied by handler {handler!r}: declare one in catalog/queues.py")

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
