"""What a broker is told otherwise for one scenario: a limit that strikes sooner than in production."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from catalog import Queue
from tests.brokers import eventually
from tests.chaos.world import World


@contextmanager
def policy(world: World, *queues: Queue, **changes: int) -> Iterator[None]:
    """Some numbers of the policies of queues replaced while the block runs; `_` stands for `-` in their names."""
    changed = {name.replace("_", "-"): value for name, value in changes.items()}
    before = {queue: _policy(world, queue) for queue in queues}
    try:
        for queue, definition in before.items():
            _put(world, queue, {**definition, **changed})
        yield
    finally:
        for queue, definition in before.items():
            _put(world, queue, definition)


def _policy(world: World, queue: Queue) -> dict[str, Any]:
    definition: dict[str, Any] = world.stand.api.get(f"policies/%2F/{queue.name}")["definition"]
    return definition


def _put(world: World, queue: Queue, definition: dict[str, Any]) -> None:
    path = f"policies/%2F/{queue.name}"
    kept = {name: value for name, value in world.stand.api.get(path).items() if name not in ("vhost", "name")}
    world.stand.api.put(path, {**kept, "definition": definition})
    eventually(lambda: definition == _effective(world, queue), 20)


def _effective(world: World, queue: Queue) -> dict[str, Any]:
    definition: dict[str, Any] = world.stand.api.get(f"queues/%2F/{queue.name}").get("effective_policy_definition")
    return definition
