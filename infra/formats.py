"""How the values of settings look: each function reads one text or raises ValueError, to be put behind a key."""

from __future__ import annotations

import ipaddress
import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from consumers.sinks import account

# Kubernetes, object names and labels: RFC 1123 names, and keys with an optional prefix.
LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
OBJECT = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
LABEL_KEY = re.compile(r"([a-z0-9][a-z0-9.-]{0,252}/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")

_NAME = r"[a-z0-9][a-z0-9._-]*(:[0-9]+)?(/[a-z0-9][a-z0-9._-]*)*"
DIGEST = re.compile(rf"{_NAME}@sha256:[0-9a-f]{{64}}")
TAG = re.compile(rf"{_NAME}:[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}}")
CLIENT_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

CONNECTION_PARTS = ("AccountName", "AccountKey")


@dataclass(frozen=True)
class Destination:
    """Where packets may go: a network and a port of it."""

    cidr: str
    port: int


def text(value: str) -> str:
    if not value.strip():
        raise ValueError("is empty: give it a value, or take the setting out")
    return value.strip()


def label(value: str) -> str:
    if not LABEL.fullmatch(value):
        raise ValueError(f"is {value!r}: it has 1 to 63 lower-case letters, digits and, inside, '-'")
    return value


def object_name(value: str) -> str:
    if not OBJECT.fullmatch(value):
        raise ValueError(f"is {value!r}: it has 1 to 253 lower-case letters, digits and, inside, '-' and '.'")
    return value


def image(value: str) -> str:
    if not DIGEST.fullmatch(value):
        why = "a tag may be another image tomorrow" if TAG.fullmatch(value) else "this names no image for sure"
        raise ValueError(f"is {value!r}: {why}; give NAME@sha256:DIGEST, 64 hexadecimal digits, as a push prints it")
    return value


def image_by_tag(value: str) -> str:
    return value if TAG.fullmatch(value) else image(value)


def client_id(value: str) -> str:
    if not CLIENT_ID.fullmatch(value.lower()):
        raise ValueError(f"is {value!r}: give the client id of the managed identity, 8-4-4-4-12 hexadecimal digits")
    return value.lower()


def amqp(value: str) -> str:
    """An address of the broker, amqp://HOST:PORT/%2F, without user or password."""
    parts = _address(value, ("amqp", "amqps"), "amqp://HOST:5672/%2F")
    if unquote(parts.path[1:]) not in ("", "/"):
        raise ValueError(f"names virtual host {unquote(parts.path[1:])!r}: all objects are in '/', end it with /%2F")
    return f"{parts.scheme}://{parts.netloc}/%2F"


def management(value: str) -> str:
    """An address of the broker's management API."""
    _address(value, ("http", "https"), "http://HOST:15672")
    return value.rstrip("/")


def link(value: str) -> str:
    """What addresses for people begin with."""
    _address(value, ("http", "https"), "https://HOST/...")
    return value.rstrip("/")


def https(value: str) -> str:
    """An address with TLS; an emulator's in the cluster may do without."""
    _address(value, ("http", "https") if account.is_near(value.strip()) else ("https",), "https://NAME...")
    return value.strip()


def _address(value: str, schemes: tuple[str, ...], example: str) -> SplitResult:
    parts = urlsplit(value.strip())
    if "@" in value:
        raise ValueError(f"has a user or password in it: give {example}, the credentials are kept elsewhere")
    try:
        known = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is none
        known = False
    if not known or parts.query or parts.fragment:
        raise ValueError(f"is {account.shown(value)}: give {example}")
    return parts


def connection(value: str) -> str:
    """An Azure storage connection string; its value is never repeated in a message."""
    parts = dict(part.split("=", 1) for part in value.strip().strip(";").split(";") if "=" in part)
    if parts.get("UseDevelopmentStorage") == "true":
        raise ValueError("names the emulator: leave the setting out, stack `local` brings its own")
    if missing := [name for name in CONNECTION_PARTS if not parts.get(name)]:
        raise ValueError(
            f"lacks {' and '.join(missing)}: copy the whole connection string of the storage account"
            " (Azure portal, Access keys)"
        )
    try:
        account.parse(value)
    except ValueError as error:
        raise ValueError(f"has faults: {error}") from None
    return value.strip()


def cidr(value: str) -> str:
    try:
        return str(ipaddress.ip_network(value))
    except ValueError:
        raise ValueError(f"is {value!r}: give a network such as 10.1.2.0/24, its host bits zero") from None


def destinations(value: str) -> tuple[Destination, ...]:
    found = _json(value)
    if not isinstance(found, list) or not all(isinstance(entry, str) for entry in found):
        raise ValueError(f"is {value!r}: give a list of CIDR:PORT, such as 20.60.0.0/16:443")
    read = [(entry, _destination(entry)) for entry in found]
    if wrong := [entry for entry, made in read if made is None]:
        raise ValueError(f"has {', '.join(map(repr, wrong))}: give CIDR:PORT, host bits zero, such as 20.60.0.0/16:443")
    return tuple(made for _, made in read if made)


def _destination(value: str) -> Destination | None:
    network, _, port = value.rpartition(":")
    if not port.isdecimal() or not 0 < int(port) < 65536:
        return None
    try:
        return Destination(cidr(network), int(port))
    except ValueError:
        return None


def labels(value: str) -> dict[str, str]:
    """Labels of objects, {key: value}."""
    found = _json(value)
    if not isinstance(found, dict):
        raise ValueError(f"is {value!r}: give labels as an object, such as release: prometheus")  # noqa: TRY004 - it is text
    for key, entry in found.items():
        _check_label(key, entry)
    return found


def one_label(value: str) -> tuple[str, str]:
    key, _, entry = value.partition("=")
    _check_label(key, entry)
    return key, entry


def _check_label(key: str, value: Any) -> None:
    if not LABEL_KEY.fullmatch(key):
        raise ValueError(
            f"has the label {key!r}: a key has 1 to 63 letters, digits, '-', '_', '.', and may begin with DOMAIN/"
        )
    if not isinstance(value, str) or not LABEL_VALUE.fullmatch(value):
        raise ValueError(
            f"gives label {key} the value {value!r}: it is text of at most 63 letters, digits, '-', '_', '.'"
        )


def _json(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return value
