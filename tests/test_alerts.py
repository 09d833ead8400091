"""Every alert: its rule current, tested and lint-free, and its way to a person."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import alerts.__main__ as command
from alerts import alertmanager, build
from catalog import CATALOG, resolve
from catalog.links import Links
from tests import programs

RULE_TESTS = Path(__file__).parent / "alerts"
NAMES = [alert.name for alert in CATALOG.alerts]
FIRST_LETTER = re.compile(r"[A-Z]")


def rules(text: str) -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"] if "alert" in rule]


def steps(alert: str) -> list[list[Any]]:
    """What a rule test expects of an alert, in the order of its cases."""
    path = RULE_TESTS / f"{alert}_test.yaml"
    assert path.exists(), f"{alert} has no rule test: write tests/alerts/{path.name}, silent first, then firing"
    cases = [case for test in yaml.safe_load(path.read_text())["tests"] for case in test["alert_rule_test"]]
    return [case["exp_alerts"] for case in cases if case["alertname"] == alert]


def test_there_are_alerts() -> None:
    """An empty list would pass every test below unseen."""
    assert NAMES, "catalog/signals.py declares no alert: nobody would be told of anything"


def test_what_is_committed_is_what_the_catalog_says() -> None:
    """A reviewer reads the rules that are loaded and the tables that are true."""
    assert [] == command.stale(), "run `python -m alerts` and commit what it writes"


def test_check_names_what_is_out_of_date(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`python -m alerts --check` changes nothing, names the file and fails."""
    old = tmp_path / "rules.yaml"
    old.write_text("groups: []\n")
    (tmp_path / "README.md").write_text("no passage\n")
    monkeypatch.setattr(command, "RULES", old)
    monkeypatch.setattr(command, "ROOT", tmp_path)
    monkeypatch.setattr(command, "FOLDER", tmp_path)
    monkeypatch.setattr("sys.argv", ["alerts", "--check"])

    assert command.main() == 1
    assert capsys.readouterr().err == "rules.yaml differs from the catalog: run `python -m alerts` and commit it\n"
    assert old.read_text() == "groups: []\n"


@pytest.mark.parametrize("alert", NAMES)
def test_every_alert_is_shown_silent_before_it_fires(alert: str) -> None:
    """Its rule test asserts silence first, and at least once the whole text of a firing alert."""
    found = steps(alert)

    assert found[0] == [], f"tests/alerts/{alert}_test.yaml begins with a case that expects no alert"
    assert any(found), f"tests/alerts/{alert}_test.yaml has no case in which the alert fires"
    texts = [set(fired["exp_annotations"]) for case in found for fired in case]
    assert all(text == {"summary", "description", "runbook_url", "dashboard_url"} for text in texts), alert


def test_every_rule_test_has_its_alert() -> None:
    """A rule test of an alert that is gone tests nothing."""
    tested = {path.name.removesuffix("_test.yaml") for path in RULE_TESTS.glob("[A-Z]*_test.yaml")}

    assert tested <= set(NAMES), f"remove the rule tests of {sorted(tested - set(NAMES))}, or declare these alerts"


@pytest.mark.servers
@pytest.mark.parametrize("alert", NAMES)
def test_the_alert_behaves(alert: str) -> None:
    """Prometheus itself finds it silent below the limit, silent too short, then firing with its whole text."""
    programs.run("promtool", "test", "rules", RULE_TESTS / f"{alert}_test.yaml")


@pytest.mark.servers
def test_prometheus_reads_the_rules() -> None:
    """Each rule parses, and no rule stands there twice."""
    assert "SUCCESS" in programs.run("promtool", "check", "rules", "--lint-fatal", command.RULES)


@pytest.mark.servers
def test_the_rules_keep_house_rules() -> None:
    """The linter finds nothing: no label that is lost, no template that fails, no annotation that is missing."""
    config = command.ROOT / "alerts" / "pint.hcl"
    programs.run("pint", "--offline", "--config", config, "lint", "--fail-on", "info", command.RULES)


