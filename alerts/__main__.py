"""`python -m alerts [--check]`: what is committed of the catalog's rules and tables, written anew or compared."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from alerts.build import rules
from alerts.pages import FOLDER, filled, passages
from catalog import CATALOG

ROOT = FOLDER.parent
RULES = ROOT / "alerts" / "rules.yaml"


def files() -> Iterator[tuple[Path, str]]:
    """Every committed file that is generated, or holds a generated passage, with what it should say."""
    yield RULES, rules(CATALOG)
    tables = passages(CATALOG)
    for page in (ROOT / "README.md", *sorted(FOLDER.glob("*.md"))):
        yield page, filled(page.read_text(), tables)


def stale() -> list[str]:
    """The generated files that differ from the catalog, relative to the repository."""
    return [str(path.relative_to(ROOT)) for path, text in files() if not path.exists() or path.read_text() != text]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m alerts", description="Write rules and runbook tables from the catalog."
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 and name what is out of date")
    if parser.parse_args().check:
        for name in (found := stale()):
            print(f"{name} differs from the catalog: run `python -m alerts` and commit it", file=sys.stderr)
        return 1 if found else 0
    for path, text in files():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
