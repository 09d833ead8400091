"""Between an answered delivery and whoever watches: its counters and its log line."""

from __future__ import annotations

from catalog.metrics import CONSUMED, DUPLICATES, HANDLING, REJECTED, RETRIED, SUSPECTS
from consumers.delivery import Delivery
from consumers.metrics import Meters
from consumers.verdicts import Reject, Retry


class Tally:
    """What one queue's deliveries came to."""

    def __init__(self, queue: str, meters: Meters) -> None:
        self._queue, self._meters = queue, meters
        self._consumed = meters[CONSUMED].labels(queue)
        self._duplicates = meters[DUPLICATES].labels(queue)
        self._handling = meters[HANDLING].labels(queue)
        self._suspects = meters[SUSPECTS].labels(queue)

    def begun(self, delivery: Delivery) -> None:
        if delivery.alone:
            self._suspects.inc()

    def ended(self, delivery: Delivery, verdict: bool | Reject | Retry, *, answered: bool) -> None:
        """Note a verdict; what the broker did not hear is counted when it comes again."""
        if delivery.took:  # what is given back unhandled, or unfinished, took no time that means anything
            self._handling.observe(delivery.took)
        if not answered:
            pass
        elif isinstance(verdict, Retry):
            self._meters[RETRIED].labels(self._queue, verdict.reason.value).inc()
        elif isinstance(verdict, Reject):
            self._meters[REJECTED].labels(self._queue, verdict.reason.value).inc()
        else:
            self._consumed.inc()
            if not verdict:
                self._duplicates.inc()
        delivery.tell(self._queue, verdict, answered=answered)
