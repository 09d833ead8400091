"""The page that leads from zero to prod: every setting is in it, and what it gives to be typed exists."""

from __future__ import annotations

import re
import shlex
from itertools import takewhile
from pathlib import Path

import pytest

from catalog import CATALOG
from catalog.resolve import settings
from infra.cluster import settings as cluster_settings
from infra.reading import Reading
from oncall.__main__ import COMMANDS
from oncall.command import parser_of
from tests.test_runbooks import LINK, headings, typed
from tools.cache import ROOT

FILE = ROOT / "docs/environments.md"
PAGE = FILE.read_text()
WORDS = re.sub(r"^```mermaid$.*?^```$", "", PAGE, flags=re.MULTILINE | re.DOTALL)
TYPED = [line.partition("  #")[0].strip() for line in typed(WORDS)]
KEY = re.compile(r"`([a-z_]+(?:\.[a-z_-]+)*)`")


def asked() -> set[str]:
    """Every setting that target kubernetes knows beyond the catalog."""
    reading = Reading({})
    cluster_settings.read(reading, CATALOG, "test")
    return set(reading.asked)


def section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_every_setting_is_in_its_table() -> None:
    """A setting that nobody can find is none; one that is gone misleads."""
    rows = [line.split("|")[1] for line in section("Settings").splitlines() if line.startswith("| `")]

    assert asked() == {key for row in rows for key in KEY.findall(row)}


def test_every_link_leads_somewhere() -> None:
    """To a file, or to a heading of the page."""
    anchors = {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in headings(PAGE, 2)}

    assert [] == [link for link in LINK.findall(PAGE) if "://" not in link and not (FILE.parent / link).exists()]
    assert set(re.findall(r"\]\(#([^)]+)\)", PAGE)) <= anchors


def test_every_path_exists() -> None:
    paths = re.findall(r"`((?:tests|catalog|consumers|docs|infra)/[\w/.]*)`", PAGE)

    assert paths
    assert [] == [path for path in paths if not (ROOT / path).exists()]


@pytest.mark.parametrize("line", [line for line in TYPED if line.startswith("pulumi config set ")])
def test_it_sets_settings_that_exist(line: str) -> None:
    key = next(word for word in shlex.split(line)[3:] if not word.startswith("-"))

    assert key in {*settings(CATALOG), *asked(), "credentials.generation"}


@pytest.mark.parametrize("line", [line for line in TYPED if line.startswith("oncall ")])
def test_oncall_understands_it(line: str) -> None:
    words = list(takewhile(lambda word: word != "|", shlex.split(line)[1:]))

    if words != ["drift"]:  # the name alone, in a sentence
        parser_of(COMMANDS).parse_args(words)


@pytest.mark.parametrize("line", sorted({line for line in TYPED if line.startswith("make ")}))
def test_make_knows_it(line: str) -> None:
    target = line.split()[1]

    assert f"\n{target}:" in Path(ROOT / "Makefile").read_text()