@pytest.mark.servers
def test_the_house_rules_bite(tmp_path: Path) -> None:
    """An alert without a page is refused: the check above is one that can fail."""
    bare = tmp_path / "rules.yaml"
    bare.write_text(re.sub(r" +runbook_url: .*\n", "", command.RULES.read_text()))
    config = command.ROOT / "alerts" / "pint.hcl"

    with pytest.raises(AssertionError, match="`runbook_url` annotation is required"):
        programs.run("pint", "--offline", "--config", config, "lint", "--fail-on", "info", bare)


def test_one_rule_for_each_entry() -> None:
    """An alert watches each of its queues or jobs, under one name, and says whose it is and whom it concerns."""
    expected = [
        (alert.name, alert.severity, entry.name)
        for signal, alert in CATALOG.alerting
        for entry in CATALOG.entries(signal)
    ]
    found = [
        (rule["alert"], labels["severity"], labels.get("queue") or labels["job_name"])
        for rule in rules(build.rules(CATALOG))
        for labels in [rule["labels"]]
    ]

    assert expected == found


def test_a_stack_has_its_own_names_limits_and_links() -> None:
    """Rules follow the stack's settings, and links lead to where its pages and boards are."""
    stack = resolve(CATALOG, {"rabbitmq.data_lake.queue": "lake", "rabbitmq.data_lake.drain_within": "20m"})
    links = Links(runbooks="https://docs.example/runbooks", grafana="https://grafana.example")
    text = build.rules(stack, links)
    (rule,) = [rule for rule in rules(text) if (rule["alert"], rule["labels"].get("queue")) == (NAMES[0], "lake")]

    assert "logging_data_lake" not in text
    assert rule["expr"].endswith("> 1200")
    assert rule["annotations"] == {
        "summary": "lake will not be empty within its target",
        "description": "Time to drain: {{ $value | humanizeDuration }}, above 20m for at least 10m.",
        "runbook_url": "https://docs.example/runbooks/QueueWillNotDrainInTime.md",
        "dashboard_url": "https://grafana.example/d/bi-risk-batch-jobs?viewPanel=79997",
    }


@pytest.fixture
def routes(tmp_path: Path) -> Path:
    path = tmp_path / "alertmanager.yml"
    path.write_text(alertmanager.config(CATALOG, {"page": "http://127.0.0.1:9/page"}))
    return path


@pytest.mark.servers
def test_alertmanager_reads_its_configuration(routes: Path) -> None:
    """With and without a webhook."""
    assert "SUCCESS" in programs.run("amtool", "check-config", routes)
    routes.write_text(alertmanager.config(CATALOG))
    assert "SUCCESS" in programs.run("amtool", "check-config", routes)


@pytest.mark.servers
@pytest.mark.parametrize("alert", CATALOG.alerts, ids=lambda alert: alert.name)
def test_an_alert_reaches_the_receiver_of_its_severity(alert: Any, routes: Path) -> None:
    """Alertmanager's own routing says who hears of it."""
    labels = (f"alertname={alert.name}", f"severity={alert.severity}", "queue=logging_data_lake")
    heard = programs.run("amtool", "config", "routes", "test", "--config.file", routes, *labels)

    assert alert.severity == heard.strip()


def test_only_a_severity_with_a_webhook_is_sent_anywhere() -> None:
    """By default no address outside is known; a stack names its own."""
    plain = yaml.safe_load(alertmanager.config(CATALOG))["receivers"]
    hooked = yaml.safe_load(alertmanager.config(CATALOG, {"page": "https://pager.example/hook"}))["receivers"]

    assert [{"name": "page"}, {"name": "ticket"}] == plain
    assert [{"name": "page", "webhook_configs": [{"url": "https://pager.example/hook"}]}, {"name": "ticket"}] == hooked


def test_a_queue_without_consumer_explains_why_it_is_late() -> None:
    """What follows from a missing consumer is not sent as well, for the same queue only."""
    assert yaml.safe_load(alertmanager.config(CATALOG))["inhibit_rules"] == [
        {
            "source_matchers": ['alertname="QueueWithoutConsumer"'],
            "target_matchers": ['alertname=~"QueueWillNotDrainInTime|OldestEventTooOld"'],
            "equal": ["service", "queue"],
        }
    ]
