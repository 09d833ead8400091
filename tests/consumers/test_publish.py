"""The way back to a real broker: each message is confirmed, refused or given back by itself."""

from __future__ import annotations

import asyncio
import uuid
from typing import NoReturn

import pytest
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.exceptions import ConnectionWrongStateError

from consumers import amqp
from consumers.amqp import Broker, LinkLost, connect
from consumers.publish import ConfirmedPublisher
from consumers.verdicts import Later, Retry
from tests.brokers import LiveBroker, eventually

pytestmark = pytest.mark.servers


def test_what_no_queue_takes_is_refused_and_nothing_else(any_broker: LiveBroker) -> None:
    """Sent at once under one id: the one without a queue is given back, the other is taken."""
    queue = f"taken_{uuid.uuid4().hex[:8]}"
    any_broker.api.put(f"queues/%2F/{queue}", {"durable": True, "arguments": {"x-queue-type": "quorum"}})

    async def story() -> list[BaseException | None]:
        publisher = ConfirmedPublisher(Broker(any_broker.url), "publisher")
        ways = ["nobody", queue] * 10
        sent = [publisher.publish("", key, b"x", message_id="one", mandatory=True) for key in ways]
        answers = await asyncio.gather(*sent, return_exceptions=True)
        await publisher.close()
        return answers

    answers = asyncio.run(story())

    assert [None] * 10 == answers[1::2]
    assert {Later.SINK_REFUSED} == {answer.reason for answer in answers[::2] if isinstance(answer, Retry)}
    assert 10 == sum(isinstance(answer, Retry) for answer in answers)
    eventually(lambda: any_broker.ready(queue) == 10)


def test_a_refusal_leaves_no_connection_behind(any_broker: LiveBroker) -> None:
    """An exchange that is not there ends the channel; the connection is closed before the next one is opened."""
    name = f"publisher {uuid.uuid4().hex[:8]}"

    async def story() -> None:
        publisher = ConfirmedPublisher(Broker(any_broker.url), name)
        for _ in range(4):
            with pytest.raises(Retry, match="run `pulumi up`, which creates it"):
                await publisher.publish("absent", "key", b"x", message_id="one")
        await asyncio.to_thread(eventually, lambda: 1 >= len(connections(any_broker, name)) > 0)
        await publisher.close()

    asyncio.run(story())
    eventually(lambda: not connections(any_broker, name))


def test_a_connection_that_ends_before_its_channel_is_a_lost_link(
    any_broker: LiveBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends between two turns of the loop: the reason is told, and the next try is made like any other."""
    made: list[AsyncioConnection] = []

    class Ended(AsyncioConnection):
        def channel(self, *_: object, **__: object) -> NoReturn:
            made.append(self)
            self.close()
            raise ConnectionWrongStateError("Channel allocation requires an open connection")

    async def story() -> None:
        with pytest.raises(LinkLost, match="Channel allocation requires an open connection"):
            await connect(Broker(any_broker.url), "short")
        await asyncio.to_thread(eventually, lambda: made[0].is_closed)

    monkeypatch.setattr(amqp, "AsyncioConnection", Ended)
    asyncio.run(story())


def connections(broker: LiveBroker, name: str) -> list[str]:
    found = broker.api.get("connections")
    return [one["name"] for one in found if one.get("client_properties", {}).get("connection_name") == name]
