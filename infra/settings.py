"""The only reader of a stack's configuration: Pulumi.<stack>.yaml in, one frozen object or one message out."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pulumi
from pulumi.runtime import config

from catalog import CATALOG, Catalog, CatalogError, resolve
from catalog.resolve import settings as catalog_settings
from infra import formats
from infra.cluster import settings as cluster_settings
from infra.cluster.settings import ClusterSettings
from infra.ports import HIGHEST_OFFSET
from infra.reading import Reading, nearest, one_of
from infra.supervision import SOCKET

TARGETS = ("local", "kubernetes")
BROKERS = ("4.3", "4.0")
LONGEST_SOCKET = 107  # bytes in the path of a Unix socket on Linux; 103 on macOS
KNOWN = catalog_settings(CATALOG)


class BadSettings(pulumi.RunError):
    """Everything that is wrong with a stack's configuration, as one message."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a stack says: `overrides` as text by catalog setting, `catalog` with them applied, and where it runs.

    A new `generation` gives every service a new user at the broker. For target local: `port_offset`, `home`, and
    `connection_string`, a secret, empty for the emulator's own. For target kubernetes: `cluster`.
    """

    stack: str
    target: str
    catalog: Catalog
    overrides: Mapping[str, Any]
    broker_version: str
    generation: int
    scheduler: bool
    port_offset: int
    home: Path
    connection_string: str = field(repr=False)
    cluster: ClusterSettings | None


def load() -> Settings:
    """The configuration of the stack that runs. Raises BadSettings."""
    own = f"{pulumi.get_project()}:"
    values = {key.removeprefix(own): value for key, value in config.CONFIG.get().items() if key.startswith(own)}
    secret = {key for key in values if config.is_config_secret(own + key)}
    # Pulumi runs a program in the folder that `main` names, which is one below the project's.
    return parse(values, secret, stack=pulumi.get_stack(), root=Path.cwd().parent)


def parse(values: Mapping[str, str], secret: Collection[str], *, stack: str, root: Path) -> Settings:
    """Settings from {key: text}, lists as JSON as Pulumi hands them over. Raises BadSettings with every fault."""
    overrides = {key: _plain(value) for key, value in values.items() if key in KNOWN}
    broken: list[str] = []
    catalog = _resolved(overrides, broken)
    here, elsewhere = Reading(values, secret), Reading({})
    here.need(["target"], f"pulumi config set target {TARGETS[0]} (this machine) or {TARGETS[1]}")
    target = here.value("target", one_of(*TARGETS), "")
    local, cluster = (elsewhere, here) if target == "kubernetes" else (here, elsewhere)
    placed = cluster_settings.read(cluster, catalog, stack)
    found = Settings(
        stack=stack,
        target=target,
        catalog=catalog,
        overrides=overrides,
        broker_version=here.value("broker.version", one_of(*BROKERS), BROKERS[0]),
        generation=here.value("credentials.generation", _generation, 1),
        scheduler=here.switch("scheduler", default=True),
        port_offset=local.value("local.port_offset", _offset, 0),
        home=local.value("local.home", partial(_home, root), root / ".local"),
        connection_string=local.hidden("data_lake.connection_string", formats.connection),
        cluster=placed if target == "kubernetes" else None,
    )
    if faults := [*_unknown(here, elsewhere, target), *broken, *here.faults]:
        raise BadSettings(_message(f"Pulumi.{stack}.yaml", faults))
    return found


def _message(file: str, faults: list[str]) -> str:
    count = "1 problem" if len(faults) == 1 else f"{len(faults)} problems"
    return "\n  ".join([f"{file} has {count}:", *faults])


def _unknown(here: Reading, elsewhere: Reading, target: str) -> Iterator[str]:
    """A fault for each key that nobody asked for; without a target nobody can tell whose it is."""
    for key in here.values:
        if key in KNOWN or key in here.asked:
            continue
        if key in elsewhere.asked:
            if target:
                yield f"{key} is not for target {target}: take it out"
        elif near := nearest(key, [*KNOWN, *here.asked]):
            yield f"{key} is no setting: did you mean {near}?"
        else:
            yield f"{key} is no setting: `python -m catalog settings` lists them, besides {', '.join(here.asked)}"


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
