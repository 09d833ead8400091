"""From the consumers back to the broker: dead letters, outcomes and triggers, each confirmed before it counts."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import pika
from pika.channel import Channel
from pika.exceptions import AMQPError

from consumers.amqp import Broker, Link, LinkLost, connect
from consumers.verdicts import Later, Retry

CONFIRM_WITHIN = 10.0  # seconds; a broker under a memory alarm confirms nothing until it is over


@dataclass(eq=False)
class _Publish:
    """One message on its way. `returned`: why the broker gave it back, which it says before it confirms it."""

    what: tuple[str, str, str]  # exchange, key, message id
    confirmed: asyncio.Future[None]
    returned: str = ""


class Publisher(Protocol):
    """Anything that publishes and returns only when the broker has taken the message."""

    async def publish(
        self,
        exchange: str,
        key: str,
        body: bytes,
        *,
        message_id: str,
        headers: Mapping[str, object] | None = None,
        mandatory: bool = False,
    ) -> None:
        """Publish persistently. `mandatory`: a queue must take it. Raises Retry when the broker does not confirm."""


class ConfirmedPublisher:
    """Publishes over a connection of its own: a broker that blocks publishers must not stop consuming."""

    def __init__(self, broker: Broker, name: str) -> None:
        self._broker, self._name = broker, name
        self._link: Link | None = None
        self._opening = asyncio.Lock()
        self._sent = 0
        self._waiting: dict[int, _Publish] = {}

    async def publish(
        self,
        exchange: str,
        key: str,
        body: bytes,
        *,
        message_id: str,
        headers: Mapping[str, object] | None = None,
        mandatory: bool = False,
    ) -> None:
        properties = pika.BasicProperties(
            content_type="application/json",
            delivery_mode=pika.DeliveryMode.Persistent.value,
            message_id=message_id,
            headers=dict(headers or {}),
        )
        try:
            link = await self._open()
            link.channel.basic_publish(exchange, key, body, properties, mandatory)
            sent = self._note(exchange, key, message_id)
            await asyncio.wait_for(sent.confirmed, CONFIRM_WITHIN)
        except (AMQPError, LinkLost, TimeoutError) as error:
            what = f"{key!r} to exchange {exchange or '(default)'!r}"
            raise Retry(Later.SINK_UNAVAILABLE, f"the broker did not confirm {what}: {error or 'no answer'}") from error
        if sent.returned:
            where = f"exchange {exchange or '(default)'!r}"
            raise Retry(Later.SINK_REFUSED, f"{where} has no queue for {key!r} ({sent.returned})")

    async def close(self) -> None:
        if self._link:
            await self._link.close()

    async def _open(self) -> Link:
        async with self._opening:
            if self._link is None or self._link.lost.done():
                await self.close()  # of a channel that was refused, the connection is still open
                link = await connect(self._broker, self._name)
                self._sent, self._waiting = 0, {}
                link.channel.confirm_delivery(self._settle)
                link.channel.add_on_return_callback(self._note_return)
                link.lost.add_done_callback(self._fail_all)
                self._link = link
            return self._link

    def _note(self, exchange: str, key: str, message_id: str) -> _Publish:
        sent = _Publish((exchange, key, message_id), asyncio.get_running_loop().create_future())
        self._sent += 1
        self._waiting[self._sent] = sent
        return sent

    def _settle(self, frame: Any) -> None:
        answer = frame.method
        tags = (
            [tag for tag in self._waiting if tag <= answer.delivery_tag] if answer.multiple else [answer.delivery_tag]
        )
        for tag in tags:
            sent = self._waiting.pop(tag, None)
            if sent is None or sent.confirmed.done():
                continue
            if isinstance(answer, pika.spec.Basic.Ack):
                sent.confirmed.set_result(None)
            else:
                sent.confirmed.set_exception(LinkLost("the broker refused it (nack)"))

    def _note_return(self, _: Channel, method: Any, properties: pika.BasicProperties, __: bytes) -> None:
        """Of equal messages the first that was sent: the broker gives them back in that order."""
        what = (method.exchange, method.routing_key, properties.message_id)
        for sent in self._waiting.values():
            if sent.what == what and not sent.returned:
                sent.returned = str(method.reply_text)
                return

    def _fail_all(self, lost: asyncio.Future[LinkLost]) -> None:
        for sent in self._waiting.values():
            if not sent.confirmed.done():
                sent.confirmed.set_exception(lost.result())
