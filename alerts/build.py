"""Between the catalog and Prometheus: recording rules from the sizing formula, alert rules from the signals."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import yaml

from catalog.kinds import Alert, Catalog, Signal
from catalog.links import LINKS, Links
from catalog.sizing import literal, records
from catalog.text import beyond, span

HEAD = """\
# Written by `python -m alerts` from catalog/signals.py and catalog/sizing.py: change those, then run it again.
# Each alert has a page in runbooks/ and a test in tests/alerts/.
"""
ENTRY_LABEL = {"queue": "queue", "service": "service", "job": "job_name"}  # Prometheus keeps `job` for the service
VALUE = {"s": "{{ $value | humanizeDuration }}"}
PLAIN_VALUE = '{{ $value | printf "%.0f" }}'


class Folded(str):
    """Text that is written over several lines where it is long."""

    __slots__ = ()


class Dumper(yaml.SafeDumper):
    """Plain YAML that knows Folded."""


Dumper.add_representer(Folded, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style=">"))


def rules(catalog: Catalog, links: Links = LINKS) -> str:
    """Every rule as YAML for Prometheus; the same text for the same catalog."""
    groups = [
        {"name": alert.name, "rules": [rule(catalog, signal, alert, links, entry) for entry in catalog.entries(signal)]}
        for signal, alert in catalog.alerting
    ]
    return HEAD + dump([{"name": "sizing", "rules": recording_rules(catalog)}, *groups])


def dump(groups: list[dict[str, Any]]) -> str:
    """Groups of rules as a file for Prometheus."""
    return yaml.dump({"groups": groups}, Dumper=Dumper, sort_keys=False, width=116, allow_unicode=True)


def recording_rules(catalog: Catalog) -> list[dict[str, Any]]:
    return [
        {"record": record.name, "expr": Folded(record.expr), "labels": dict(record.labels)}
        for record in records(catalog)
    ]


def rule(catalog: Catalog, signal: Signal, alert: Alert, links: Links, entry: Any) -> dict[str, Any]:
    """The alert of a signal for one queue, service or job."""
    return {
        "alert": alert.name,
        "expr": Folded(f"({signal.expr(entry)}) {alert.comparison} {literal(alert.limit(entry))}"),
        **({"for": span(alert.hold)} if alert.hold else {}),
        "labels": {"severity": alert.severity, **labels(catalog, signal, entry)},
        "annotations": {
            "summary": alert.summary.format(name=entry.name),
            "description": description(signal, alert, entry),
            "runbook_url": links.page(alert),
            "dashboard_url": links.panel(signal),
        },
    }


def labels(catalog: Catalog, signal: Signal, entry: Any) -> dict[str, str]:
    """Whose alert it is: the entry, and the service that a person would scale or restart."""
    queue = catalog.queue_of("batch") if signal.per == "job" else entry
    return {"service": getattr(queue, "service", queue.name), ENTRY_LABEL[signal.per]: entry.name}


def description(signal: Signal, alert: Alert, entry: Any) -> str:
    """Which number crossed which limit, for how long."""
    lasting = f" for at least {span(alert.hold)}" if alert.hold > timedelta() else ""
    value = VALUE.get(signal.unit, PLAIN_VALUE)
    return f"{signal.title}: {value}, {beyond(alert, entry, signal.unit)}{lasting}."
