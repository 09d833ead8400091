"""A sink that is down, in front of a real broker: the consumer pauses, and nobody's event pays for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest

from catalog.metrics import CONSUMED, PAUSED, RETRIED
from consumers.events import Event
from consumers.judgement import Handler
from consumers.sinks.memory import MemoryBlobs
from consumers.verdicts import Later, Retry
from tests.brokers import LiveBroker, lines
from tests.consumers.test_worker import Desk, failing, run
from tests.runs import until

pytestmark = [pytest.mark.servers, pytest.mark.slow]


@pytest.fixture
def desk(any_broker: LiveBroker) -> Callable[..., Desk]:
    return lambda **changes: Desk(any_broker, **changes)


def into(sink: MemoryBlobs) -> Handler:
    return lambda event: sink.create(event.id, b"", event.body_hash)


def test_an_outage_costs_no_event_a_try(desk: Callable[..., Desk], capfd: pytest.CaptureFixture[str]) -> None:
    """Down with events in hand and waiting: held, nothing else taken, written when the sink is back; no redelivery."""

    async def story() -> None:
        d, sink = desk(prefetch=3, delivery_limit=2), MemoryBlobs()
        sink.unavailable = True
        d.publish(*(f"e{n}" for n in range(20)))

        async with d.working(into(sink), probe=sink.probe) as worker:
            await until(lambda: d.count(PAUSED) == 1)
            await asyncio.sleep(4)
            assert 19 == d.broker.ready(d.queue.name)
            assert "" == worker.trouble, "paused on purpose is ready"
            assert 1 == len(d.seen)
            sink.unavailable = False
            await until(lambda: d.count(CONSUMED) == 20, 10)
            assert 0 == d.count(PAUSED)
        assert 0 == d.count(RETRIED, "sink_unavailable")
        assert 0 == d.broker.ready(d.queue.dead)
        assert 20 == sink.written

    run(story())
    told = [line for line in lines(capfd.readouterr().out) if "verdict" in line]
    assert {1} == {line["attempt"] for line in told}
    assert 1 == sum(line.get("held", False) for line in told)


def test_a_pause_on_purpose_lasts_until_it_is_ended(
    desk: Callable[..., Desk], capfd: pytest.CaptureFixture[str]
) -> None:
    """What was begun is finished, nothing else is taken though the sink is well; then all of it, and no try is lost."""

    async def story() -> None:
        d, sink, go_on = desk(prefetch=3, delivery_limit=2), MemoryBlobs(), asyncio.Event()
        d.publish("begun")

        async def write(event: Event) -> bool:
            await go_on.wait()
            return await sink.create(event.id, b"", event.body_hash)

        async with d.working(write, probe=sink.probe) as worker:
            await until(lambda: d.seen == ["begun"])
            worker.outage.hold("a test")
            assert ("", "on purpose, by a test", 1) == (worker.trouble, worker.paused, d.count(PAUSED))
            go_on.set()
            await until(lambda: d.count(CONSUMED) == 1)
            d.publish(*(f"e{n}" for n in range(20)))
            await asyncio.sleep(2)
            assert (["begun"], 20) == (d.seen, d.broker.ready(d.queue.name))
            worker.outage.release("a test")
            assert ("", 0) == (worker.paused, d.count(PAUSED))
            await until(lambda: d.count(CONSUMED) == 21, 10)
        assert 0 == d.broker.ready(d.queue.dead)

    run(story())
    told = lines(capfd.readouterr().out)
    assert {1} == {line["attempt"] for line in told if "verdict" in line}
    said = [(line["message"], line["by"]) for line in told if "by" in line]
    assert [("paused", "a test"), ("resumed", "a test")] == said


def test_work_on_a_sink_behind_a_pause_costs_no_event_a_try(
    desk: Callable[..., Desk], capfd: pytest.CaptureFixture[str]
) -> None:
    """Whoever pauses too late, ends it too early, or once more in an outage: held until both are over."""

    async def story() -> None:
        d, sink = desk(prefetch=3, delivery_limit=2), MemoryBlobs()
        sink.unavailable = True
        d.publish(*(f"e{n}" for n in range(20)))

        async with d.working(into(sink), probe=sink.probe) as worker:
            await until(lambda: d.count(PAUSED) == 1)
            worker.outage.hold("a test")
            sink.unavailable = False
            await asyncio.sleep(2)
            assert (1, 0) == (d.count(PAUSED), sink.written), "the sink is back, the person is not"
            sink.unavailable = True
            worker.outage.release("a test")
            await until(lambda: worker.paused.startswith("sink_unavailable: "))
            assert 19 == d.broker.ready(d.queue.name)
            sink.unavailable = False
            await until(lambda: d.count(CONSUMED) == 20, 10)
        assert ("", 0, 0) == (worker.paused, d.count(RETRIED, "sink_unavailable"), d.broker.ready(d.queue.dead))

    run(story())
    assert {1} == {line["attempt"] for line in lines(capfd.readouterr().out) if "verdict" in line}


def test_a_worker_stops_in_a_pause(desk: Callable[..., Desk]) -> None:
    """Nobody has to resume it first."""

    async def story() -> None:
        d = desk()
        async with d.working(lambda _: asyncio.sleep(0, result=True)) as worker:
            await until(lambda: not worker.trouble)
            worker.outage.hold("a test")
            await asyncio.sleep(0.5)
            d.publish("a")
            await asyncio.sleep(0.5)
        assert ([], 1, "stopped") == (d.seen, d.broker.ready(d.queue.name), worker.trouble)

    run(story())


def test_what_cannot_be_held_longer_is_returned_once(
    desk: Callable[..., Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Down past half of the acknowledgement timeout: the event waits in the queue, and is never a dead letter."""

    async def story() -> None:
        d, sink = desk(delivery_limit=2), MemoryBlobs()
        monkeypatch.setattr(type(d.queue), "ack_timeout", timedelta(seconds=2))
        sink.unavailable = True
        d.publish("a")

        async with d.working(into(sink), probe=sink.probe):
            await until(lambda: d.count(RETRIED, "paused") == 1)
            await asyncio.sleep(5)
            assert 1 == d.broker.ready(d.queue.name)
            sink.unavailable = False
            await until(lambda: d.count(CONSUMED) == 1, 10)
        assert 1 == d.count(RETRIED, "paused")
        assert 0 == d.broker.ready(d.queue.dead)

    run(story())


