"""The worker against real brokers: what happens to one message, whatever happens around it."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from catalog import CATALOG, Catalog
from catalog.broker import Capabilities
from catalog.metrics import CONSUMED, DUPLICATES, HANDLING, REJECTED, RETRIED
from consumers.amqp import Broker
from consumers.dead import DeadLetters
from consumers.events import Event
from consumers.judgement import Handler
from consumers.metrics import Meters
from consumers.outage import Probe, no_sink
from consumers.publish import ConfirmedPublisher
from consumers.verdicts import Later, Never, Reject, Retry
from consumers.worker import Worker
from infra.broker_api import put
from tests.brokers import LiveBroker, lines
from tests.runs import until
from tests.samples import body_of

pytestmark = [pytest.mark.servers, pytest.mark.slow]

SOON = (timedelta(seconds=1), timedelta(seconds=2))


class Desk:
    """A worker on a queue of its own, and what its handler saw."""

    def __init__(self, broker: LiveBroker, **changes: Any) -> None:
        name = f"desk_{uuid.uuid4().hex[:8]}"
        lake = replace(CATALOG.queue("logging_data_lake"), name=name, retry=SOON, **changes)
        self.broker, self.queue = broker, lake
        self.catalog: Catalog = replace(CATALOG, queues=(lake,))
        self.meters = Meters(self.catalog, lake.service)
        self.seen: list[str] = []
        self.stopping = asyncio.Event()
        broker.prepare(self.catalog)

    def publish(self, *ids: str, **properties: Any) -> None:
        self.broker.publish(self.queue, [body_of("risk.evaluated", id=identity) for identity in ids], **properties)

    def count(self, metric: Any, *labels: str) -> float:
        return float(self.meters[metric].labels(self.queue.name, *labels)._value.get())

    @asynccontextmanager
    async def working(
        self, handle: Handler, broker: Broker | None = None, probe: Probe = no_sink
    ) -> AsyncIterator[Worker]:
        """Run the worker until the block ends, then stop it in order."""
        publisher = ConfirmedPublisher(Broker(self.broker.url), f"{self.queue.name} publisher")

        async def noted(event: Event) -> bool:
            self.seen.append(event.id)
            return await handle(event)

        dead = DeadLetters(self.catalog.exchange, self.queue, publisher)
        broker = broker or Broker(self.broker.url)
        worker = Worker(self.queue, noted, broker, dead, self.meters, self.stopping, probe=probe)
        running = asyncio.create_task(worker.run())
        try:
            yield worker
        finally:
            self.stopping.set()
            await asyncio.wait_for(running, 30)
            await publisher.close()


@pytest.fixture
def desk(any_broker: LiveBroker) -> Callable[..., Desk]:
    return lambda **changes: Desk(any_broker, **changes)


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(story, 90))


async def written(_: Event) -> bool:
    return True


def failing(*verdicts: Exception) -> Handler:
    """A handler that raises these, one a call, and then writes."""
    waiting = list(verdicts)

    async def handle(_: Event) -> bool:
        if waiting:
            raise waiting.pop(0)
        return True

    return handle


def test_an_event_is_acknowledged_only_after_its_write(desk: Callable[..., Desk]) -> None:
    """A process that ends in the middle of a write leaves the event in the queue."""

    async def story() -> None:
        d = desk(longest_run=timedelta(seconds=30))
        d.publish("a")

        async def never_done(_: Event) -> bool:
            await asyncio.sleep(3600)
            return True

        async with d.working(never_done) as worker:
            assert 0 == worker.at_stake
            await until(lambda: d.seen == ["a"])
            assert 0 == d.broker.ready(d.queue.name)
            assert 30 == worker.at_stake, "what a kill would have done again, for the deletion cost of the pod"
        await until(lambda: d.broker.ready(d.queue.name) == 1)
        assert (0, 1) == (d.count(CONSUMED), d.count(RETRIED, "stopping"))

    run(story())


def test_a_written_event_leaves_the_queue_and_is_counted(desk: Callable[..., Desk]) -> None:
    """Consumed, and a duplicate where the handler found its write done already."""

    async def story() -> None:
        d = desk()
        d.publish("a", "b")

        async def known(event: Event) -> bool:
            return event.id != "b"

        async with d.working(known):
            await until(lambda: d.count(CONSUMED) == 2)
        assert 1 == d.count(DUPLICATES)
        assert 0 == d.broker.ready(d.queue.name)

    run(story())


def test_a_rejected_event_is_a_dead_letter_with_its_reason(desk: Callable[..., Desk]) -> None:
    """Body and headers as they came, and beside them what a person needs."""

    async def story() -> None:
        d = desk()
        d.publish("a", headers={"traceparent": "00-1", "x-datadog-trace-id": "7"})

        async with d.working(failing(Reject(Never.WRONG_TYPE, "riskScore is 'high', expected a number"))):
            await until(lambda: d.broker.ready(d.queue.dead) == 1)
        headers, body = d.broker.take(d.queue.dead)[0]

        assert body_of("risk.evaluated", id="a") == body
        assert ("00-1", "7") == (headers["traceparent"], headers["x-datadog-trace-id"])
        assert "wrong_type" == headers["x-dead-reason"]
        assert "riskScore is 'high', expected a number" == headers["x-dead-detail"]
        assert 1 == headers["x-dead-attempts"]
        assert d.queue.name == headers["x-dead-queue"]
        assert 1 == d.count(REJECTED, "wrong_type")
        assert 0 == d.broker.ready(d.queue.name)

    run(story())


def test_an_undecodable_body_is_a_dead_letter_after_one_delivery(desk: Callable[..., Desk]) -> None:
    """The handler never sees it."""

    async def story() -> None:
        d = desk()
        d.broker.publish(d.queue, [b'{"id": "a", '])

        async with d.working(written):
            await until(lambda: d.broker.ready(d.queue.dead) == 1)

        assert [] == d.seen
        assert 1 == d.count(REJECTED, "undecodable")

    run(story())


def test_fault_02_a_failed_event_comes_back_and_is_not_lost(desk: Callable[..., Desk]) -> None:
    """A failure returns the event; no sooner than the queue's pause, it is tried again."""

    async def story() -> None:
        d = desk()
        d.publish("a")
        began = asyncio.get_running_loop().time()

        async with d.working(failing(Retry(Later.SINK_UNAVAILABLE, "no answer"))):
            await until(lambda: d.count(CONSUMED) == 1)

        assert ["a", "a"] == d.seen
        assert asyncio.get_running_loop().time() - began >= 0.9
        assert 1 == d.count(RETRIED, "sink_unavailable")
        assert 0 == d.broker.ready(d.queue.dead)

    run(story())


