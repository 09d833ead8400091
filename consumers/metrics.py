"""Between the consumers and Prometheus: the catalog's metrics as client objects, zero from the start."""

from __future__ import annotations

from itertools import product
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics

from catalog import Catalog, Metric
from catalog.kinds import buckets
from catalog.metrics import JOB_DURATION, REJECTED, RETRIED, SLOTS
from consumers.verdicts import Later, Never

disable_created_metrics()  # type: ignore[no-untyped-call]

STATUSES = ("completed", "failed")
PROCESS = "process_"  # series that the client library's own collector makes


class Meters:
    """The metrics of one service; `meters[CONSUMED].labels(queue=...)` is the client's own object."""

    def __init__(self, catalog: Catalog, service: str) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._catalog, self._queues = catalog, catalog.queues_of(service)
        self._runs_jobs = any(queue.handler == "batch" for queue in self._queues)
        self._objects = {metric.name: self._make(metric) for metric in catalog.metrics if self._is_ours(metric)}
        for queue in self._queues:
            self[SLOTS].labels(queue=queue.name).set(queue.prefetch)

    def __getitem__(self, metric: Metric) -> Any:
        return self._objects[metric.name]

    def _is_ours(self, metric: Metric) -> bool:
        if metric.source != "consumers" or metric.name.startswith(PROCESS):
            return False
        return self._runs_jobs or not metric.name.startswith("batch_")

    def _make(self, metric: Metric) -> Counter | Gauge | Histogram:
        options: dict[str, Any] = {"labelnames": metric.labels, "registry": self.registry}
        made: Counter | Gauge | Histogram
        if metric.kind == "histogram":
            made = Histogram(metric.name, metric.help, buckets=self._buckets(metric), **options)
        else:
            made = {"counter": Counter, "gauge": Gauge}[metric.kind](metric.name, metric.help, **options)
        # A counter that appears with its first event hides that event from increase(): start at 0.
        for values in product(*(self._values(metric, label) for label in metric.labels)) if metric.labels else ():
            made.labels(*values)
        return made

    def _buckets(self, metric: Metric) -> tuple[float, ...]:
        jobs = metric is JOB_DURATION
        return buckets(max(queue.longest_run for queue in self._queues if not jobs or queue.handler == "batch"))

    def _values(self, metric: Metric, label: str) -> list[str]:
        jobs = [job.name for job in self._catalog.jobs]
        reasons = {REJECTED.name: Never, RETRIED.name: Later}
        every = {
            "queue": [queue.name for queue in self._queues],
            "job_name": jobs,
            "batch_job": jobs,
            "status": list(STATUSES),
            "reason": [reason.value for reason in reasons.get(metric.name, ())],
        }
        return every[label]
