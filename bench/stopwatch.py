"""What every contender is measured with: events, wall time and CPU of its own process, first to last event."""

from __future__ import annotations

import json
import resource
import sys
import time
from dataclasses import dataclass

PREFETCH = 10


@dataclass
class Stopwatch:
    """Counts events; the clock runs from the first to the last."""

    events: int
    seen: int = 0
    began: float = 0.0
    used: float = 0.0

    def last(self) -> bool:
        """Note one event. True when it was the last one."""
        if self.seen == 0:
            self.began, self.used = time.monotonic(), time.process_time()
        self.seen += 1
        return self.seen >= self.events

    def report(self) -> None:
        """Print the result as the last line on standard error: events/s, CPU us per event, peak RSS in MB."""
        wall, cpu = time.monotonic() - self.began, time.process_time() - self.used
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        result = {"rate": self.seen / wall, "cpu_us": cpu / self.seen * 1e6, "rss_mb": peak}
        print(json.dumps(result), file=sys.stderr)