def test_a_failure_nobody_foresaw_is_retried_and_logged(
    desk: Callable[..., Desk], capfd: pytest.CaptureFixture[str]
) -> None:
    """A bug costs a retry and leaves a traceback, never the event."""

    async def story() -> None:
        d = desk()
        d.publish("a")
        async with d.working(failing(ZeroDivisionError("division by zero"))):
            await until(lambda: d.count(CONSUMED) == 1)
        assert 1 == d.count(RETRIED, "unexpected")

    run(story())

    assert any("ZeroDivisionError" in line.get("traceback", "") for line in lines(capfd.readouterr().out))


def test_a_failure_of_the_worker_itself_leaves_no_event_unanswered(
    desk: Callable[..., Desk], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says so and gives its connection up, so that the broker delivers the event again."""

    async def story() -> None:
        d, bugs = desk(), [ZeroDivisionError("a bug")]
        d.publish("a", "b")
        async with d.working(failing(Retry(Later.SINK_UNAVAILABLE, "503"))) as worker:
            explains = worker.outage.explains

            async def broken_once(failure: Retry) -> bool:
                if bugs:
                    raise bugs.pop()
                return await explains(failure)

            monkeypatch.setattr(worker.outage, "explains", broken_once)
            await until(lambda: d.count(CONSUMED) == 2)
        assert ["a", "b"] == sorted(set(d.seen))
        assert 0 == d.broker.ready(d.queue.name)

    run(story())
    told = {line["message"]: line for line in lines(capfd.readouterr().out) if "message" in line}
    assert "ZeroDivisionError('a bug')" == told["an event may be unanswered"]["error"]
    assert "given up by its consumer" in told["not consuming"]["detail"]


def test_an_event_that_never_succeeds_is_dead_lettered_by_the_broker(desk: Callable[..., Desk]) -> None:
    """Past the limit the broker moves it to the dead letters and says so."""

    async def story() -> None:
        d = desk(delivery_limit=1)
        d.publish("a")
        always = [Retry(Later.SINK_UNAVAILABLE, "no answer")] * 5
        async with d.working(failing(*always)):
            await until(lambda: d.broker.ready(d.queue.dead) == 1)
        headers, _ = d.broker.take(d.queue.dead)[0]

        assert "delivery_limit" == headers["x-death"][0]["reason"]
        assert ["a", "a"] == d.seen

    run(story())


def test_fault_03_a_dropped_connection_is_made_again(desk: Callable[..., Desk]) -> None:
    """Whoever closes the connection, the worker is back and consumes the rest."""

    async def story() -> None:
        d = desk()
        async with d.working(written) as worker:
            for turn in range(3):
                await until(lambda: not worker.trouble)
                await until(lambda: d.broker.drop_connections(f"{d.queue.name} consumer") == 1)
                await until(lambda: worker.trouble)
                d.publish(f"after {turn}")
                await until(lambda turn=turn: f"after {turn}" in d.seen)
            await until(lambda: d.count(CONSUMED) == 3)

    run(story())


def test_a_tag_of_a_lost_connection_is_never_acknowledged(desk: Callable[..., Desk]) -> None:
    """Work that outlives its connection does not acknowledge what another delivery with the same tag brought."""

    async def story() -> None:
        d = desk(prefetch=1)
        d.publish("a", "b")
        first = asyncio.Event()

        async def handle(event: Event) -> bool:
            if d.seen == ["a"]:
                await first.wait()
            elif event.id == "b":
                raise Retry(Later.SINK_UNAVAILABLE, "no answer")
            return True

        async with d.working(handle) as worker:
            await until(lambda: d.seen == ["a"])
            await until(lambda: d.broker.drop_connections(f"{d.queue.name} consumer") == 1)
            await until(lambda: worker.trouble)
            await until(lambda: not worker.trouble)
            first.set()
            await until(lambda: d.count(RETRIED, "sink_unavailable") >= 1)
        await asyncio.sleep(2.5)

        left = {json.loads(body)["id"] for _, body in d.broker.take(d.queue.name)}
        assert "b" in left, "b was never written, so it must still be there"

    run(story())


def test_no_more_than_prefetch_are_in_hand(desk: Callable[..., Desk]) -> None:
    """Ten events at prefetch three are handled three at a time."""

    async def story() -> None:
        d = desk(prefetch=3)
        d.publish(*(f"e{n}" for n in range(10)))
        now, most = 0, 0

        async def handle(_: Event) -> bool:
            nonlocal now, most
            now += 1
            most = max(most, now)
            await asyncio.sleep(0.05)
            now -= 1
            return True

        async with d.working(handle):
            await until(lambda: d.count(CONSUMED) == 10)

        assert 3 == most

    run(story())


def test_stopping_lets_work_in_hand_end_and_takes_nothing_new(desk: Callable[..., Desk]) -> None:
    """What was begun is written and acknowledged, the rest waits for the next process."""

    async def story() -> None:
        d = desk(prefetch=2)
        d.publish(*(f"e{n}" for n in range(6)))

        async def slow(_: Event) -> bool:
            await asyncio.sleep(0.5)
            return True

        async with d.working(slow):
            await until(lambda: len(d.seen) >= 2)

        done = int(d.count(CONSUMED))
        assert done == len(d.seen) >= 2
        await until(lambda: d.broker.ready(d.queue.name) == 6 - done)

    run(story())


def test_a_return_on_purpose_is_no_try(desk: Callable[..., Desk], capfd: pytest.CaptureFixture[str]) -> None:
    """An event that is given back for no fault of its own is not charged where the broker can avoid it."""
    free = []

    async def story() -> None:
        d = desk()
        free.append(Capabilities.of(d.broker.version).nack_is_free)
        d.publish("a")
        async with d.working(failing(Retry(Later.BUSY, "held by another"))):
            await until(lambda: d.count(CONSUMED) == 1)
        assert 1 == d.count(RETRIED, "busy")

    run(story())
    returned, done = (line for line in lines(capfd.readouterr().out) if "verdict" in line)

    assert ("returned", 1) == (returned["verdict"], returned["attempt"])
    assert ("written", 1 if free[0] else 2) == (done["verdict"], done["attempt"])


def test_an_absent_queue_is_named_with_the_next_step(desk: Callable[..., Desk]) -> None:
    """The process waits for it, not ready, and says what is missing."""

    async def story() -> None:
        d = desk()
        d.queue = replace(d.queue, name="no_such_queue")
        d.meters = Meters(replace(d.catalog, queues=(d.queue,)), d.queue.service)
        async with d.working(written) as worker:
            await until(lambda: "no_such_queue" in worker.trouble)
            assert "NOT_FOUND - no queue 'no_such_queue' in vhost '/'" in worker.trouble
            assert worker.trouble.endswith("run `pulumi up`, which creates it")

    run(story())


def test_a_wrong_password_is_named_without_being_shown(desk: Callable[..., Desk]) -> None:
    """The message names the user, the broker and where the password comes from."""

    async def story() -> None:
        d = desk()
        user, _, rest = d.broker.url.removeprefix("amqp://").partition(":")
        wrong = f"amqp://{user}:sesame@{rest.partition('@')[2]}"
        async with d.working(written, Broker(wrong)) as worker:
            await until(lambda: "refuses user" in worker.trouble)
            assert f"refuses user '{user}': check the vhost in RABBITMQ_URL, and the password there" in worker.trouble
            assert "sesame" not in worker.trouble

    run(story())


def test_a_rotated_password_is_taken_at_the_next_connect(desk: Callable[..., Desk], tmp_path: Path) -> None:
    """A file that changes needs no restart, whatever characters the password has; a missing one is waited for."""

    async def story() -> None:
        d = desk()
        user = f"{d.queue.name}_user"
        place = d.broker.url.rpartition("@")[2]
        folder = tmp_path / "credentials"

        def rotate(password: str) -> None:
            put(d.broker.api, f"users/{user}", {"tags": ""}, password)
            put(d.broker.api, f"permissions/%2F/{user}", {"configure": "^$", "write": "^$", "read": ".*"}, "")
            d.broker.drop_connections(f"{d.queue.name} consumer")
            (folder / "password").write_text(password)

        async with d.working(written, Broker(f"amqp://{place}", folder)) as worker:
            await until(lambda: "RABBITMQ_CREDENTIALS cannot be read" in worker.trouble)
            folder.mkdir()
            (folder / "username").write_text(user)
            for password in ("first", "p@ss:w/o%20r d#?&ü"):
                rotate(password)
                d.publish(password)
                await until(lambda password=password: password in d.seen and not worker.trouble)
        assert 2 == d.count(CONSUMED)

    run(story())


def test_a_dead_letter_that_cannot_be_placed_keeps_its_event(desk: Callable[..., Desk]) -> None:
    """Without a dead-letter queue the event stays where it is, to be tried again."""

    async def story() -> None:
        d = desk()
        d.broker.api.delete(f"queues/%2F/{d.queue.dead}")
        d.publish("a")
        async with d.working(failing(*[Reject(Never.WRONG_TYPE, "no")] * 50)):
            await until(lambda: d.count(RETRIED, "sink_refused") >= 1)
        await asyncio.sleep(2.5)
        assert 1 == d.broker.ready(d.queue.name)

    run(story())


def test_fault_06_every_failure_is_counted_from_zero(desk: Callable[..., Desk]) -> None:
    """Each reason is a series before it first happens, so that its first time shows in a rate."""
    d = desk()

    assert [0.0] * len(Never) == [d.count(REJECTED, reason.value) for reason in Never]
    assert [0.0] * len(Later) == [d.count(RETRIED, reason.value) for reason in Later]


def test_one_log_line_per_message_tells_its_story(desk: Callable[..., Desk], capfd: pytest.CaptureFixture[str]) -> None:
    """Queue, key, id, tenant, attempt, verdict and milliseconds, and where it failed the reason and where it waits."""
    names: list[str] = []
    waits_here = []

    async def story() -> None:
        d = desk()
        names.append(d.queue.name)
        waits_here.append(not Capabilities.of(d.broker.version).delays_retries)
        d.publish("a")
        async with d.working(failing(Retry(Later.SINK_THROTTLED, "429"))):
            await until(lambda: d.count(CONSUMED) == 1)
        assert d.meters[HANDLING].labels(d.queue.name)._sum.get() > 0

    run(story())
    first, second = (line for line in lines(capfd.readouterr().out) if "verdict" in line)

    assert ("retried", "sink_throttled", "429", 1) == tuple(
        first[field] for field in ("verdict", "reason", "detail", "attempt")
    )
    assert waits_here == [first.get("resting", False)]
    assert ("written", "a", names[0], 2) == tuple(second[field] for field in ("verdict", "id", "queue", "attempt"))
    assert {"time", "level", "key", "tenant", "ms"} <= set(second)
