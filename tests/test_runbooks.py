"""The pages: one for each alert, each with its four parts, and nothing in them that cannot be typed or opened."""

import re
import shlex
from itertools import takewhile
from pathlib import Path

import pytest

from alerts.pages import FOLDER, UnknownPassage, filled, passages
from catalog import CATALOG
from consumers.verdicts import Never
from infra.settings import TARGETS, BadSettings, parse
from oncall.__main__ import COMMANDS
from oncall.command import parser_of
from oncall.letters import GIVEN_UP, RUNBOOK

ALERTS = [alert.name for alert in CATALOG.alerts]
PAGES = {path.stem: path.read_text() for path in sorted(FOLDER.glob("*.md"))}
PROCEDURES = [name for name in PAGES if name not in ALERTS and name != "README"]
PANEL = re.compile(r"[Pp]anel\s+(\*[^*]+\*|[A-Z]\w*)")
LINK = re.compile(r"\]\(([^)#]+)")
# What a page writes in capitals is to be replaced by what the alert says; any entry of the catalog will do here.
PLACEHOLDERS = {
    "QUEUE": CATALOG.queues[0].name,
    "SERVICE": CATALOG.services[0].name,
    "JOB": CATALOG.jobs[0].name,
    "ALERT": ALERTS[0],
    "REASON": Never.NO_TENANT.value,
    "TENANT": "acme",
    "DAY": "2025-03-01",
    "NAME": "march",
    "ID": "evt-1",
    "FILE": "endpoints.json",
    "SETTING": f"replicas.{CATALOG.services[0].name}",
}


def headings(page: str, level: int) -> list[str]:
    return re.findall(rf"^{'#' * level} (.+)$", page, re.MULTILINE)


