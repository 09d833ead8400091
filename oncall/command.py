"""The shape of a subcommand, and its help text: what it does, examples that can be typed, exit codes."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from oncall.endpoints import EVERYTHING, PLACE, VARIABLE, Endpoints
from oncall.show import Answer

GOOD = "  0  done, and nothing needs a person"
BAD = "  2  wrong usage, or something that has to answer does not; the message says what to do"


@dataclass(frozen=True)
class Command:
    """One subcommand, `name` in words as typed; `one` says what exit code 1 means here, where there is one.

    `needs` are the parts of the endpoints file without which it cannot work.
    """

    name: str
    summary: str
    description: str
    examples: tuple[str, ...]
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace, Endpoints], Answer]
    one: str = ""
    needs: tuple[str, ...] = EVERYTHING

    @property
    def epilog(self) -> str:
        codes = [GOOD, *([f"  1  {self.one}"] if self.one else []), BAD]
        return "\n".join([_examples(self.examples), "", "exit codes:", *codes])


def parser_of(commands: tuple[Command, ...]) -> argparse.ArgumentParser:
    """The whole command line: `oncall WORD [WORD] ...`; the chosen command ends up as `command`."""
    parser = _parser(None, "oncall", "What goes on in the queues, why it pages, and what to do about it.")
    parser.epilog = _examples(command.examples[0] for command in commands)
    groups = {"": parser.add_subparsers(metavar="COMMAND", required=True)}
    for command in commands:
        group, _, word = command.name.rpartition(" ")
        if group not in groups:
            members = [other for other in commands if other.name.startswith(f"{group} ")]
            made = _parser(groups[""], group, "; ".join(member.summary for member in members))
            made.epilog = _examples(member.examples[0] for member in members)
            groups[group] = made.add_subparsers(metavar="COMMAND", required=True)
        leaf = _parser(groups[group], word, command.summary, command.description)
        leaf.epilog = command.epilog
        command.arguments(leaf)
        leaf.add_argument("--json", action="store_true", help="print JSON for a machine")
        leaf.add_argument("--endpoints", metavar="FILE", help=f"where everything answers (${VARIABLE}, else {PLACE})")
        leaf.set_defaults(command=command)
    return parser


def _examples(lines: Iterable[str]) -> str:
    return "\n".join(["examples:", *(f"  {line}" for line in lines)])


def _parser(
    group: argparse._SubParsersAction[argparse.ArgumentParser] | None, name: str, summary: str, description: str = ""
) -> argparse.ArgumentParser:
    shape = argparse.RawDescriptionHelpFormatter
    if group is None:
        return argparse.ArgumentParser(prog=name, description=summary, formatter_class=shape)
    return group.add_parser(name, help=summary, description=description or summary, formatter_class=shape)
