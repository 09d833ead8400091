"""The board: every signal as a panel that says what it asks, where its limit is, and where to read on."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from alerts.build import dump
from catalog import CATALOG, Catalog, Signal, resolve
from catalog.links import BOARD, LINKS, panel_id
from dashboards import boards
from tests import programs

ROOT = Path(__file__).parents[1]


def board(catalog: Catalog = CATALOG) -> dict[str, Any]:
    (text,) = boards(catalog).values()
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def panels(catalog: Catalog = CATALOG) -> dict[int, dict[str, Any]]:
    return {panel["id"]: panel for panel in board(catalog)["panels"] if panel["type"] != "row"}


def panel_of(signal: Signal) -> dict[str, Any]:
    found = panels().get(panel_id(signal))
    assert found, f"signal {signal.name} has no panel: dashboards/panels.py shows every signal of the catalog"
    return found


every_signal = pytest.mark.parametrize("signal", CATALOG.signals, ids=lambda signal: signal.name)


def test_the_board_is_the_one_people_know() -> None:
    """Address, title, tags, refresh, a day to look back, and a choice of data source, as before."""
    found = board()

    assert list(boards(CATALOG)) == ["bi-risk-batch-jobs"] == [found["uid"]]
    assert found["title"] == "BI Sales Risk – Batch Jobs"
    assert found["tags"] == ["bi-risk", "batch-jobs"]
    assert (found["refresh"], found["time"]) == ("30s", {"from": "now-24h", "to": "now"})
    assert [("datasource", "datasource", "prometheus")] == [
        (variable["name"], variable["type"], variable["query"]) for variable in found["templating"]["list"]
    ]


def test_a_current_grafana_does_not_have_to_migrate_it() -> None:
    """The schema is today's, panels are of kinds that still exist, and data is asked for as finely as it is shown."""
    assert board()["schemaVersion"] == 42
    assert {"timeseries", "stat"} == {panel["type"] for panel in panels().values()}
    assert {1000} == {panel["maxDataPoints"] for panel in panels().values()}


def test_panels_stand_in_the_catalogs_order_under_their_rows() -> None:
    """The question asked first stands at the top."""
    order = sorted(board()["panels"], key=lambda panel: (panel["gridPos"]["y"], panel["gridPos"]["x"]))
    rows = dict.fromkeys(signal.row for signal in CATALOG.signals)

    assert [signal.title for signal in CATALOG.signals] == [panel["title"] for panel in order if panel["type"] != "row"]
    assert list(rows) == [panel["title"] for panel in order if panel["type"] == "row"]


def test_no_two_panels_share_a_number_or_a_place() -> None:
    """A link leads to one panel, and none is hidden below another."""
    numbers = [panel["id"] for panel in board()["panels"]]
    places = [
        (column, row)
        for panel in board()["panels"]
        for place in [panel["gridPos"]]
        for column in range(place["x"], place["x"] + place["w"])
        for row in range(place["y"], place["y"] + place["h"])
    ]

    assert len(set(numbers)) == len(numbers)
    assert len(set(places)) == len(places)


@every_signal
def test_a_panel_asks_its_signals_question(signal: Signal) -> None:
    """It shows one series per queue, service or job, named after it, in the signal's unit."""
    panel, entries = panel_of(signal), CATALOG.entries(signal)

    assert panel["description"].startswith(signal.question)
    assert signal.unit == panel["fieldConfig"]["defaults"]["unit"]
    assert [signal.expr(entry) for entry in entries] == [target["expr"] for target in panel["targets"]]
    assert len(entries) == len({target["refId"] for target in panel["targets"]})
    if signal.per != "once":
        labelled = f" {{{{{signal.label}}}}}" if signal.label else ""
        assert [entry.name + labelled for entry in entries] == [target["legendFormat"] for target in panel["targets"]]


@every_signal
def test_a_panel_shows_its_limits_or_says_why_there_are_none(signal: Signal) -> None:
    """Each limit of the alert is a line, named in the description beside the link to the page."""
    panel = panel_of(signal)
    lines = {step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]} - {None}

    if signal.alert:
        assert {signal.alert.limit(entry) for entry in CATALOG.entries(signal)} == lines
        assert all(entry.name in panel["description"] for entry in CATALOG.entries(signal))
        assert [LINKS.page(signal.alert)] == [link["url"] for link in panel["links"]]
    else:
        assert set() == lines
        assert signal.no_alert in panel["description"]


def test_the_same_catalog_gives_the_same_text() -> None:
    """A difference in a stack's preview is a difference in the board."""
    assert boards(CATALOG) == boards(resolve(CATALOG, {}))


def test_a_stack_sees_its_own_names() -> None:
    """A renamed queue is renamed in every expression and legend."""
    text = boards(resolve(CATALOG, {"rabbitmq.data_lake.queue": "lake"}))[BOARD]

    assert "logging_data_lake" not in text
    assert 'queue=\\"lake\\"' in text


@pytest.mark.servers
def test_every_expression_makes_sense(tmp_path: Path) -> None:
    """Each query of each panel parses, rates only counters, and reads no counter without a rate."""
    queries = [target["expr"] for panel in panels().values() for target in panel["targets"]]
    rules = [{"record": f"panel:query:{number}", "expr": query} for number, query in enumerate(queries)]
    file = tmp_path / "rules.yaml"
    file.write_text(dump([{"name": "panels", "rules": rules}]))

    assert f"{len(queries)} rules found" in programs.run("promtool", "check", "rules", file)
    programs.run("pint", "--offline", "lint", "--fail-on", "info", file)


def test_a_panel_asks_the_source_that_is_chosen() -> None:
    """No data source is named: the variable at the top of the board decides, and nobody edits what is generated."""
    chosen = {"type": "prometheus", "uid": "${datasource}"}

    for panel in panels().values():
        assert all(chosen == source for source in [panel["datasource"], *(t["datasource"] for t in panel["targets"])])
        assert not panel["editable"]
    assert not board()["editable"]


def test_only_one_module_knows_grafanalib() -> None:
    """Another way to write boards would change one file."""
    importing = {
        str(path.relative_to(ROOT))
        for folder in ("alerts", "catalog", "consumers", "dashboards", "infra", "oncall")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom) and "grafanalib" in ast.unparse(node)
    }

    assert {"dashboards/panels.py"} == importing