def test_a_sink_that_is_only_read_from_is_down(desk: Callable[..., Desk]) -> None:
    """Reads work and writes fail: it stays paused, where a probe that reads would end the pause again and again."""

    async def story() -> None:
        d, sink = desk(delivery_limit=2), MemoryBlobs()
        sink.read_only = True
        d.publish("a")

        async with d.working(into(sink), probe=sink.probe):
            await until(lambda: d.count(PAUSED) == 1)
            await asyncio.sleep(5)
            assert (1, ["a"]) == (d.count(PAUSED), d.seen)
            sink.read_only = False
            await until(lambda: d.count(CONSUMED) == 1, 10)
        assert 0 == d.count(RETRIED, "sink_unavailable")
        assert 0 == d.broker.ready(d.queue.dead)

    run(story())


def test_short_outages_one_after_the_other_are_held_as_one(
    desk: Callable[..., Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is shorter than an event may be held, all of them longer: it goes back before the broker takes it away."""

    async def story() -> None:
        d, began = desk(delivery_limit=20), asyncio.get_running_loop().time()
        monkeypatch.setattr(type(d.queue), "ack_timeout", timedelta(seconds=6))
        returned: list[float] = []
        answers = iter([False, False, True] * 100)  # down when it is asked why, up when it is watched

        async def flapping() -> None:
            if not next(answers):
                raise Retry(Later.SINK_UNAVAILABLE, "503")
            await asyncio.sleep(1)

        async def write(_: Event) -> bool:
            if d.count(RETRIED, "paused"):
                return True
            returned.append(asyncio.get_running_loop().time() - began)
            raise Retry(Later.SINK_UNAVAILABLE, "503")

        d.publish("a")
        async with d.working(write, probe=flapping):
            await until(lambda: d.count(CONSUMED) == 1, 30)
        assert 1 == d.count(RETRIED, "paused")
        assert returned[-1] - returned[0] <= 3.5, "half of six seconds, and the last try"

    run(story())


def test_a_probe_that_breaks_keeps_the_event(desk: Callable[..., Desk], capfd: pytest.CaptureFixture[str]) -> None:
    """An error that nobody foresaw in the probe is told, and the sink is taken to be down until it is over."""

    async def story() -> None:
        d, faults = desk(), [ValueError("of the probe")] * 3
        d.publish("a")

        async def broken() -> None:
            if faults:
                raise faults.pop()

        async def write(_: Event) -> bool:
            if len(d.seen) == 1:
                raise Retry(Later.SINK_UNAVAILABLE, "503")
            return True

        async with d.working(write, probe=broken):
            await until(lambda: d.count(CONSUMED) == 1)

    run(story())
    assert 3 == sum(line.get("message") == "the probe failed unexpectedly" for line in lines(capfd.readouterr().out))


def test_a_sink_that_fails_now_and_then_is_not_down(desk: Callable[..., Desk]) -> None:
    """An event fails, and so does the first probe: the second one answers, and nothing is paused."""

    async def story() -> None:
        d, answers = desk(), [Retry(Later.SINK_UNAVAILABLE, "503")]
        d.publish("a")

        async def probe() -> None:
            if answers:
                raise answers.pop()

        async def write(_: Event) -> bool:
            if len(d.seen) == 1:
                raise Retry(Later.SINK_UNAVAILABLE, "503")
            return True

        async with d.working(write, probe=probe) as worker:
            await until(lambda: d.count(RETRIED, "sink_unavailable") == 1)
            assert ("", 0) == (worker.paused, d.count(PAUSED))
            await until(lambda: d.count(CONSUMED) == 1)

    run(story())


def test_one_event_that_fails_is_no_outage(desk: Callable[..., Desk]) -> None:
    """The sink answers its probe: the event is tried again by itself, and the others go on."""

    async def story() -> None:
        d, sink = desk(), MemoryBlobs()
        d.publish("bad", *(f"e{n}" for n in range(20)))

        async def write(event: Event) -> bool:
            if event.id == "bad" and d.seen.count("bad") == 1:
                raise Retry(Later.SINK_UNAVAILABLE, "503")
            return await sink.create(event.id, b"", event.body_hash)

        async with d.working(write, probe=sink.probe):
            await until(lambda: d.count(CONSUMED) == 21)
        assert 1 == d.count(RETRIED, "sink_unavailable")

    run(story())


def test_a_sink_that_throttles_everything_is_waited_for(desk: Callable[..., Desk]) -> None:
    """An hour of it would cost every event all of its tries."""

    async def story() -> None:
        d, relieved = desk(delivery_limit=2), asyncio.Event()
        d.publish(*(f"e{n}" for n in range(20)))

        async def throttled(*_: Event) -> bool:
            if not relieved.is_set():
                raise Retry(Later.SINK_THROTTLED, "429")
            return True

        async with d.working(throttled, probe=throttled):
            await until(lambda: d.count(PAUSED) == 1)
            await asyncio.sleep(4)
            assert 19 == d.broker.ready(d.queue.name)
            relieved.set()
            await until(lambda: d.count(CONSUMED) == 20)
        assert 0 == d.count(RETRIED, "sink_throttled")

    run(story())


def test_a_sink_that_throttles_now_and_then_is_not_down(desk: Callable[..., Desk]) -> None:
    """As long as its probe gets through, one by one is tried again."""

    async def story() -> None:
        d = desk()
        d.publish("a")

        async with d.working(failing(Retry(Later.SINK_THROTTLED, "429"))):
            await until(lambda: d.count(CONSUMED) == 1)
        assert (0, 1) == (d.count(PAUSED), d.count(RETRIED, "sink_throttled"))

    run(story())
