"""Sample events, one per routing key: what producers publish, to vary in tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from consumers.events import Event, decode

FOLDER = Path(__file__).parent / "events"


def keys() -> list[str]:
    """Every routing key that has a sample, sorted."""
    return sorted(path.name.removesuffix(".json") for path in FOLDER.glob("*.json"))


def envelope(key: str, /, **changes: Any) -> dict[str, Any]:
    """The sample of a key; `changes` replace fields of the envelope, `...` takes one away."""
    fields = {**json.loads((FOLDER / f"{key}.json").read_text(encoding="utf-8")), **changes}
    return {name: value for name, value in fields.items() if value is not ...}


def body_of(key: str, /, **changes: Any) -> bytes:
    """The sample as it comes from the broker."""
    return json.dumps(envelope(key, **changes), ensure_ascii=False).encode()


def sample(key: str, /, **changes: Any) -> Event:
    """The sample as a handler sees it."""
    return decode(body_of(key, **changes))


def with_data(key: str, /, **changes: Any) -> dict[str, Any]:
    """The `data` of a sample with fields replaced or, by `...`, taken away."""
    data = {**envelope(key)["data"], **changes}
    return {name: value for name, value in data.items() if value is not ...}
