"""Azure blobs, by a client made once per process: a blob is written unless it exists, and the store tells which."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import AzureStore

from consumers import log
from consumers.sinks import PROBE
from consumers.sinks.account import Account
from consumers.verdicts import Later, Never, Reject, Retry

if TYPE_CHECKING:
    from obstore.store import AzureConfig

# Three tries of 3 s and the pauses between them: a request answers within about 10 s, and the broker tries again later.
TIMEOUT = timedelta(seconds=3)
RETRIES = 2
# The blob's metadata that tells its own event from another with the same id.
EVENT_HASH = "event_sha256"

_CODE = re.compile(r"<Code>(\w+)</Code>")
_STATUS = re.compile(r"status code: (\d{3})")
PASSING = (404, 408, 409)  # what was there a moment ago is gone, or is being deleted


class AzureBlobs:
    """One container of a storage account."""

    def __init__(self, account: Account, container: str) -> None:
        self._container, self._host = container, urlsplit(account.endpoint).netloc
        self._right = "the connection string" if account.key or account.sas else "the role of the workload identity"
        self._store = _store(account, container)

    async def create(self, path: str, body: bytes, body_hash: str) -> bool:
        write = partial(obstore.put_async, self._store, path, body, mode="create", attributes={EVENT_HASH: body_hash})
        late = False
        try:
            try:
                await write()
            except (BaseError, OSError) as error:
                if _answer(error)[0]:
                    raise
                # A store with too much to do answers late, and has written by then. The library repeats no create that
                # it gave up waiting for, since it cannot tell its own blob from another; we can.
                late = True
                await write()
        except AlreadyExistsError:
            await self._recognise(path, body_hash)
            return late
        except (BaseError, OSError) as error:
            raise self._verdict(error) from None
        return True

    async def _recognise(self, path: str, body_hash: str) -> None:
        """Return when this event wrote the blob: the answer to an earlier write was lost, or the event came twice."""
        try:
            found = await obstore.get_async(self._store, path, options={"head": True})
        except (BaseError, OSError) as error:
            raise self._verdict(error) from None
        if found.attributes.get(EVENT_HASH) != body_hash:
            raise Reject(Never.CONFLICT, f"{path} was written by another event with the same id")

    async def replace(self, path: str, body: bytes) -> None:
        try:
            await obstore.put_async(self._store, path, body)
        except (BaseError, OSError) as error:
            raise self._verdict(error) from None

    async def read(self, path: str) -> bytes:
        try:
            found = await obstore.get_async(self._store, path)
            return bytes(await found.bytes_async())
        except FileNotFoundError as error:
            if _answer(error)[1] == "BlobNotFound":
                raise KeyError(path) from None
            raise self._verdict(error) from None
        except (BaseError, OSError) as error:
            raise self._verdict(error) from None

    async def paths(self, prefix: str) -> AsyncIterator[str]:
        try:  # the store lists by name
            async for page in obstore.list(self._store, prefix):
                for blob in page:
                    yield blob["path"]
        except (BaseError, OSError) as error:
            raise self._verdict(error) from None

    async def probe(self) -> None:
        try:
            with suppress(AlreadyExistsError):
                await obstore.put_async(self._store, PROBE, b"", mode="create")
        except (BaseError, OSError) as error:
            raise self._verdict(error) from None
        try:
            await obstore.delete_async(self._store, PROBE)
        except (BaseError, OSError) as error:  # written is the answer; nothing else here needs the right to delete
            log.line("warning", message="the probe stays", place=PROBE, detail=str(self._verdict(error)))

    async def close(self) -> None:
        """Nothing to do: idle connections end by themselves."""

    def _verdict(self, error: Exception) -> Retry:
        """What an error means, in words that never hold the request's address: it may carry a signature."""
        status, code = _answer(error)
        place = f"container {self._container!r} of {self._host}"
        if code == "ContainerNotFound":
            return Retry(Later.SINK_REFUSED, f"{place} does not exist: run `pulumi up`, which creates it")
        if status == 429 or code == "ServerBusy":
            return Retry(Later.SINK_THROTTLED, f"{place} asks for fewer requests ({status} {code})")
        if status == 0:
            return Retry(Later.SINK_UNAVAILABLE, f"{place} does not answer")
        if status in PASSING or status >= 500:
            return Retry(Later.SINK_UNAVAILABLE, f"{place} cannot now ({status} {code})")
        return Retry(Later.SINK_REFUSED, f"{place} refuses ({status} {code}): check {self._right}")


def _store(account: Account, container: str) -> AzureStore:
    credential: AzureConfig = {"credential_type": "workload_identity"}  # the library reads its environment, IDENTITY
    if account.key:
        credential = {"credential_type": "access_key", "account_key": account.key}
    elif account.sas:
        credential = {"credential_type": "sas_token", "sas_key": account.sas}
    return AzureStore(
        container_name=container,
        account_name=account.name,
        endpoint=account.endpoint,
        config=credential,  # names its type: that one, whatever else the environment offers
        client_options={"allow_http": account.is_near, "timeout": TIMEOUT, "connect_timeout": TIMEOUT / 3},
        retry_config={"max_retries": RETRIES, "retry_timeout": RETRIES * TIMEOUT},
    )


def _answer(error: Exception) -> tuple[int, str]:
    """HTTP status and the service's error code; 0 when there was no answer."""
    text = str(error)
    status, code = _STATUS.search(text), _CODE.search(text)
    return int(status[1]) if status else 0, code[1] if code else ""
