"""`oncall`: the command line, from what was typed to an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from oncall import dead, drift, explain, migrate, pause, replay, runs, show, status, trigger
from oncall.command import Command, parser_of
from oncall.endpoints import load
from oncall.trouble import Trouble

COMMANDS: tuple[Command, ...] = (
    status.COMMAND,
    explain.COMMAND,
    trigger.COMMAND,
    runs.COMMAND,
    dead.LIST,
    dead.SHOW,
    replay.COMMAND,
    pause.PAUSE,
    pause.RESUME,
    drift.COMMAND,
    migrate.COMMAND,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit codes: 0 nothing needs a person, 1 something does, 2 wrong usage or something does not answer."""
    options = parser_of(COMMANDS).parse_args(arguments)
    try:
        endpoints = load(options.endpoints, os.environ, options.command.needs)
        answer = options.command.run(options, endpoints)
        return show.show(answer, as_json=options.json)
    except Trouble as trouble:
        print(f"oncall: {trouble}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
