"""The longer questions of the signals, in PromQL."""

from catalog.kinds import Queue, Service
from catalog.metrics import CONSUMED, CONSUMERS, PUBLISHED, READY, SETTLED, UNACKED, UP
from catalog.sizing import REQUIRED, at_once, handling_time, rate


def time_to_drain(queue: Queue) -> str:
    """Seconds until the queue is empty at the present pace.

    What arrived within the last minute is no backlog. Where runs are few and long, rates are zero most of the time:
    there the work in flight and the time of a typical run are used.
    """
    ready = f"sum({READY.at(queue=queue.name)})"
    if queue.slow:
        slots = f"clamp_min(sum({CONSUMERS.at(queue=queue.name)}) * {at_once(queue)}, 1)"
        return f"({ready} + sum({UNACKED.at(queue=queue.name)})) * {handling_time(queue)} / {slots}"
    arriving, settled = rate(PUBLISHED, queue), rate(SETTLED, queue)
    return f"clamp_min({ready} - 60 * {arriving}, 0) / clamp_min({settled} - {arriving}, 0.001)"


def consumed(queue: Queue) -> str:
    return f"sum(rate({CONSUMED.at(queue=queue.name)}[5m]))"


def both_replica_counts(service: Service) -> str:
    """Required replicas, and beside them, labelled, those that answer scrapes."""
    required = f'label_replace(max({REQUIRED}{{service="{service.name}"}}), "count", "required", "", "")'
    return f'{required} or label_replace(sum({UP.at(job=service.name)}), "count", "actual", "", "")'
