"""What the consumers say of themselves during the run: counters over all processes, start-up times and memory."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import requests
from prometheus_client.parser import text_string_to_metric_families

from catalog import Metric
from catalog.metrics import MEMORY, STARTUP

STARTED = "process_start_time_seconds"  # from the client library's process collector

Key = tuple[str, tuple[tuple[str, str], ...]]
Samples = dict[Key, float]


@dataclass(frozen=True)
class Process:
    """One consumer process: start-up in seconds, resident memory in bytes; None where it did not answer."""

    service: str
    url: str
    startup: float | None
    memory: float | None


class Counters:
    """Increments since the first look, kept through restarts: a process that began anew counts from 0."""

    def __init__(self, services: Mapping[str, list[str]]) -> None:
        self._urls = [(service, url) for service, urls in services.items() for url in urls]
        self._began = time.time()
        self._last: dict[str, Samples] = {}
        self._total: defaultdict[Key, float] = defaultdict(float)
        self.look()

    def look(self) -> None:
        """Scrape every process; one that does not answer is counted when it does again."""
        for _, url in self._urls:
            if now := scrape(url):
                self.add(url, now)

    def add(self, url: str, now: Samples) -> None:
        """Take one scrape of one process into account."""
        before = self._last.get(url)
        started = now[STARTED, ()]
        if before is None:
            before = {} if started > self._began else now
        elif started != before[STARTED, ()]:
            before = {}
        for key, value in now.items():
            self._total[key] += value - before.get(key, 0.0)
        self._last[url] = now

    def total(self, metric: Metric, **labels: str) -> float:
        """The increments of a counter, summed over the label values that are not given."""
        return sum(self.by(metric, **labels).values())

    def by(self, metric: Metric, **labels: str) -> dict[str, float]:
        """The same by the labels that are not given, joined by a space."""
        found: defaultdict[str, float] = defaultdict(float)
        for (name, pairs), value in self._total.items():
            if name == metric.name and labels.items() <= dict(pairs).items():
                found[" ".join(text for label, text in pairs if label not in labels)] += value
        return {rest: value for rest, value in found.items() if value}

    def processes(self) -> list[Process]:
        """Every process as it was last seen."""
        return [
            Process(service, url, samples.get((STARTUP.name, ())), samples.get((MEMORY.name, ())))
            for service, url in self._urls
            for samples in [self._last.get(url, {})]
        ]


def scrape(url: str) -> Samples:
    """The samples of one process, empty when it does not answer."""
    try:
        answer = requests.get(f"{url}/metrics", timeout=5)
        answer.raise_for_status()
    except requests.RequestException:
        return {}
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): float(sample.value)
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
