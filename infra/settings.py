"""The only reader of a stack's configuration: Pulumi.<stack>.yaml in, one frozen object or one message out."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pulumi
from pulumi.runtime import config

from catalog import CATALOG, Catalog, CatalogError, resolve
from catalog.resolve import settings as catalog_settings
from infra.ports import HIGHEST_OFFSET
from infra.supervision import SOCKET

TARGETS = ("local", "kubernetes")
BROKERS = ("4.3", "4.0")
LONGEST_SOCKET = 107  # bytes in the path of a Unix socket on Linux; 103 on macOS
CONNECTION_STRING = "data_lake.connection_string"
CONNECTION_PARTS = ("AccountName", "AccountKey")
OWN = (
    "target",
    "local.port_offset",
    "local.home",
    "broker.version",
    "scheduler",
    "credentials.generation",
    CONNECTION_STRING,
)


class BadSettings(pulumi.RunError):
    """Everything that is wrong with a stack's configuration, as one message."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a stack says: `overrides` as text by catalog setting, `catalog` with them applied, and where it runs.

    `generation` counts the sets of the broker's users. `connection_string` is a secret; None means the emulator's own.
    """

    stack: str
    target: str
    catalog: Catalog
    overrides: Mapping[str, Any]
    port_offset: int
    home: Path
    broker_version: str
    scheduler: bool
    generation: int
    connection_string: str | None


def load() -> Settings:
    """The configuration of the stack that runs. Raises BadSettings."""
    own = f"{pulumi.get_project()}:"
    values = {key.removeprefix(own): value for key, value in config.CONFIG.get().items() if key.startswith(own)}
    secret = {key for key in values if config.is_config_secret(own + key)}
    # Pulumi runs a program in the folder that `main` names, which is one below the project's.
    return parse(values, secret, stack=pulumi.get_stack(), root=Path.cwd().parent)


def parse(values: Mapping[str, str], secret: set[str], *, stack: str, root: Path) -> Settings:
    """Settings from {key: text}, lists as JSON as Pulumi hands them over. Raises BadSettings with every fault."""
    faults: list[str] = []
    read = partial(_read, values, faults)
    known = catalog_settings(CATALOG)
    overrides = {key: _plain(value) for key, value in values.items() if key in known}
    faults += [_unknown(key, [*known, *OWN]) for key in values if key not in known and key not in OWN]
    found = Settings(
        stack=stack,
        target=read("target", _one_of(TARGETS), ""),
        catalog=_resolved(overrides, faults),
        overrides=overrides,
        port_offset=read("local.port_offset", _offset, 0),
        home=read("local.home", partial(_home, root), root / ".local"),
        broker_version=read("broker.version", _one_of(BROKERS), BROKERS[0]),
        scheduler=read("scheduler", _one_of(("on", "off")), "on") == "on",
        generation=read("credentials.generation", _generation, 1),
        connection_string=read(CONNECTION_STRING, _connection, None),
    )
    if "target" not in values:
        faults.append(f"target is missing: pulumi config set target {TARGETS[0]} (this machine) or {TARGETS[1]}")
    if CONNECTION_STRING in set(values) - secret:
        faults.append(f"{CONNECTION_STRING} is stored in plain text: pulumi config set --secret {CONNECTION_STRING}")
    if faults:
        raise BadSettings(_message(f"Pulumi.{stack}.yaml", faults))
    return found


def _message(file: str, faults: list[str]) -> str:
    count = "1 problem" if len(faults) == 1 else f"{len(faults)} problems"
    return "\n  ".join([f"{file} has {count}:", *faults])


def _read(values: Mapping[str, str], faults: list[str], key: str, reader: Callable[[str], Any], default: Any) -> Any:
    if key not in values:
        return default
    try:
        return reader(values[key])
    except ValueError as error:
        faults.append(f"{key} {error}")
        return default


def _resolved(overrides: Mapping[str, Any], faults: list[str]) -> Catalog:
    try:
        return resolve(CATALOG, overrides)
    except CatalogError as error:
        faults += error.problems
        return CATALOG


def _plain(value: str) -> Any:
    """A list where the file has one, else the text itself: the catalog reads it and says what it wants."""
    try:
        decoded = json.loads(value)
    except ValueError:
        return value
    return decoded if isinstance(decoded, list | dict) else value


def _unknown(key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    rest = f"`python -m catalog settings` lists them, besides {', '.join(OWN)}"
    return f"{key} is no setting: {f'did you mean {near[0]}?' if near else rest}"


def _one_of(allowed: tuple[str, ...]) -> Callable[[str], str]:
    def read(value: str) -> str:
        if value not in allowed:
            raise ValueError(f"is {value!r}: it is {' or '.join(allowed)}")
        return value

    return read


def _offset(value: str) -> int:
    if not value.isdecimal() or int(value) > HIGHEST_OFFSET:
        raise ValueError(f"is {value!r}: it is added to every port, 0 to {HIGHEST_OFFSET}")
    return int(value)


def _generation(value: str) -> int:
    if not value.isdecimal() or int(value) < 1:
        raise ValueError(f"is {value!r}: it is 1, and one more for each set of passwords since")
    return int(value)


def _home(root: Path, value: str) -> Path:
    home = (root / value).resolve()
    if not value.strip() or home in (Path("/"), root, *root.parents):
        raise ValueError(f"is {value!r}: give a folder of its own, such as .local; `make clean` removes it")
    if (length := len(str(home / SOCKET).encode())) > LONGEST_SOCKET:
        raise ValueError(
            f"is {value!r}: the socket in it would have a path of {length} bytes, the system allows {LONGEST_SOCKET};"
            " choose a folder nearer to the root"
        )
    return home


def _connection(value: str) -> str:
    """An Azure storage connection string; its value is never repeated in a message."""
    parts = dict(part.split("=", 1) for part in value.strip().strip(";").split(";") if "=" in part)
    if parts.get("UseDevelopmentStorage") == "true":
        raise ValueError("names the emulator: leave the setting out, stack `local` brings its own")
    if missing := [name for name in CONNECTION_PARTS if not parts.get(name)]:
        raise ValueError(
            f"lacks {' and '.join(missing)}: copy the whole connection string of the storage account"
            " (Azure portal, Access keys)"
        )
    return value.strip()
