"""The shapes of what is done: where events arrive, who handles them, where they end up; and what follows from each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

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
    def backlog_per_replica(self) -> int:
        """How many events one replica can be given and still keep the promise, even when each takes its longest."""
        return self.prefetch * self.drain_within // self.longest_run

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
    the shared exchange. `rss` is what a process was measured to hold in memory under load, in MiB.
    """

    name: str
    port: int
    replicas: int
    most_replicas: int
    sink_rate: float
    rss: int
    stores: tuple[str, ...]
    publishes: tuple[str, ...] = ()

    @property
    def memory_request(self) -> int:
        """MiB that a node keeps free for a replica: what it holds, and a quarter more for busier days."""
        return math.ceil(1.25 * self.rss)

    def memory_limit(self, bodies: int) -> int:
        """MiB beyond which a replica is killed, of which `bodies` are those of all events that it may hold at once.

        Twice what it was measured to hold: what grows beyond that leaks, and to end it early costs nobody an event.
        """
        return 2 * self.rss + bodies


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
