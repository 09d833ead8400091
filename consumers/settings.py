"""The only reader of the environment: what a consumer process is told, checked all at once."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from catalog import CATALOG, Catalog, CatalogError, resolve
from catalog.resolve import overrides_from
from consumers import mounted
from consumers.amqp import PASSWORD, USERNAME, Broker
from consumers.deletion_cost import Pod

# What the webhook of Azure Workload Identity sets; the Azure libraries read it from there by themselves.
IDENTITY = ("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_FEDERATED_TOKEN_FILE")


class SettingsError(ValueError):
    """The environment of a consumer has faults; the message lists each with its next step."""


@dataclass(frozen=True)
class Settings:
    """What one process works with; secrets stay out of its text form.

    With a workload identity there is the address of the storage account instead of a connection string, and no key.
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
    data_lake_connection_string: str = field(repr=False)
    data_lake_account: str
    cosmos_endpoint: str
    cosmos_key: str = field(repr=False)


def load(service: str, environ: Mapping[str, str]) -> Settings:
    """Read the settings of one service. Raises SettingsError with every fault in one message."""
    if service not in (known := {entry.name for entry in CATALOG.services}):
        raise SettingsError(f"service {service!r} does not exist: there are {', '.join(sorted(known))}")
    told = _Told(environ)
    catalog = told.catalog()
    settings = Settings(
        service=service,
        catalog=catalog,
        broker=told.broker(),
        host=environ.get("HOST", "127.0.0.1"),
        port=told.port(catalog.service(service).port),
        replica=environ.get("REPLICA") or f"{socket.gethostname()}-{os.getpid()}",
        metrics_token=told.secret("METRICS_TOKEN"),
        scheduler=told.switch("SCHEDULER", "on"),
        pod=told.pod() if told.switch("DELETION_COST", "off") else None,
        data_lake_connection_string=told.secret("DATA_LAKE_CONNECTION_STRING"),
        data_lake_account=environ.get("DATA_LAKE_ACCOUNT", ""),
        cosmos_endpoint=environ.get("COSMOS_DB_ENDPOINT", ""),
        cosmos_key=told.secret("COSMOS_DB_KEY"),
    )
    told.check_sinks(settings)
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
        parts = urlsplit(url)
        shape = f"amqp://{'' if folder else 'USER:PASSWORD@'}HOST:PORT/VHOST"
        if not url:
            self.faults.append(f"RABBITMQ_URL is not set: give {shape}")
        elif parts.scheme not in ("amqp", "amqps") or not parts.hostname or bool(parts.username) == bool(folder):
            whom = "with a user " if folder and parts.username else ""
            self.faults.append(f"RABBITMQ_URL points {whom}at {parts.scheme}://{parts.hostname or '?'}: give {shape}")
        for name in (USERNAME, PASSWORD) if folder else ():
            self._read("RABBITMQ_CREDENTIALS", Path(folder, name))
        return Broker(url, Path(folder) if folder else None)

    def port(self, usual: int) -> int:
        text = self.environ.get("PORT", str(usual))
        if text.isdigit() and 0 < int(text) < 65536:
            return int(text)
        self.faults.append(f"PORT is {text!r}: give a port from 1 to 65535")
        return 0

    def switch(self, name: str, usual: str) -> bool:
        text = self.environ.get(name, usual)
        if text not in ("on", "off"):
            self.faults.append(f"{name} is {text!r}: it is on or off")
        return text == "on"

    def pod(self) -> Pod | None:
        names = ("POD_NAMESPACE", "POD_NAME", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT")
        namespace, name, host, port = (self.environ.get(name, "") for name in names)
        if lacks := [name for name in names if not self.environ.get(name)]:
            self.faults.append(f"DELETION_COST is on, without {', '.join(lacks)}: it is for a pod that knows its name")
            return None
        return Pod(namespace, name, host, int(port))

    def secret(self, name: str) -> str:
        """The value of NAME, or what the file named by NAME_FILE holds."""
        file = self.environ.get(f"{name}_FILE", "")
        return self._read(f"{name}_FILE", Path(file)) if file else self.environ.get(name, "")

    def _read(self, name: str, file: Path) -> str:
        try:
            return mounted.secret(file)
        except ValueError as error:
            self.faults.append(f"{name} names what gives no secret: {error}: mount the one that holds it")
            return ""

    def _given(self, name: str) -> bool:
        return bool(self.environ.get(name) or self.environ.get(f"{name}_FILE"))

    def check_sinks(self, settings: Settings) -> None:
        catalog, faults = settings.catalog, self.faults
        kinds = {catalog.store(setting).kind for setting in catalog.service(settings.service).stores}
        if "blob" in kinds:
            self._check_lake(settings.data_lake_account)
        if "cosmos" in kinds and not settings.cosmos_endpoint.startswith(("http://", "https://")):
            faults.append(f"COSMOS_DB_ENDPOINT is {settings.cosmos_endpoint!r}: give the account's https:// address")
        if "cosmos" in kinds and not self._given("COSMOS_DB_KEY") and self._identity_lacks:
            faults.append("COSMOS_DB_KEY is not set: give the account's key, or a workload identity")

    def _check_lake(self, account: str) -> None:
        given = self._given("DATA_LAKE_CONNECTION_STRING")
        if account and given:
            self.faults.append("DATA_LAKE_ACCOUNT and DATA_LAKE_CONNECTION_STRING are both set: give one of them")
        elif not account and not given:
            self.faults.append("DATA_LAKE_CONNECTION_STRING is not set: give the storage account's connection string")
        elif account and (lacks := self._identity_lacks):
            webhook = "label the pod azure.workload.identity/use=true, and the webhook sets it"
            self.faults.append(f"DATA_LAKE_ACCOUNT needs a workload identity, without {', '.join(lacks)}: {webhook}")

    @property
    def _identity_lacks(self) -> list[str]:
        return [name for name in IDENTITY if not self.environ.get(name)]
