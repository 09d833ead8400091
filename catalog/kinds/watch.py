"""The shapes of what is watched: metrics, the questions that they answer, and the alerts that ask at night."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

Severity = Literal["page", "ticket"]
Per = Literal["queue", "service", "job", "once"]
PanelKind = Literal["timeseries", "stat"]


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
