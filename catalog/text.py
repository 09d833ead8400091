"""How what is declared is written for people: tables and quantities, the same on a terminal, a page and an alert."""

from collections.abc import Sequence
from datetime import timedelta

from catalog.kinds import Alert


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown whose columns also line up in a terminal."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join("| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines)


def quantity(value: float, unit: str) -> str:
    """A value in a signal's unit: seconds as `1h30m`, everything else as a plain number."""
    return span(timedelta(seconds=value)) if unit == "s" else f"{value:g}"


def beyond(alert: Alert, entry: object, unit: str) -> str:
    """Where an alert begins for a queue, service or job: `above 15m`."""
    return f"{'above' if alert.above else 'below'} {quantity(alert.limit(entry), unit)}"


def span(duration: timedelta) -> str:
    """A duration as settings and Prometheus write it: `4h`, `15m30s`, `0s`."""
    minutes, seconds = divmod(round(duration.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [f"{count}{letter}" for count, letter in ((hours, "h"), (minutes, "m"), (seconds, "s")) if count]
    return "".join(parts) or "0s"
