"""Which storage account, and with what right: by connection string, or as the workload that we are."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

LOOPBACK = ("127.0.0.1", "localhost", "::1")
IN_CLUSTER = (".svc", ".svc.cluster.local")


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
    host = urlsplit(address).hostname or ""
    return host in LOOPBACK or (bool(host) and "." not in host) or host.endswith(IN_CLUSTER)


def at(address: str) -> Account:
    """The account at an address, for a workload identity. Raises ValueError when the address cannot be one."""
    place = urlsplit(address)
    inner = place.path.strip("/")  # an emulator has its accounts below one host
    account = Account(name=inner or (place.hostname or "").partition(".")[0], endpoint=address.rstrip("/"))
    if faults := list(_faults_of_address(account)):
        raise ValueError(f"DATA_LAKE_ACCOUNT: {faults[0]}")
    return account


def parse(connection_string: str) -> Account:
    """The account of a connection string. Raises ValueError with every fault in one message, and no secret in it.

    Source: Azure Storage, "Configure Azure Storage connection strings".
    """
    fields = dict(_fields(connection_string))
    endpoint = _endpoint(fields)
    account = Account(
        name=fields.get("accountname") or (urlsplit(endpoint).hostname or "").partition(".")[0],
        endpoint=endpoint,
        key=fields.get("accountkey", ""),
        sas=fields.get("sharedaccesssignature", "").removeprefix("?"),
    )
    if faults := list(_faults(fields, account)):
        title = f"the storage connection string has {len(faults)} problem{'s' if len(faults) > 1 else ''}:"
        raise ValueError("\n  ".join([title, *faults]))
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
    if not account.key and not account.sas:
        yield "AccountKey and SharedAccessSignature are missing: give one of them"
    if account.key and account.sas:
        yield "AccountKey and SharedAccessSignature are both there: give one of them"
    if not _is_base64(account.key):
        yield "AccountKey is not base64: copy it again, with the `=` at its end"
    if account.endpoint:
        yield from _faults_of_address(account)


def _faults_of_address(account: Account) -> Iterator[str]:
    address = urlsplit(account.endpoint)
    if address.scheme not in ("http", "https") or not address.hostname:
        yield f"the blob endpoint is {account.endpoint!r}: give an address that begins with https://"
    elif address.scheme == "http" and not account.is_near:
        yield f"the blob endpoint is {account.endpoint!r}: http is for this machine and its cluster only, give https://"


def _is_base64(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except binascii.Error:
        return False
    return True
