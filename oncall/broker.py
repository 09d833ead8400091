"""The operator's way into the broker over AMQP: one short connection whose publishes count once confirmed."""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from urllib.parse import urlsplit

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import (
    AMQPError,
    ChannelClosedByBroker,
    NackError,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
    UnroutableError,
)

from oncall.endpoints import Endpoints
from oncall.trouble import Trouble

RESOURCE_LOCKED = 405  # AMQP's reply code: the queue is another connection's own
LOCKED_WITHIN = 5  # seconds; the broker notices a moment later that a process was killed


@contextmanager
def channel(endpoints: Endpoints) -> Iterator[BlockingChannel]:
    """A channel with confirms on, closed at the end; what it held unacknowledged goes back. Raises Trouble."""
    logging.getLogger("pika").setLevel(logging.CRITICAL)  # it logs what it also raises
    try:
        parameters = pika.URLParameters(endpoints.amqp)
        parameters.client_properties = {"connection_name": "oncall"}
        parameters.blocked_connection_timeout = 30
        with pika.BlockingConnection(parameters) as connection:
            opened = connection.channel()
            opened.confirm_delivery()
            yield opened
    except (AMQPError, OSError, ssl.SSLError) as error:
        raise Trouble(_explained(error, endpoints)) from error


@contextmanager
def alone(endpoints: Endpoints, lock: str) -> Iterator[None]:
    """Keep others of our kind out, by an exclusive queue: it ends with this process. Raises Trouble."""
    with channel(endpoints) as opened:
        connection, ended = opened.connection, Event()
        _lock(connection, lock)

        def stay_alive() -> None:
            with suppress(AMQPError):  # a broker that went away is met by those who need it
                while not ended.wait(1):
                    connection.process_data_events()

        beating = Thread(target=stay_alive)
        beating.start()
        try:
            yield
        finally:
            ended.set()
            beating.join()


def _lock(connection: pika.BlockingConnection, lock: str) -> None:
    until = time.monotonic() + LOCKED_WITHIN
    while True:
        try:
            connection.channel().queue_declare(lock, exclusive=True)
        except ChannelClosedByBroker as error:
            if error.reply_code != RESOURCE_LOCKED:
                raise
            if time.monotonic() > until:
                raise Trouble(
                    f"somebody else is at work: {lock} is theirs; wait for the end of it, then look again"
                ) from None
            time.sleep(0.2)
        else:
            return


def publish(to: BlockingChannel, exchange: str, key: str, body: bytes, properties: pika.BasicProperties) -> None:
    """Publish persistently and return once a queue has it. Raises Trouble when none takes it."""
    properties.delivery_mode = pika.DeliveryMode.Persistent.value
    properties.content_type = properties.content_type or "application/json"
    where = f"exchange {exchange} has no queue for {key!r}" if exchange else f"queue {key} does not exist"
    try:
        to.basic_publish(exchange, key, body, properties, mandatory=True)
    except UnroutableError:
        raise Trouble(f"{where}: `pulumi up` creates it; nothing was published") from None
    except NackError:
        raise Trouble(f"the broker refused the event for {key!r}: is the queue full, or a node down?") from None


def _explained(error: Exception, endpoints: Endpoints) -> str:
    user, where = urlsplit(endpoints.amqp).username, f"broker {endpoints.broker}"
    if isinstance(error, ProbableAuthenticationError | ProbableAccessDeniedError) or "ACCESS_REFUSED" in str(error):
        return (
            f"{where} refuses user {user!r} (virtual host {endpoints.vhost!r}):"
            f" the password in {endpoints.file} is not the broker's, or the user may not; `make up` writes it anew"
        )
    if isinstance(error, ChannelClosedByBroker) and error.reply_code == 404:
        return f"{where} says {error.reply_text!r}: `pulumi up` creates what is missing"
    reason = str(error) if isinstance(error, ChannelClosedByBroker) else _cause(error)
    return f"{where} does not answer ({reason}): is it running? `make up` starts what is down"


def _cause(error: BaseException) -> str:
    """The innermost reason that pika wrapped."""
    inner = next((part for part in error.args if isinstance(part, BaseException)), None)
    if inner is None and (wrapped := getattr(error, "exception", None)) is not None:
        inner = wrapped
    return _cause(inner) if inner else str(error) or type(error).__name__
