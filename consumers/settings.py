"""The only reader of the environment: what a consumer process is told, checked all at once."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pika

from catalog import CATALOG, Catalog, CatalogError, resolve
from catalog.resolve import overrides_from
from consumers import mounted
from consumers.amqp import PASSWORD, USERNAME, Broker
from consumers.deletion_cost import Pod
from consumers.sinks.account import Account, at, is_base64, is_web, parse, shown

# What the webhook of Azure Workload Identity sets; the Azure libraries read it from there by themselves.
IDENTITY = ("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_FEDERATED_TOKEN_FILE")

# What would end the address, inside of a user, a password or a vhost. Source: RFC 3986, section 2.2.
ENCODED = "in user, password and vhost write / as %2F, ? as %3F, # as %23, @ as %40"
BEARER = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750, section 2.1


class SettingsError(ValueError):
    """The environment of a consumer has faults; the message lists each with its next step."""


@dataclass(frozen=True)
class Settings:
    """What one process works with; secrets stay out of its text form.

    With a workload identity there is no key, neither of the lake's account nor of Cosmos.
    """

    service: str
    catalog: Catalog
    broker: Broker
    host: str
    port: int
    replica: str
    metrics_token: str = field(repr=False)
    scheduler: bool
    pod: Pod | None  # ours, where its deletion cost is to be kept
    lake: Account | None = field(repr=False)  # none where nothing is written or read there
    cosmos_endpoint: str
    cosmos_key: str = field(repr=False)


def load(service: str, environ: Mapping[str, str]) -> Settings:
    """Read the settings of one service. Raises SettingsError with every fault in one message."""
    if service not in (known := {entry.name for entry in CATALOG.services}):
        raise SettingsError(f"service {service!r} does not exist: there are {', '.join(sorted(known))}")
    told = _Told(environ)
    catalog = told.catalog()
    kinds = {catalog.store(setting).kind for setting in catalog.service(service).stores}
    settings = Settings(
        service=service,
        catalog=catalog,
        broker=told.broker(),
        host=environ.get("HOST", "127.0.0.1"),
        port=told.port("PORT", catalog.service(service).port),
        replica=environ.get("REPLICA") or f"{socket.gethostname()}-{os.getpid()}",
        metrics_token=told.metrics_token(),
        scheduler=told.switch("SCHEDULER", "on"),
        pod=told.pod() if told.switch("DELETION_COST", "off") else None,
        lake=told.lake() if "blob" in kinds else None,
        cosmos_endpoint=told.cosmos_endpoint() if "cosmos" in kinds else "",
        cosmos_key=told.cosmos_key() if "cosmos" in kinds else "",
    )
    if faults := told.faults:
        title = f"the environment of {service} has {len(faults)} problem{'s' if len(faults) > 1 else ''}:"
        raise SettingsError("\n  ".join([title, *faults]))
    return settings


class _Told:
    """An environment and the faults found in it so far; what has a fault is read as if it were absent."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ, self.faults = environ, list[str]()

    def catalog(self) -> Catalog:
        try:
            return resolve(CATALOG, overrides_from(CATALOG, self.environ))
        except CatalogError as error:
            self.faults += error.problems
            return CATALOG

    def broker(self) -> Broker:
        url, folder = self.environ.get("RABBITMQ_URL", ""), self.environ.get("RABBITMQ_CREDENTIALS", "")
        if fault := _fault_of_broker(url, with_user=not folder):
            shape = f"amqp://{'' if folder else 'USER:PASSWORD@'}HOST:PORT/VHOST"
            self.faults.append(f"RABBITMQ_URL {fault}: give {shape}")
        for name in (USERNAME, PASSWORD) if folder else ():
            self._read("RABBITMQ_CREDENTIALS", Path(folder, name))
        return Broker(url, Path(folder) if folder else None)

    def port(self, name: str, usual: int = 0) -> int:
        text = self.environ.get(name, str(usual))
        if text.isdecimal() and len(text) <= 5 and 0 < int(text) < 65536:
            return int(text)
        self.faults.append(f"{name} is {text!r}: give a port from 1 to 65535")
        return 0

    def switch(self, name: str, usual: str) -> bool:
        text = self.environ.get(name, usual)
        if text not in ("on", "off"):
            self.faults.append(f"{name} is {text!r}: it is on or off")
        return text == "on"

    def pod(self) -> Pod | None:
        names = namespace, name, host, port = (
            "POD_NAMESPACE",
            "POD_NAME",
            "KUBERNETES_SERVICE_HOST",
            "KUBERNETES_SERVICE_PORT",
        )
        if lacks := [name for name in names if not self.environ.get(name)]:
            self.faults.append(f"DELETION_COST is on, without {', '.join(lacks)}: it is for a pod that knows its name")
            return None
        return Pod(self.environ[namespace], self.environ[name], self.environ[host], self.port(port))

    def secret(self, name: str) -> str:
        """The value of NAME, or what the file named by NAME_FILE holds."""
        file = self.environ.get(f"{name}_FILE", "")
        return self._read(f"{name}_FILE", Path(file)) if file else self.environ.get(name, "")

    def metrics_token(self) -> str:
        token = self.secret("METRICS_TOKEN")
        if token and not BEARER.fullmatch(token):
            self.faults.append("METRICS_TOKEN is no bearer token: give letters, digits and -._~+/= only")
        return token

    def _read(self, name: str, file: Path) -> str:
        try:
            return mounted.secret(file)
        except ValueError as error:
            self.faults.append(f"{name} names what gives no secret: {error}: mount the one that holds it")
            return ""

    def _given(self, name: str) -> bool:
        return bool(self.environ.get(name) or self.environ.get(f"{name}_FILE"))

    def lake(self) -> Account | None:
        """By connection string, or by address where there is a workload identity."""
        account, given = self.environ.get("DATA_LAKE_ACCOUNT", ""), self._given("DATA_LAKE_CONNECTION_STRING")
        text = self.secret("DATA_LAKE_CONNECTION_STRING")
        if account and given:
            self.faults.append("DATA_LAKE_ACCOUNT and DATA_LAKE_CONNECTION_STRING are both set: give one of them")
        elif not account and not given:
            self.faults.append("DATA_LAKE_CONNECTION_STRING is not set: give the storage account's connection string")
        elif account and (lacks := self._identity_lacks):
            webhook = "label the pod azure.workload.identity/use=true, and the webhook sets it"
            self.faults.append(f"DATA_LAKE_ACCOUNT needs a workload identity, without {', '.join(lacks)}: {webhook}")
        try:
            if account:
                return at(account)
            return parse(text) if text else None
        except ValueError as error:
            name = "DATA_LAKE_ACCOUNT" if account else "DATA_LAKE_CONNECTION_STRING"
            self.faults.append(f"{name} has faults: {error}")
            return None

    def cosmos_endpoint(self) -> str:
        endpoint = self.environ.get("COSMOS_DB_ENDPOINT", "").strip()
        if not is_web(endpoint):
            self.faults.append(f"COSMOS_DB_ENDPOINT is {shown(endpoint)}: give the account's https:// address")
        return endpoint

    def cosmos_key(self) -> str:
        """Empty with a workload identity."""
        key = self.secret("COSMOS_DB_KEY")
        if not is_base64(key):
            self.faults.append("COSMOS_DB_KEY is not base64: copy it again, with the `=` at its end")
        if not self._given("COSMOS_DB_KEY") and self._identity_lacks:
            self.faults.append("COSMOS_DB_KEY is not set: give the account's key, or a workload identity")
        return key

    @property
    def _identity_lacks(self) -> list[str]:
        return [name for name in IDENTITY if not self.environ.get(name)]


def _fault_of_broker(url: str, *, with_user: bool) -> str:
    """What is wrong with the address of a broker; its password is never shown, wherever a stray character puts it."""
    if not url:
        return "is not set"
    if not _names_a_place(url):
        return f"has no host, a wrong port, or an @ too many ({ENCODED})"
    parts = urlsplit(url)
    if parts.scheme not in ("amqp", "amqps") or not parts.hostname or bool(parts.username) != with_user:
        whom = "with a user " if parts.username and not with_user else ""
        return f"points {whom}at {parts.scheme}://{parts.hostname or '?'}"
    if with_user and parts.password is None:
        return "has a user without a password"
    try:
        pika.URLParameters(url)
    except Exception as error:  # noqa: BLE001 - it reads each option in a way of its own, down to a literal of Python
        return f"has a wrong option ({'of ssl_options' if 'ssl_options' in parts.query else error})"
    return ""


def _names_a_place(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.port != 0 and "@" not in parts.path + parts.query + parts.fragment
    except ValueError:
        return False
