"""Which storage account, and with what right: by connection string, or as the workload that we are."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

LOOPBACK = ("127.0.0.1", "localhost", "::1")
IN_CLUSTER = (".svc", ".svc.cluster.local")

_WEB = re.compile(r"https?://(\[[0-9a-f:.]+\]|[\w.-]+)(:\d{1,5})?(/[\w.-]*)*", re.ASCII | re.IGNORECASE)
_PLAIN = re.compile(r"(\w+://)?[\w.-]{1,63}(:\d*)?/?", re.ASCII)
_NAME = re.compile(r"[\w-]+", re.ASCII)


class Account(NamedTuple):
    """One storage account, with a `key` (base64), a `sas` (a query string), or neither: as a workload identity."""

    name: str
    endpoint: str
    key: str = ""
    sas: str = ""

    @property
    def is_near(self) -> bool:
        return is_near(self.endpoint)


def is_near(address: str) -> bool:
    """Whether an address never leaves this machine or its cluster: an emulator's, which may do without TLS."""
    host = _host(address)
    return host in LOOPBACK or (bool(host) and not set(host) & set(".:")) or host.endswith(IN_CLUSTER)


def is_web(address: str) -> bool:
    """Whether it is an address of http or https, and nothing else: no user, no signature, no other words."""
    try:
        return bool(_WEB.fullmatch(address)) and urlsplit(address).port != 0
    except ValueError:
        return False


def shown(address: str) -> str:
    """A wrong address as it may be told: what could be a key or a signature, in the wrong setting, is not."""
    return repr(address) if _PLAIN.fullmatch(address) or not address else "no address (not shown: it may be secret)"


def _host(address: str) -> str:
    return (urlsplit(address).hostname or "") if is_web(address) else ""


def at(address: str) -> Account:
    """The account at an address, for a workload identity. Raises ValueError when the address cannot be one."""
    endpoint = address.strip().rstrip("/")
    if faults := list(_faults_of_address(endpoint)):
        raise ValueError(faults[0])
    inner = urlsplit(endpoint).path.strip("/")  # an emulator has its accounts below one host
    return Account(name=inner or _host(endpoint).partition(".")[0], endpoint=endpoint)


def parse(connection_string: str) -> Account:
    """The account of a connection string. Raises ValueError with every fault in one message, and no secret in it.

    Source: Azure Storage, "Configure Azure Storage connection strings".
    """
    fields = dict(_fields(connection_string))
    endpoint = _endpoint(fields)
    account = Account(
        name=fields.get("accountname") or _host(endpoint).partition(".")[0],
        endpoint=endpoint,
        key=fields.get("accountkey", ""),
        sas=fields.get("sharedaccesssignature", "").removeprefix("?"),
    )
    if faults := list(_faults(fields, account)):
        raise ValueError("; ".join(faults))
    return account


def _fields(connection_string: str) -> Iterator[tuple[str, str]]:
    for part in connection_string.strip().split(";"):
        name, _, value = part.partition("=")
        yield name.strip().lower(), value.strip()


def _endpoint(fields: Mapping[str, str]) -> str:
    if "blobendpoint" in fields:
        return fields["blobendpoint"].rstrip("/")
    protocol, suffix = fields.get("defaultendpointsprotocol", "https"), fields.get("endpointsuffix", "core.windows.net")
    return f"{protocol}://{fields['accountname']}.blob.{suffix}" if fields.get("accountname") else ""


def _faults(fields: Mapping[str, str], account: Account) -> Iterator[str]:
    if "usedevelopmentstorage" in fields:
        yield "UseDevelopmentStorage is not supported: give the emulator's AccountName, AccountKey and BlobEndpoint"
        return
    if not account.name:
        yield "AccountName is missing: copy the whole connection string of the account"
    elif "accountname" in fields and not _NAME.fullmatch(account.name):
        yield "AccountName is no name of an account: copy the whole connection string"
    if not account.key and not account.sas:
        yield "AccountKey and SharedAccessSignature are missing: give one of them"
    if account.key and account.sas:
        yield "AccountKey and SharedAccessSignature are both there: give one of them"
    if not is_base64(account.key):
        yield "AccountKey is not base64: copy it again, with the `=` at its end"
    if account.endpoint:
        yield from _faults_of_address(account.endpoint)


def _faults_of_address(endpoint: str) -> Iterator[str]:
    if not is_web(endpoint):
        yield f"the blob endpoint is {shown(endpoint)}: give an address that begins with https://"
    elif urlsplit(endpoint).scheme == "http" and not is_near(endpoint):
        yield f"the blob endpoint is {endpoint!r}: http is for this machine and its cluster only, give https://"


def is_base64(text: str) -> bool:
    """Whether this may be a key of Azure, to the last bit: its clients are not alike in what else they take."""
    try:
        return base64.b64encode(base64.b64decode(text, validate=True)).decode() == text
    except ValueError:
        return False
