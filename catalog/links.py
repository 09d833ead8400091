"""Where an alert leads: the address of its page and of its panel, derived from names and typed nowhere."""

from __future__ import annotations

from dataclasses import dataclass
from zlib import crc32

from catalog.kinds import Alert, Signal

BOARD = "bi-risk-batch-jobs"
FIRST_ROW = 100_000  # panels have smaller numbers


def panel_id(signal: Signal) -> int:
    """A panel's number on its board, from the signal's name: links outlive signals that are added before it."""
    return crc32(signal.name.encode()) % FIRST_ROW


@dataclass(frozen=True)
class Links:
    """What addresses begin with: `runbooks` is the folder of the pages, `grafana` the root of a Grafana."""

    runbooks: str = "runbooks"
    grafana: str = ""

    def page(self, alert: Alert) -> str:
        return f"{self.runbooks}/{alert.name}.md"

    def panel(self, signal: Signal) -> str:
        return f"{self.grafana}/d/{BOARD}?viewPanel={panel_id(signal)}"


LINKS = Links()
