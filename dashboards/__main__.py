"""`python -m dashboards [FOLDER]`: the boards with the catalog's defaults, as files to import or as text."""

import argparse
from pathlib import Path

from catalog import CATALOG
from dashboards import boards


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m dashboards", description="Render the boards for Grafana.")
    parser.add_argument("folder", nargs="?", type=Path, help="where <uid>.json go; without it they are printed")
    folder = parser.parse_args().folder
    for uid, text in boards(CATALOG).items():
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{uid}.json").write_text(text)
        else:
            print(text, end="")


if __name__ == "__main__":
    main()
