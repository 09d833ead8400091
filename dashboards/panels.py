"""Between the signals and grafanalib, which nothing else imports: one signal, one panel."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from grafanalib import core

from catalog.kinds import Alert, Catalog, Signal
from catalog.links import FIRST_ROW, Links, panel_id
from catalog.text import beyond

SOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH, HEIGHT, COLUMNS = 8, 8, 24  # in units of Grafana's grid, three panels side by side
SCHEMA = 42  # Grafana 12; grafanalib would say 12, and every Grafana would migrate the board on loading
POINTS = 1000  # grafanalib would ask for 100, one every quarter of an hour on a board of a day


def board(catalog: Catalog, links: Links, *, uid: str, title: str, tags: tuple[str, ...]) -> str:
    """A board with every signal of the catalog, as JSON text that is the same for the same catalog."""
    variable = core.Template(name="datasource", label="Data source", type="datasource", query="prometheus")
    dashboard = core.Dashboard(
        uid=uid,
        title=title,
        tags=list(tags),
        refresh="30s",
        time=core.Time("now-24h", "now"),
        timezone="utc",  # schedules are in UTC
        graphTooltip=core.GRAPH_TOOLTIP_MODE_SHARED_CROSSHAIR,
        editable=False,
        schemaVersion=SCHEMA,
        templating=core.Templating([variable]),
        panels=list(rows(catalog, links)),
    )
    text = json.dumps(dashboard, default=lambda part: part.to_json_data(), ensure_ascii=False, indent=2, sort_keys=True)
    return text + "\n"


def rows(catalog: Catalog, links: Links) -> Iterator[core.Panel]:
    """Panels in the catalog's order, below the heading of their row."""
    y = 0
    for number, (title, group) in enumerate(groupby(catalog.signals, lambda signal: signal.row)):
        signals = list(group)
        places = [divmod(position * WIDTH, COLUMNS) for position in range(len(signals))]
        yield core.RowPanel(title=title, id=FIRST_ROW + number, gridPos=core.GridPos(h=1, w=COLUMNS, x=0, y=y))
        for signal, (down, x) in zip(signals, places, strict=True):
            yield panel(catalog, signal, links, core.GridPos(h=HEIGHT, w=WIDTH, x=x, y=y + 1 + down * HEIGHT))
        y += 1 + (places[-1][0] + 1) * HEIGHT


def panel(catalog: Catalog, signal: Signal, links: Links, place: core.GridPos) -> core.Panel:
    """A signal's panel: its question and limits as description, a series per entry, a link to the alert's page."""
    common: dict[str, Any] = {
        "id": panel_id(signal),
        "title": signal.title,
        "description": description(catalog, signal),
        "dataSource": SOURCE,
        "gridPos": place,
        "maxDataPoints": POINTS,
        "targets": targets(catalog, signal),
        "thresholds": thresholds(catalog, signal),
        "links": [link(signal.alert, links)] if signal.alert else [],
        "editable": False,
    }
    if signal.panel == "stat":
        return core.Stat(format=signal.unit, decimals=0, reduceCalc="lastNotNull", noValue="-", **common)
    return core.TimeSeries(
        unit=signal.unit,
        axisSoftMin=0,
        fillOpacity=10,
        legendDisplayMode="table",
        legendCalcs=["lastNotNull", "max"],
        tooltipMode="multi",
        tooltipSort="desc",
        thresholdsStyleMode="line" if signal.alert else "off",
        **common,
    )


def targets(catalog: Catalog, signal: Signal) -> list[core.Target]:
    label = f" {{{{{signal.label}}}}}" if signal.label else ""
    return [
        core.Target(
            expr=signal.expr(entry),
            legendFormat=(signal.title if signal.per == "once" else entry.name) + label,
            refId=f"Q{number}",
            datasource=SOURCE,
            intervalFactor=1,
            instant=signal.panel == "stat",
        )
        for number, entry in enumerate(catalog.entries(signal), 1)
    ]


def thresholds(catalog: Catalog, signal: Signal) -> list[dict[str, Any]]:
    """A line for each limit; entries with the same limit share one, and the description says whose it is."""
    if not signal.alert:
        return [{"color": "blue", "value": None}]
    good, bad = ("green", "red") if signal.alert.above else ("red", "green")
    limits = sorted({signal.alert.limit(entry) for entry in catalog.entries(signal)})
    return [{"color": good, "value": None}, *({"color": bad, "value": limit} for limit in limits)]


def description(catalog: Catalog, signal: Signal) -> str:
    if not signal.alert:
        return f"{signal.question}\n\nNo alert: {signal.no_alert}."
    alert = signal.alert
    limits = (f"{entry.name} {beyond(alert, entry, signal.unit)}" for entry in catalog.entries(signal))
    return f"{signal.question}\n\n{alert.name}: {', '.join(limits)}."


def link(alert: Alert, links: Links) -> core.DataLink:
    return core.DataLink(title=f"Runbook: {alert.name}", linkUrl=links.page(alert), isNewTab=True)
