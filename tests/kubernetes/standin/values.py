"""Between Pulumi's property values and a manifest: secret marks, differences, and what a refresh takes over."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from typing import Any, Literal

# Source: github.com/pulumi/pulumi, sdk/go/common/resource/properties.go
MARK = "4dabf18193072939515e22adb298388d"
SECRET = "1b47061264138c4ac30d75fd1eb44270"
UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"

Change = Literal["ADD", "DELETE", "UPDATE"]


def secret(value: Any) -> dict[str, Any]:
    return {MARK: SECRET, "value": value}


def is_secret(value: Any) -> bool:
    return isinstance(value, dict) and value.get(MARK) == SECRET


def plain(value: Any) -> Any:
    """The value without secret marks, and with the whole numbers that a protobuf Struct has made floats."""
    match value:
        case dict():
            return plain(value["value"]) if is_secret(value) else {key: plain(entry) for key, entry in value.items()}
        case list():
            return [plain(entry) for entry in value]
        case float() if value.is_integer():
            return int(value)
    return value


def unknown(value: Any) -> bool:
    """True when any part is only known after another resource was made."""
    match value:
        case dict():
            return any(map(unknown, value.values()))
        case list():
            return any(map(unknown, value))
    return bool(value == UNKNOWN)


def marked(value: Any, like: Any) -> Any:
    """The value, secret wherever `like` is."""
    match value, like:
        case _, dict() if is_secret(like):
            return secret(value)
        case dict(), dict():
            return {key: marked(entry, like.get(key)) for key, entry in value.items()}
        case list(), list():
            return [marked(entry, model) for entry, model in zip(value, like, strict=False)] + value[len(like) :]
    return value


def cut(live: Any, inputs: Any) -> Any:
    """Of a live object what the inputs speak of, with their secret marks: what others have added is not ours."""
    match live, inputs:
        case _, dict() if is_secret(inputs):
            return secret(cut(live, inputs["value"]))
        case dict(), dict():
            return {key: cut(live[key], entry) for key, entry in inputs.items() if key in live}
        case list(), list() if len(live) == len(inputs):
            return [cut(*pair) for pair in zip(live, inputs, strict=True)]
    return live


def differences(old: Any, new: Any, path: str = "") -> Iterator[tuple[str, Change]]:
    """Each property path that differs; None stands for what is not there, as in a manifest."""
    if old == new:
        return
    match old, new:
        case dict(), dict():
            for key in sorted(old.keys() | new.keys()):
                yield from differences(old.get(key), new.get(key), _below(path, key))
        case list(), list():
            for index, (before, after) in enumerate(zip_longest(old, new)):
                yield from differences(before, after, f"{path}[{index}]")
        case None, _:
            yield path, "ADD"
        case _, None:
            yield path, "DELETE"
        case _:
            yield path, "UPDATE"


def _below(path: str, key: str) -> str:
    if not key.replace("-", "").replace("_", "").isalnum():
        return f'{path}["{key}"]'
    return f"{path}.{key}" if path else key
