"""One AMQP connection with one channel, as awaitables in the running loop."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pika
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.channel import Channel
from pika.exceptions import AMQPError, ChannelClosedByBroker, ProbableAccessDeniedError, ProbableAuthenticationError

from consumers import mounted
from consumers.waiting import happens

HEARTBEAT = 10  # seconds; pika looks every 15 s, so that 30 s of silence never pass unnoticed
LONGEST_PAUSE = 3.0  # seconds between two tries to connect; consuming again within 5 s after the broker answers


USERNAME, PASSWORD = "username", "password"


@dataclass(frozen=True)
class Broker:
    """Where the broker is, and as whom we come: the user in the URL, or that of a folder with its name and password.

    The folder is read at every connect, so that a rotated password is taken without a restart.
    """

    url: str = field(repr=False)
    credentials: Path | None = None

    def parameters(self) -> pika.URLParameters:
        """What a connection is opened with. Raises OSError or ValueError for a file that is absent or empty."""
        parameters = pika.URLParameters(self.url)
        parameters.heartbeat = HEARTBEAT
        if folder := self.credentials:
            user, password = mounted.secret(folder / USERNAME), mounted.secret(folder / PASSWORD)
            parameters.credentials = pika.PlainCredentials(user, password)
        return parameters


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

    async def cancel(self, consumer_tag: str) -> None:
        """Take nothing new, and wait until the broker agrees or the link is lost."""
        cancelled: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.channel.basic_cancel(consumer_tag, callback=cancelled.set_result)
        # pika rejects what crosses the cancel on its way, which the broker charges; it comes to our callback instead
        self.channel._cancelled.discard(consumer_tag)  # there is no public way
        await asyncio.wait([cancelled, self.lost], return_when=asyncio.FIRST_COMPLETED)

    async def close(self) -> None:
        """Close in order and wait for it, but not long: a broker that is frozen never answers."""
        if self.connection.is_open:
            self.connection.close()
        await happens(self._closed, within=5)


async def connect(broker: Broker, name: str) -> Link:
    """Open a connection that the broker shows under `name`, and a channel. Raises LinkLost with the reason."""
    try:
        parameters = broker.parameters()
    except (OSError, ValueError) as error:
        raise LinkLost(f"RABBITMQ_CREDENTIALS cannot be read ({error}): is its Secret mounted?") from None
    loop = asyncio.get_running_loop()
    opened: asyncio.Future[AsyncioConnection] = loop.create_future()
    lost: asyncio.Future[LinkLost] = loop.create_future()
    closed = asyncio.Event()

    def end(_: Any, why: BaseException) -> None:
        if not lost.done():
            lost.set_result(LinkLost(explain(why, parameters)))

    def close(connection: Any, why: BaseException) -> None:
        end(connection, why)
        closed.set()

    def refuse(_: Any, why: BaseException) -> None:
        opened.set_exception(LinkLost(explain(why, parameters)))

    parameters.client_properties = {"connection_name": name}
    AsyncioConnection(parameters, opened.set_result, refuse, close, custom_ioloop=loop)
    connection = await opened
    channel_open: asyncio.Future[Channel] = loop.create_future()
    try:
        connection.channel(on_open_callback=channel_open.set_result)
    except AMQPError as error:  # it ended before its turn in this loop came
        raise lost.result() if lost.done() else LinkLost(explain(error, parameters)) from None
    await asyncio.wait([channel_open, lost], return_when=asyncio.FIRST_COMPLETED)
    if not channel_open.done():
        raise lost.result()
    channel_open.result().add_on_close_callback(end)
    return Link(connection, channel_open.result(), lost, closed)


def pause(attempt: int) -> float:
    """Seconds to wait before try `attempt` + 1: random below a doubling bound, so that consumers spread."""
    return random.uniform(0.1, min(LONGEST_PAUSE, 0.25 * 2.0 ** min(attempt, 10)))  # noqa: S311 - jitter, not a secret


def explain(why: BaseException, parameters: pika.ConnectionParameters) -> str:
    """One sentence for a person: what happened, with whom, and the next step. Never holds the password."""
    where = f"{parameters.host}:{parameters.port}"
    if isinstance(why, ProbableAuthenticationError | ProbableAccessDeniedError) or "ACCESS_REFUSED" in str(why):
        hint = "check the vhost in RABBITMQ_URL, and the password there or in RABBITMQ_CREDENTIALS"
        return f"broker {where} refuses user {parameters.credentials.username!r}: {hint} ({_text(why)})"
    if isinstance(why, ChannelClosedByBroker) and why.reply_code == 404:
        return f"broker {where} says {why.reply_text!r}: run `pulumi up`, which creates it"
    if isinstance(why, OSError) or (isinstance(why, AMQPError) and not str(why)):
        return f"broker {where} does not answer ({_text(why)}): is it running, and is RABBITMQ_URL right?"
    return f"broker {where} ended the connection: {_text(why)}"


def _text(why: BaseException) -> str:
    inner = next((arg for arg in why.args if isinstance(arg, BaseException)), None)
    return str(why) or (_text(inner) if inner else type(why).__name__)
