"""One AMQP connection with one channel, as awaitables in the running loop."""

from __future__ import annotations

import asyncio
import random
from typing import Any
from urllib.parse import urlsplit

import pika
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.channel import Channel
from pika.exceptions import AMQPError, ChannelClosedByBroker, ProbableAccessDeniedError, ProbableAuthenticationError

from consumers.waiting import happens

HEARTBEAT = 15  # seconds; a frozen broker is noticed within two of them
LONGEST_PAUSE = 4.0  # seconds between two tries to connect


class LinkLost(Exception):
    """The connection or its channel ended, or could not be made; the message says why and what to do."""


class Link:
    """An open connection and channel. `lost` is done, with the reason, once either of them ends."""

    def __init__(
        self,
        connection: AsyncioConnection,
        channel: Channel,
        lost: asyncio.Future[LinkLost],
        closed: asyncio.Event,
    ) -> None:
        self.connection, self.channel, self.lost, self._closed = connection, channel, lost, closed

    @property
    def broker_version(self) -> str:
        """The version that the broker announced when the connection was opened."""
        return str((self.connection.server_properties or {}).get("version", "unknown"))

    async def close(self) -> None:
        """Close in order and wait for it, but not long: a broker that is frozen never answers."""
        if self.connection.is_open:
            self.connection.close()
        await happens(self._closed, within=5)


async def connect(url: str, name: str) -> Link:
    """Open a connection that the broker shows under `name`, and a channel. Raises LinkLost with the reason."""
    loop = asyncio.get_running_loop()
    opened: asyncio.Future[AsyncioConnection] = loop.create_future()
    lost: asyncio.Future[LinkLost] = loop.create_future()
    closed = asyncio.Event()

    def end(_: Any, why: BaseException) -> None:
        if not lost.done():
            lost.set_result(LinkLost(explain(why, url)))

    def close(connection: Any, why: BaseException) -> None:
        end(connection, why)
        closed.set()

    def refuse(_: Any, why: BaseException) -> None:
        opened.set_exception(LinkLost(explain(why, url)))

    parameters = pika.URLParameters(url)
    parameters.heartbeat = HEARTBEAT
    parameters.client_properties = {"connection_name": name}
    AsyncioConnection(parameters, opened.set_result, refuse, close, custom_ioloop=loop)
    connection = await opened
    channel_open: asyncio.Future[Channel] = loop.create_future()
    connection.channel(on_open_callback=channel_open.set_result)
    await asyncio.wait([channel_open, lost], return_when=asyncio.FIRST_COMPLETED)
    if not channel_open.done():
        raise lost.result()
    channel_open.result().add_on_close_callback(end)
    return Link(connection, channel_open.result(), lost, closed)


def pause(attempt: int) -> float:
    """Seconds to wait before try `attempt` + 1: random below a doubling bound, so that consumers spread."""
    return random.uniform(0.1, min(LONGEST_PAUSE, 0.25 * 2.0 ** min(attempt, 10)))  # noqa: S311 - jitter, not a secret


def explain(why: BaseException, url: str) -> str:
    """One sentence for a person: what happened, with whom, and the next step. Never holds the password."""
    parts = urlsplit(url)
    where = f"{parts.hostname}:{parts.port or 5672}"
    if isinstance(why, ProbableAuthenticationError | ProbableAccessDeniedError) or "ACCESS_REFUSED" in str(why):
        hint = "check the password and vhost in RABBITMQ_URL"
        return f"broker {where} refuses user {parts.username!r}: {hint} ({_text(why)})"
    if isinstance(why, ChannelClosedByBroker) and why.reply_code == 404:
        return f"broker {where} says {why.reply_text!r}: run `pulumi up`, which creates it"
    if isinstance(why, OSError) or (isinstance(why, AMQPError) and not str(why)):
        return f"broker {where} does not answer ({_text(why)}): is it running, and is RABBITMQ_URL right?"
    return f"broker {where} ended the connection: {_text(why)}"


def _text(why: BaseException) -> str:
    inner = next((arg for arg in why.args if isinstance(arg, BaseException)), None)
    return str(why) or (_text(inner) if inner else type(why).__name__)
