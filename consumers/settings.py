"""The only reader of the environment: what a consumer process is told, checked all at once."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from catalog import CATALOG, Catalog, CatalogError, resolve
from catalog.resolve import overrides_from


class SettingsError(ValueError):
    """The environment of a consumer has faults; the message lists each with its next step."""


@dataclass(frozen=True)
class Settings:
    """What one process works with; secrets stay out of its text form."""

    service: str
    catalog: Catalog
    rabbitmq_url: str = field(repr=False)
    host: str
    port: int
    replica: str
    metrics_token: str = field(repr=False)
    scheduler: bool
    data_lake_connection_string: str = field(repr=False)
    cosmos_endpoint: str
    cosmos_key: str = field(repr=False)


def load(service: str, environ: Mapping[str, str]) -> Settings:
    """Read the settings of one service. Raises SettingsError with every fault in one message."""
    if service not in (known := {entry.name for entry in CATALOG.services}):
        raise SettingsError(f"service {service!r} does not exist: there are {', '.join(sorted(known))}")
    faults: list[str] = []
    catalog = _catalog(environ, faults)
    settings = Settings(
        service=service,
        catalog=catalog,
        rabbitmq_url=_broker(environ, faults),
        host=environ.get("HOST", "127.0.0.1"),
        port=_port(environ.get("PORT", str(catalog.service(service).port)), faults),
        replica=environ.get("REPLICA") or f"{socket.gethostname()}-{os.getpid()}",
        metrics_token=environ.get("METRICS_TOKEN", ""),
        scheduler=_switch("SCHEDULER", environ.get("SCHEDULER", "on"), faults),
        data_lake_connection_string=environ.get("DATA_LAKE_CONNECTION_STRING", ""),
        cosmos_endpoint=environ.get("COSMOS_DB_ENDPOINT", ""),
        cosmos_key=environ.get("COSMOS_DB_KEY", ""),
    )
    faults += _missing_sinks(settings)
    if faults:
        title = f"the environment of {service} has {len(faults)} problem{'s' if len(faults) > 1 else ''}:"
        raise SettingsError("\n  ".join([title, *faults]))
    return settings


def _catalog(environ: Mapping[str, str], faults: list[str]) -> Catalog:
    try:
        return resolve(CATALOG, overrides_from(CATALOG, environ))
    except CatalogError as error:
        faults += error.problems
        return CATALOG


def _broker(environ: Mapping[str, str], faults: list[str]) -> str:
    url = environ.get("RABBITMQ_URL", "")
    parts = urlsplit(url)
    if not url:
        faults.append("RABBITMQ_URL is not set: give amqp://USER:PASSWORD@HOST:PORT/VHOST")
    elif parts.scheme not in ("amqp", "amqps") or not parts.hostname or not parts.username:
        faults.append(
            f"RABBITMQ_URL points at {parts.scheme}://{parts.hostname or '?'}: give amqp://USER:PASSWORD@HOST:PORT/VHOST"
        )
    return url


def _port(text: str, faults: list[str]) -> int:
    if text.isdigit() and 0 < int(text) < 65536:
        return int(text)
    faults.append(f"PORT is {text!r}: give a port from 1 to 65535")
    return 0


def _switch(name: str, text: str, faults: list[str]) -> bool:
    if text not in ("on", "off"):
        faults.append(f"{name} is {text!r}: it is on or off")
    return text == "on"


def _missing_sinks(settings: Settings) -> list[str]:
    catalog, faults = settings.catalog, []
    kinds = {catalog.store(setting).kind for setting in catalog.service(settings.service).stores}
    if "blob" in kinds and not settings.data_lake_connection_string:
        faults.append("DATA_LAKE_CONNECTION_STRING is not set: give the storage account's connection string")
    if "cosmos" in kinds and not settings.cosmos_endpoint.startswith(("http://", "https://")):
        faults.append(f"COSMOS_DB_ENDPOINT is {settings.cosmos_endpoint!r}: give the account's https:// address")
    if "cosmos" in kinds and not settings.cosmos_key:
        faults.append("COSMOS_DB_KEY is not set: give the account's key")
    return faults
