"""The program run without an engine: what it would hand to Pulumi as plain data, for reviewers and for tests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pulumi
from google.protobuf import json_format
from pulumi.runtime import mocks, rpc

SECRET = "(from the stack's secrets)"  # noqa: S105 - what stands where a secret would
STACK = "pulumi:pulumi:Stack"


class UnexpectedCall(RuntimeError):
    """The program asks a provider something, and without one nobody can answer."""


@dataclass(frozen=True, kw_only=True)
class Registered:
    """One resource as the program asked for it; each value of a Pulumi secret in `inputs` is SECRET.

    `urn`, `parent` and `after` (what it waits for) are Pulumi's own addresses; `ignores` are paths of inputs.
    """

    type: str
    name: str
    urn: str
    parent: str
    after: frozenset[str]
    inputs: Mapping[str, Any]
    custom: bool
    ignores: tuple[str, ...]
    kept: bool
    timeouts: Mapping[str, str]


def record(project: str, stack: str, program: Callable[[], None]) -> list[Registered]:
    """Everything that a program registers, in the order in which it is ready. Raises what the program raises."""
    recorder = _Recorder()
    with _event_loop():
        mocks.set_mocks(_Answers(), project=project, stack=stack, monitor=recorder)
        pulumi.runtime.test(program)()  # type: ignore[no-untyped-call]
    return recorder.registered


class _Answers(mocks.Mocks):
    """Every resource is made as it was asked for; a password that the engine would make up is a placeholder."""

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        made = {"text": rpc.wrap_rpc_secret(SECRET)} if args.typ.endswith(":Password") else {}
        return args.name, {**args.inputs, **made}

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[str, Any], None]:
        raise UnexpectedCall(f"the program calls {args.token}, which needs a running provider")


class _Recorder(mocks.MockMonitor):
    def __init__(self) -> None:
        super().__init__(_Answers())
        self.registered: list[Registered] = []

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802 - the name in Pulumi's protocol
        answer = super().RegisterResource(request)  # type: ignore[no-untyped-call]
        if request.type != STACK:
            self.registered.append(_registered(request, answer.urn))
        return answer


def _registered(request: Any, urn: str) -> Registered:
    timeouts = request.customTimeouts
    return Registered(
        type=request.type,
        name=request.name,
        urn=urn,
        parent=request.parent,
        after=frozenset(request.dependencies),
        inputs=_masked(json_format.MessageToDict(request.object)),
        custom=request.custom,
        ignores=tuple(request.ignoreChanges),
        kept=request.retainOnDelete,
        timeouts={name: text for name in ("create", "update", "delete") if (text := getattr(timeouts, name))},
    )


def _masked(value: Any, *, secret: bool = False) -> Any:
    """Plain data from Pulumi's wire format: the values of a secret replaced, whole numbers whole again."""
    if isinstance(value, dict):
        if value.get(rpc._special_sig_key) == rpc._special_secret_sig:
            return _masked(value["value"], secret=True)
        return {key: _masked(entry, secret=secret) for key, entry in value.items()}
    if isinstance(value, list):
        return [_masked(entry, secret=secret) for entry in value]
    if secret:
        return SECRET
    return int(value) if isinstance(value, float) and value.is_integer() else value


@contextmanager
def _event_loop() -> Iterator[None]:
    """Pulumi's mocks expect a loop in this thread, and would leave one open in each thread that they use."""
    loops = [asyncio.new_event_loop()]

    def begin() -> None:
        loops.append(asyncio.new_event_loop())
        asyncio.set_event_loop(loops[-1])

    asyncio.set_event_loop(loops[0])
    loops[0].set_default_executor(ThreadPoolExecutor(1, initializer=begin))
    try:
        yield
    finally:
        loops[0].run_until_complete(loops[0].shutdown_default_executor())
        asyncio.set_event_loop(None)
        for loop in loops:
            loop.close()
