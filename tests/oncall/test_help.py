"""The help texts: every subcommand explains itself, and every example in them is a command that parses."""

from __future__ import annotations

import shlex
import subprocess
import sys

import pytest

from oncall.__main__ import COMMANDS, main
from oncall.command import Command, parser_of

NAMES = [command.name for command in COMMANDS]


@pytest.mark.parametrize("command", COMMANDS, ids=NAMES)
def test_every_example_parses(command: Command) -> None:
    """An example is pasted at night: it has to be one of this command, and right."""
    assert command.examples
    for example in command.examples:
        program, *arguments = shlex.split(example)
        assert ("oncall", command) == (program, parser_of(COMMANDS).parse_args(arguments).command)


@pytest.mark.parametrize("name", ["", "dead", *NAMES])
def test_every_help_text_has_examples(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each says what it does and shows how it is typed; each command says what its exit codes mean."""
    with pytest.raises(SystemExit) as ended:
        main([*name.split(), "--help"])
    text = capsys.readouterr().out
    assert (0, True, name in NAMES) == (ended.value.code, "\nexamples:\n  oncall " in text, "\nexit codes:\n" in text)


def test_it_starts_as_a_module_too() -> None:
    """`python -m oncall` is the same command."""
    done = subprocess.run([sys.executable, "-m", "oncall", "--help"], capture_output=True, text=True, check=False)
    assert (0, "usage: oncall") == (done.returncode, done.stdout[:13]), done.stderr
