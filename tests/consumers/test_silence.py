"""Nothing is dropped in silence: no handler of exceptions in the consumers swallows what it caught."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import consumers

FOLDER = Path(consumers.__file__).parent

# What is answered by what comes after it, by file and function: a decision for each, made here too.
ANSWERED = {
    "assembly.py": {"probe: KeyError"},  # a lake that says so answers
    "jobs/__init__.py": {"_read: KeyError"},  # a blob that is gone: its reader names it
    "jobs/request.py": {"_day: (OverflowError, TypeError, ValueError)"},  # raises below, in words for a person
    "ledger.py": {
        "_begin: Reject",  # another worker was first; what it wrote is read
        "_renew: LostLease",  # the lease has noted it, and every later write raises it
        "note_published: Changed",  # another worker said so too
        "release: LostLease",  # it is another's by now
        "release: Retry",  # a lease that cannot be given up runs out; this worker remembers it
    },
    "sinks/blob.py": {"probe: AlreadyExistsError"},  # another process asks the same
    "sinks/cosmos.py": {
        "probe: CosmosResourceExistsError",  # the same
        "probe: CosmosResourceNotFoundError",  # another process took it away
        "read: CosmosResourceNotFoundError",  # there is none, which is what was asked
        "replace: (CosmosAccessConditionFailedError, CosmosResourceNotFoundError)",  # reads what is there and compares
    },
    "waiting.py": {"happens: TimeoutError"},  # the answer is that it did not happen
    "worker.py": {
        "_settle: asyncio.CancelledError",  # the event goes back to the broker
        "_finish: return_exceptions",  # of tasks that were cancelled; `_ended` logs what else they raise
    },
}


def swallowed(source: str) -> set[str]:
    """`function: exception` of what is caught, hidden by `suppress` or gathered, and of which nothing is said."""
    return {f"{function}: {what}" for function, node in _placed(ast.parse(source)) for what in _silent(node)}


def _placed(node: ast.AST, function: str = "") -> Iterator[tuple[str, ast.AST]]:
    """Every node below, with the function that it is in."""
    for child in ast.iter_child_nodes(node):
        yield function, child
        named = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
        yield from _placed(child, child.name if named else function)


def _silent(node: ast.AST) -> Iterator[str]:
    """What this node makes disappear."""
    if isinstance(node, ast.ExceptHandler) and not any(_tells(inner, node) for inner in _within(node)):
        yield ast.unparse(node.type) if node.type else "everything"
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress"):
        yield from map(ast.unparse, node.args)
    if isinstance(node, ast.Expr) and "return_exceptions=True" in ast.unparse(node):  # nobody looks at what it returns
        yield "return_exceptions"


def _within(handler: ast.ExceptHandler) -> Iterator[ast.AST]:
    for statement in handler.body:
        yield from ast.walk(statement)


def _tells(node: ast.AST, handler: ast.ExceptHandler) -> bool:
    """Raised again, used, returned as a verdict, assigned for those who come after, or written to the log."""
    if isinstance(node, ast.Return):
        return not (node.value is None or (isinstance(node.value, ast.Constant) and node.value.value is None))
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
    assert {name: caught for name, caught in found.items() if caught} == ANSWERED
    assert [] == [f"{file.relative_to(FOLDER)}:{line}" for file in files for line in broad(file.read_text())]


@pytest.mark.parametrize(
    "handler",
    ["pass", "...", "continue", "return", "return None", "counter.inc()", "if verbose:\n            hidden()"],
)
def test_a_handler_that_swallows_is_found(handler: str) -> None:
    """The counter-examples: each says nothing to anybody."""
    body = f"for one in many:\n    try:\n        work()\n    except ValueError:\n        {handler}\n"
    source = "def work():\n" + "".join(f"    {line}\n" for line in body.splitlines())

    assert {"work: ValueError"} == swallowed(source)
    assert {": OSError"} == swallowed("with suppress(OSError):\n    work()\n")
    assert {"work: return_exceptions"} == swallowed(
        "async def work():\n    await gather(one(), return_exceptions=True)\n"
    )
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
        "found = await gather(one(), return_exceptions=True)",
    ],
)
def test_a_handler_that_tells_is_let_through(handler: str) -> None:
    """Raised, returned, logged, or kept for whoever looks next."""
    work = f"count = 0\n    try:\n        do()\n    except ValueError as error:\n        {handler}"

    assert set() == swallowed(f"async def work():\n    {work}\n")
