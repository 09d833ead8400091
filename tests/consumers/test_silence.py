"""Nothing is dropped in silence: no handler of exceptions in the consumers swallows what it caught."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import consumers

FOLDER = Path(consumers.__file__).parent

# What is answered by what comes after it, by file: a decision for each, made here too.
ANSWERED = {
    "jobs/request.py": {"(OverflowError, TypeError, ValueError)"},  # raises below, in words for a person
    "ledger.py": {"Changed", "Reject", "Retry", "LostLease"},  # another worker was first; what it wrote is read
    "sinks/blob.py": {"AlreadyExistsError"},  # of a probe: another process asks the same
    "sinks/cosmos.py": {
        "CosmosResourceExistsError",  # reads what is there and compares
        "CosmosResourceNotFoundError",  # of a probe: another process took it away
        "(CosmosAccessConditionFailedError, CosmosResourceNotFoundError)",  # the same
    },
    "waiting.py": {"TimeoutError"},  # the answer is that it did not happen
    "worker.py": {"asyncio.CancelledError"},  # the event goes back to the broker
}


def swallowed(source: str) -> set[str]:
    """The exceptions that are caught, or hidden by `suppress`, and of which nothing is said there."""
    nodes = list(ast.walk(ast.parse(source)))
    caught = {
        ast.unparse(node.type) if node.type else "everything"
        for node in nodes
        if isinstance(node, ast.ExceptHandler) and not any(_tells(inner, node) for inner in _within(node))
    }
    return caught | {
        ast.unparse(argument)
        for node in nodes
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress")
        for argument in node.args
    }


def _within(handler: ast.ExceptHandler) -> Iterator[ast.AST]:
    for statement in handler.body:
        yield from ast.walk(statement)


def _tells(node: ast.AST, handler: ast.ExceptHandler) -> bool:
    """Raised again, used, returned as a verdict, assigned for those who come after, or written to the log."""
    if isinstance(node, ast.Return):
        return node.value is not None
    if isinstance(node, ast.Name):
        return node.id == handler.name
    if isinstance(node, ast.Call):
        return ast.unparse(node.func).startswith(("log.", "print"))
    return isinstance(node, ast.Raise | ast.Assign | ast.AugAssign)


def broad(source: str) -> Iterator[int]:
    """Lines that catch everything, exits and cancellations included."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            yield node.lineno


def test_no_consumer_swallows_an_exception() -> None:
    """Every `except` in the tree raises, returns something, notes it or logs it; the others are known here."""
    files = sorted(FOLDER.rglob("*.py"))
    found = {str(file.relative_to(FOLDER)): swallowed(file.read_text()) for file in files}

    assert files
    assert {name: caught - ANSWERED.get(name, set()) for name, caught in found.items()} == {
        name: set() for name in found
    }
    assert [] == [f"{file.relative_to(FOLDER)}:{line}" for file in files for line in broad(file.read_text())]


@pytest.mark.parametrize(
    "handler",
    ["pass", "...", "continue", "return", "counter.inc()", "if verbose:\n            hidden()"],
)
def test_a_handler_that_swallows_is_found(handler: str) -> None:
    """The counter-examples: each says nothing to anybody."""
    body = f"for one in many:\n    try:\n        work()\n    except ValueError:\n        {handler}\n"
    source = "def work():\n" + "".join(f"    {line}\n" for line in body.splitlines())

    assert {"ValueError"} == swallowed(source)
    assert {"OSError"} == swallowed("with suppress(OSError):\n    work()\n")
    assert [3] == list(broad("try:\n    work()\nexcept:\n    raise\n"))


@pytest.mark.parametrize(
    "handler",
    [
        "raise",
        "raise Retry(why) from None",
        "return Retry(why)",
        "faults.append(str(error))",
        "log.failure('no', error)",
        "found = None",
        "count += 1",
    ],
)
def test_a_handler_that_tells_is_let_through(handler: str) -> None:
    """Raised, returned, logged, or kept for whoever looks next."""
    source = f"def work():\n    count = 0\n    try:\n        do()\n    except ValueError as error:\n        {handler}\n"

    assert set() == swallowed(source)
