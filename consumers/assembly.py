"""Which handler writes to which sink: one client per process, made before the first event."""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

from consumers.worker import Handler


@dataclass
class Parts:
    """What one process runs: handlers by name, and tasks that go on beside the workers."""

    handlers: dict[str, Handler]
    background: list[Coroutine[Any, Any, None]] = field(default_factory=list)
