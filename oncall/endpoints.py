"""Where everything answers: the file that `pulumi up` leaves, read once per command."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec

from catalog import CATALOG, Catalog, CatalogError, resolve
from oncall.trouble import Trouble

VARIABLE = "ONCALL_ENDPOINTS"
PLACE = Path(".local/endpoints.json")
ROOT = Path(__file__).resolve().parent.parent
HOW = "`make up` writes it for stack local; for another: pulumi stack output endpoints --show-secrets --json > FILE"


class Login(msgspec.Struct, frozen=True):
    """The broker's management API and who may ask it."""

    url: str
    user: str
    password: str

    def __repr__(self) -> str:
        return f"Login({self.url}, {self.user})"


class Account(msgspec.Struct, frozen=True):
    """The Cosmos account and the database in it."""

    endpoint: str
    key: str
    database: str

    def __repr__(self) -> str:
        return f"Account({self.endpoint}, {self.database})"


class Cluster(msgspec.Struct, frozen=True):
    """Where the Deployments are; an empty `context` is kubeconfig's current one.

    `operator`: broker objects are custom resources; `autoscaled` services may have as many replicas as they need.
    """

    namespace: str
    context: str = ""
    operator: bool = True
    autoscaled: frozenset[str] = frozenset()


# Every part of the file that a command reads; the rest is for others.
SHAPES: Mapping[str, Any] = {
    "amqp": str,
    "management": Login,
    "prometheus": str,
    "alertmanager": str,
    "cosmos": Account,
    "services": dict[str, list[str]],
    "overrides": dict[str, Any],
    "generation": int,
    "kubernetes": Cluster | None,
}
ABSENT: Mapping[str, Any] = {
    "amqp": "",
    "management": Login("", "", ""),
    "prometheus": "",
    "alertmanager": "",
    "cosmos": Account("", "", ""),
    "services": {},
    "overrides": {},
    "generation": 1,
    "kubernetes": None,
}
ALWAYS = ("generation", "kubernetes")  # parts that may be absent whatever the command
BROKER = ("amqp", "management")  # all that a command about the broker's objects needs
EVERYTHING = tuple(part for part in SHAPES if part not in ALWAYS)


@dataclass(frozen=True, kw_only=True)
class Endpoints:
    """Addresses with their secrets, and the catalog as this stack has it; `services` are base URLs per replica.

    `generation` is that of the broker's users; `kubernetes` is None where the consumers are processes.
    """

    file: Path
    amqp: str = field(repr=False)
    management: Login
    prometheus: str
    alertmanager: str
    cosmos: Account
    services: Mapping[str, list[str]]
    generation: int = 1
    kubernetes: Cluster | None = None
    catalog: Catalog = field(repr=False)

    @property
    def broker(self) -> str:
        """The broker's address without user and password."""
        parts = urlsplit(self.amqp)
        return f"{parts.hostname}:{parts.port or (5671 if parts.scheme == 'amqps' else 5672)}"

    @property
    def vhost(self) -> str:
        return unquote(urlsplit(self.amqp).path[1:]) or "/"


def load(named: str | None, environ: Mapping[str, str], needed: Sequence[str] = EVERYTHING) -> Endpoints:
    """From the file named, else $ONCALL_ENDPOINTS, else .local/ here or in the repository. Raises Trouble.

    `needed` are the parts without which the command cannot work; others may be absent.
    """
    file = _place(named or environ.get(VARIABLE))
    try:
        content = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise Trouble(f"{file} does not exist: {HOW}") from None
    except OSError as error:
        raise Trouble(f"{file} cannot be read ({error.strerror}): it belongs to the user who ran `make up`") from None
    except ValueError as error:
        raise Trouble(f"{file} is not JSON ({error}): {HOW}") from None
    return _checked(file, content, needed)


def _place(named: str | None) -> Path:
    if named:
        return Path(named)
    return next((place for place in (PLACE, ROOT / PLACE) if place.exists()), PLACE)


def _checked(file: Path, content: Any, needed: Sequence[str]) -> Endpoints:
    if not isinstance(content, dict):
        raise Trouble(f"{file} holds no JSON object: {HOW}")
    found, faults = {}, []
    for key, shape in SHAPES.items():
        if key not in content and key not in needed:
            found[key] = ABSENT[key]
            continue
        try:
            found[key] = msgspec.convert(content.get(key), shape)
        except msgspec.ValidationError as error:
            faults.append(f"{key}: {error}")
    if "management" in needed and (login := found.get("management")) and not login.user:
        faults.append(
            "management names no user: the stack has no administrator in its settings; write `user` and `password` of"
            " one who may look (tag monitoring or administrator) into it"
        )
    try:
        found["catalog"] = resolve(CATALOG, found.pop("overrides", {}))
    except CatalogError as error:
        faults += [f"overrides: {problem}" for problem in error.problems]
    if faults:
        raise Trouble("\n  ".join([f"{file} has {len(faults)} problem(s):", *faults, HOW]))
    return Endpoints(file=file, **found)
