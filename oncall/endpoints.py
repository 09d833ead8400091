"""Where everything answers: the file that `pulumi up` leaves, read once per command."""

from __future__ import annotations

import json
from collections.abc import Mapping
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


# Every part of the file that a command reads; the rest is for others.
SHAPES: Mapping[str, Any] = {
    "amqp": str,
    "management": Login,
    "prometheus": str,
    "alertmanager": str,
    "cosmos": Account,
    "services": dict[str, list[str]],
    "overrides": dict[str, Any],
}


@dataclass(frozen=True, kw_only=True)
class Endpoints:
    """Addresses with their secrets, and the catalog as this stack has it; `services` are base URLs per replica."""

    file: Path
    amqp: str = field(repr=False)
    management: Login
    prometheus: str
    alertmanager: str
    cosmos: Account
    services: Mapping[str, list[str]]
    catalog: Catalog = field(repr=False)

    @property
    def broker(self) -> str:
        """The broker's address without user and password."""
        parts = urlsplit(self.amqp)
        return f"{parts.hostname}:{parts.port or (5671 if parts.scheme == 'amqps' else 5672)}"

    @property
    def vhost(self) -> str:
        return unquote(urlsplit(self.amqp).path[1:]) or "/"


def load(named: str | None, environ: Mapping[str, str]) -> Endpoints:
    """From the file named, else $ONCALL_ENDPOINTS, else .local/ here or in the repository. Raises Trouble."""
    file = _place(named or environ.get(VARIABLE))
    try:
        content = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise Trouble(f"{file} does not exist: {HOW}") from None
    except OSError as error:
        raise Trouble(f"{file} cannot be read ({error.strerror}): it belongs to the user who ran `make up`") from None
    except ValueError as error:
        raise Trouble(f"{file} is not JSON ({error}): {HOW}") from None
    return _checked(file, content)


def _place(named: str | None) -> Path:
    if named:
        return Path(named)
    return next((place for place in (PLACE, ROOT / PLACE) if place.exists()), PLACE)


def _checked(file: Path, content: Any) -> Endpoints:
    if not isinstance(content, dict):
        raise Trouble(f"{file} holds no JSON object: {HOW}")
    found, faults = {}, []
    for key, shape in SHAPES.items():
        try:
            found[key] = msgspec.convert(content.get(key), shape)
        except msgspec.ValidationError as error:
            faults.append(f"{key}: {error}")
    try:
        found["catalog"] = resolve(CATALOG, found.pop("overrides", {}))
    except CatalogError as error:
        faults += [f"overrides: {problem}" for problem in error.problems]
    if faults:
        raise Trouble("\n  ".join([f"{file} has {len(faults)} problem(s):", *faults, HOW]))
    return Endpoints(file=file, **found)