def typed(page: str) -> list[str]:
    """Everything a page gives to be typed: lines of code blocks, and code within sentences."""
    blocks = re.findall(r"^```\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    rest = re.sub(r"^```\n.*?^```$", "", page, flags=re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()] + re.findall(r"`([^`\n]+(?:\n[^`\n]+)?)`", rest)


def spelled_out(command: str) -> str:
    return re.sub(r"\b[A-Z]{2,}\b", lambda word: PLACEHOLDERS.get(word[0], word[0]), command)


COMMANDS_TYPED = sorted({(name, line) for name, page in PAGES.items() for line in typed(page)})
ONCALL = [(name, line) for name, line in COMMANDS_TYPED if line.startswith("oncall ")]
PULUMI = [
    (name, line)
    for name, line in COMMANDS_TYPED
    if re.match(r"(tools/)?pulumi (config set|preview|up|stack output) ", line)
]
SETTINGS = [
    (name, re.split(r"config set (?:--secret )?", line)[1].split()[0]) for name, line in PULUMI if " set " in line
]
SETTINGS += [(name, key) for name, page in PAGES.items() for key in re.findall(r"\*\*set\*\* `(.+?)`", page)]
LOCAL_ONLY = re.compile(r"make up|\.local/(?!prod\.json)|supervisorctl|--stack local")
ON_KUBERNETES = re.compile(r"kubectl |pulumi .*--stack \$STACK")


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_has_a_page_of_four_parts(alert: str) -> None:
    """Who is woken by it finds what it means, whom it hurts, how to look and what to do, in this order."""
    assert alert in PAGES, f"{alert} has no page: write runbooks/{alert}.md (Meaning, Impact, Diagnosis, Mitigation)"
    page = PAGES[alert]

    assert [alert] == headings(page, 1)
    assert ["Meaning", "Impact", "Diagnosis", "Mitigation"] == headings(page, 2)
    assert f"<!-- generated: limits of {alert} -->" in page, f"runbooks/{alert}.md lacks its generated table of limits"
    assert "| what you saw | what to type | what you see when it worked | if not |" in page


def test_every_page_has_its_alert() -> None:
    """A page in CamelCase belongs to an alert; procedures have names-like-this."""
    orphans = [name for name in PROCEDURES if not re.fullmatch(r"[a-z]+(-[a-z]+)+", name)]

    assert [] == orphans, f"no alert leads to these pages of runbooks/: {orphans}; remove them, or declare their alerts"


@pytest.mark.parametrize("procedure", PROCEDURES)
def test_every_procedure_is_listed(procedure: str) -> None:
    """A page nobody finds helps nobody."""
    assert f"({procedure}.md)" in PAGES["README"], f"name {procedure} in runbooks/README.md"


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_somewhere(name: str) -> None:
    """Links between pages stay true when a page is renamed."""
    broken = [link for link in LINK.findall(PAGES[name]) if "://" not in link and not (FOLDER / link).exists()]

    assert [] == broken


def test_every_panel_that_a_page_names_is_on_the_board() -> None:
    """By its whole title, so that it can be searched for; pages write it *like this*."""
    faults = (FOLDER.parent / "docs/reliability.md").read_text().partition("\n## What a fault looks like")[2]
    told = {panel for page in PAGES.values() for panel in PANEL.findall(page)}
    told |= set(re.findall(r"\*[A-Z][^*]+\*", faults.partition("\n## ")[0]))

    assert told
    assert set() == told - {f"*{signal.title}*" for signal in CATALOG.signals}


def test_every_reason_of_a_dead_letter_has_a_heading() -> None:
    """`oncall` sends people to the heading of the reason; a heading without a reason would be a leftover."""
    reasons = {reason.value for reason in Never} | {GIVEN_UP}
    found = headings(PAGES[Path(RUNBOOK).stem], 3)

    assert len(set(found)) == len(found)
    assert reasons == set(found), f"{RUNBOOK}: one heading for each reason of consumers/verdicts.py and {GIVEN_UP}"


def test_pages_give_commands() -> None:
    """The lists of the two tests below are not empty by accident."""
    assert len(ONCALL) > 10
    assert len(SETTINGS) > 2


@pytest.mark.parametrize(("name", "line"), ONCALL)
def test_oncall_understands_what_the_pages_say(name: str, line: str) -> None:
    """Each `oncall` command of a page is one that exists, with options that exist."""
    words = takewhile(lambda word: word != "|", shlex.split(spelled_out(line))[1:])
    try:
        parser_of(COMMANDS).parse_args(list(words))
    except SystemExit:
        pytest.fail(f"runbooks/{name}.md gives a command that oncall refuses: {line}")


@pytest.mark.parametrize("name", [name for name, page in PAGES.items() if LOCAL_ONLY.search(page)])
def test_what_works_on_one_machine_has_its_way_on_kubernetes(name: str) -> None:
    """An alert of prod leads to the same page: it never finds only what would start stack local on a laptop."""
    assert ON_KUBERNETES.search(PAGES[name]), f"runbooks/{name}.md says what to type for stack local only"


@pytest.mark.parametrize(("name", "line"), PULUMI)
def test_pulumi_is_told_which_stack(name: str, line: str) -> None:
    """The stack that was selected last may be another: local for this machine's CLI, else the one of the alert."""
    stack = "local" if line.startswith("tools/") else "$STACK"

    assert f" --stack {stack}" in line, f"runbooks/{name}.md lacks --stack {stack}: {line}"


@pytest.mark.parametrize(("name", "key"), SETTINGS)
def test_pages_set_settings_that_exist(name: str, key: str) -> None:
    """Each setting that a page changes is one that a stack of one target or the other may have."""
    key = spelled_out(key)
    told = [faults_of(target, key) for target in TARGETS]

    assert not all(f"{key} is no" in faults for faults in told), f"runbooks/{name}.md sets {key}: {told}"


def faults_of(target: str, key: str) -> str:
    try:
        parse({"target": target, key: ""}, {key}, stack="test", root=Path("/project"))
    except BadSettings as faults:
        return str(faults)
    return ""


def test_a_passage_is_replaced_and_the_rest_stays() -> None:
    """What people wrote around a table is theirs."""
    page = "before\n<!-- generated: x -->\nold\n<!-- end -->\nafter\n"

    assert filled(page, {"x": "new"}) == "before\n<!-- generated: x -->\nnew\n<!-- end -->\nafter\n"


def test_a_passage_that_nothing_makes_is_named() -> None:
    """A misspelt marker is an error that lists the right ones."""
    with pytest.raises(UnknownPassage, match="no passage is called 'indx': there are consumers, flow, index"):
        filled("<!-- generated: indx -->\n<!-- end -->\n", passages(CATALOG))
