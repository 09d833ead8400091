"""Scenarios of traffic under faults: kills, cut connections, failing sinks, ending in order, midnight, scaling."""

from __future__ import annotations

import signal
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import requests

from infra.broker_api import Refused
from infra.topology import user_of
from proof.plan import Message
from tests.brokers import eventually
from tests.chaos.campaign import Lab
from tests.chaos.figures import Row, at_least, at_most, fates, none
from tests.chaos.ledger import Publishing
from tests.chaos.proxy import Weather
from tests.chaos.runs import filled, going_on, of_events, snapshots
from tests.chaos.world import BATCH, COLLECTORS, SERVICES, Scene, World, message_of
from tests.cluster.publishing import FIRST

USAGE_ONLY = ("llm.inference.completed", "embedding.generated")
LOSSY = Weather(unavailable=0.05, lost=0.01)
PATIENCE = 1_800.0  # seconds; 100,000 events come faster than two cores write them under all this, how fast is told
FELT_WITHIN = timedelta(seconds=3)  # a reset comes with the next thing that goes over the wire
EXIT_WITHIN, BATCH_EXIT_WITHIN = 10.0, 30.0
THROTTLED, RETRY_AFTER = 0.3, 50  # the share of writes, and what they are told to wait in ms
MIDNIGHT = "2026-03-14T23:59:59.999Z"


def kills(lab: Lab, world: World) -> Row:
    """1: disturbances of all kinds in random order, evenly spread over the publishing, while sinks fail throughout."""
    events, broker, killed = lab.of(100_000, 5_000), lab.of(20, 2), lab.of(50, 10)
    closed, resets, moments = lab.of(200, 4), lab.of(20), list[datetime]()
    with world.scene() as scene:
        world.lake.weather, world.cosmos.weather = LOSSY, LOSSY
        for service in SERVICES:
            scene.start(service)
        scene.consuming()
        disturbances: list[Callable[[], None]] = [
            *[lambda: world.stand.restart_broker(signal.SIGKILL)] * broker,
            *[lambda name=SERVICES[n % 3]: _killed(scene, name) for n in range(killed)],  # type: ignore[misc]
            *[lambda: _close_one(scene)] * closed,
            *[lambda: _reset(scene, moments)] * resets,
        ]
        scene.chance.shuffle(disturbances)
        stream = scene.publish(world.mixed(events))
        for number, disturb in enumerate(disturbances, 1):
            _until_confirmed(stream, events * number // (len(disturbances) + 1))
            disturb()
        took = scene.settle(PATIENCE)
        rss = {name: scene.rss(name) for name in scene.running}
        scene.end_all()
        found = scene.account()
        equal, others = of_events(scene)
        refused, lost = (
            sum(proxy.seen[how] for proxy in (world.lake, world.cosmos)) for how in ("unavailable", "lost")
        )
        again = sum(int(line["attempt"]) > 1 for service in SERVICES for line in _verdicts(scene, service))
        return Row(
            f"{events:,} events, {broker} broker kills, {killed} consumer kills, {closed} closes,"
            f" {resets} resets, {refused} sink calls refused, {lost} answers lost,"
            f" settled {took:.0f} s after the last event",
            [
                *fates(found),
                none("ended by themselves", scene.ended_alone),
                at_least("sink calls refused", 0.03 * events, refused, "calls"),
                at_least("answers of sinks lost", 0.005 * events, lost, "calls"),
                at_least("subscriptions closed by force", closed, len(_lost(scene, "CONNECTION_FORCED")), "times"),
                at_least("resets that cut a connection", 0.9 * resets, _felt(scene, moments), "resets"),
                none("snapshots of no event, or altered", others),
                *([at_least("snapshots of events", 1, equal, "documents")] if lab.measures else []),
                at_least("delivered again", lab.of(500), again, "events"),
                at_most("largest RSS", 130, max(rss.values()), "MB"),
            ],
        )


def _killed(scene: Scene, name: str) -> None:
    """Kill a service at work and start it again."""
    scene.consuming(*(queue.name for queue in scene.world.catalog.queues_of(name)), within=60)
    scene.end(name, signal.SIGKILL)
    scene.start(name)


def _close_one(scene: Scene) -> None:
    """Close what one service has open, as an operator would, once any has: a broker that is coming back has none.

    By its user, since the list of all connections shows one some seconds after it was opened.
    """
    order = scene.chance.sample(SERVICES, len(SERVICES))

    def closed() -> bool:
        for service in order:
            path = f"connections/username/{user_of(service, 1)}"
            with suppress(Refused, requests.RequestException):
                if scene.stand.api.get(path):
                    scene.stand.api.delete(path)
                    return True
        return False

    eventually(closed, 60)


def _reset(scene: Scene, moments: list[datetime]) -> None:
    """Reset every connection, once there are some."""
    scene.consuming(within=60)
    moments.append(datetime.now(UTC))
    scene.world.wire.reset()


def _lost(scene: Scene, why: str) -> list[datetime]:
    """When subscriptions were lost for a reason that has these words, by the log's times."""
    lines = scene.log.lines(message="not consuming")
    return [datetime.fromisoformat(line["time"]) for line in lines if why in line["detail"]]


def _felt(scene: Scene, moments: Sequence[datetime]) -> int:
    """After how many of these moments somebody lost a subscription by a reset."""
    lost = _lost(scene, "reset by peer")
    return sum(any(moment <= time < moment + FELT_WITHIN for time in lost) for moment in moments)


def _until_confirmed(stream: Publishing, count: int) -> None:
    eventually(lambda: len(stream.confirmed) >= count or stream.done, 180)


def throttled(lab: Lab, world: World) -> Row:
    """3: backlogs of one size, in turn without and with 429s; the median rate of each form."""
    count, rounds = lab.of(4_000, 300), 3
    rates: dict[float, list[float]] = {0.0: [], THROTTLED: []}
    throttles = world.cosmos.seen["throttled"]
    with world.scene() as scene:
        for weather in (Weather(), Weather(throttled=THROTTLED, retry_after=RETRY_AFTER)) * rounds:
            scene.preload(world.take(count, *USAGE_ONLY))
            world.cosmos.weather = weather
            scene.start("analytics-service")
            scene.settle(300)
            scene.end("analytics-service", signal.SIGTERM)
            world.cosmos.weather = Weather()
            lines = [line for line in _verdicts(scene, "analytics-service") if line["verdict"] == "written"]
            times = [datetime.fromisoformat(line["time"]) for line in lines[-count:]]
            rates[weather.throttled].append(count / (max(times) - min(times)).total_seconds())
        plain, slowed = (statistics.median(found) for found in rates.values())
        size = (
            f"{2 * rounds} x {count:,} events in turn, {world.cosmos.seen['throttled'] - throttles:,} throttled writes,"
            f" medians of {rounds}: {plain:.0f}/s and {slowed:.0f}/s"
        )
        throttled = world.cosmos.seen["throttled"] - throttles
        return Row(
            size,
            [
                *fates(scene.account()),
                at_least("writes throttled", THROTTLED * count, throttled, "writes"),
                *([at_least("rate while throttled", 60, 100 * slowed / plain, "%")] if lab.measures else []),
            ],
        )


def _verdicts(scene: Scene, service: str) -> list[dict[str, str]]:
    return [line for line in scene.log.lines(service) if "verdict" in line]


def terminated(lab: Lab, world: World) -> Row:
    """9: SIGTERM to every consumer at work; a return on purpose costs no try, so none may be seen a second time."""
    rounds, blobs, day = lab.of(20, 2), lab.of(1_500, 700), FIRST - timedelta(days=200)
    rows, stopped = filled(world, day, blobs), set[tuple[str, str]]()
    exits: list[dict[str, float]] = []
    leases, finished = 0, 0
    with world.scene() as scene:
        for _ in range(rounds):
            scene.preload([world.trigger(day)])
            for service in SERVICES:
                scene.start(service)
            scene.consuming()
            if not lab.measures:  # beside others a run comes to its first one later than at the moments below
                eventually(lambda: any(run.checkpoint for run in going_on(scene)), 30)
            scene.publish(world.take(400), 200)  # for two seconds
            time.sleep(scene.chance.uniform(0.3, 1.0))
            told = datetime.now(UTC)
            exits.append(scene.end_together(scene.running))
            written = scene.log.lines(*COLLECTORS, verdict="written")
            finished += any(datetime.fromisoformat(line["time"]) > told for line in written)
            left = going_on(scene)
            stopped |= {(run.trigger, str(run.checkpoint)) for run in left if run.checkpoint}
            leases += sum(run.lease_until > datetime.now(UTC) for run in left)
        for service in SERVICES:
            scene.start(service)
        scene.settle(1_200)  # a run of each round may be left, one after the other
        exits.append(scene.end_together(scene.running))
        lines = [line for service in SERVICES for line in _verdicts(scene, service)]
        tried = {(line["queue"], line["id"]) for line in lines if line["verdict"] == "retried"}  # by the sink's fault
        again = sum(int(line["attempt"]) > 1 and (line["queue"], line["id"]) not in tried for line in lines)
        returned = sum(line["verdict"] == "returned" for line in lines)
        found = scene.account()
        slowest = {name: max(seconds.get(name, 0.0) for seconds in exits) for name in SERVICES}
        return Row(
            f"{rounds} rounds, {found.confirmed:,} events, {rounds} of them runs, {returned} returned on purpose",
            [
                *fates(found),
                none("redeliveries", again),
                at_most("slowest exit", EXIT_WITHIN, max(slowest[name] for name in COLLECTORS)),
                at_most("slowest exit with a run", BATCH_EXIT_WITHIN, slowest[BATCH]),
                at_least("ended with an event in hand", rounds / 2, finished, "times"),
                at_least("stopped at a checkpoint", rounds / 4, len(stopped), "times"),
                none("leases left behind", leases),
                snapshots(scene, rows),
                none("bad exits", scene.ended_alone),
            ],
        )


def midnight(lab: Lab, world: World) -> Row:
    """12: written, the answer lost, the process killed; delivered again to one whose clock shows the next day."""
    count, rounds = lab.of(2_000, 100), lab.of(5)
    with world.scene() as scene:
        for _ in range(rounds):
            models = world.take(count // rounds, "risk.evaluated")
            _cut_off(scene, [message_of(world.catalog, model, timestamp=MIDNIGHT) for model in models])
            scene.start("logging", ("-m", "tests.chaos.odd"), CHAOS_DAYS_AHEAD="1")
            scene.settle()
            scene.end("logging", signal.SIGTERM)
        again = len(scene.log.lines("logging", verdict="duplicate"))
        return Row(
            f"{count:,} events of {MIDNIGHT}, {rounds} kills, {again} of them written before and met again",
            [
                *fates(scene.account()),
                at_least("met again", 10 * rounds, again, "events"),
                none("ended by themselves", scene.ended_alone),
            ],
        )


def _cut_off(scene: Scene, messages: Sequence[Message]) -> None:
    """Kill the process when it has written some of them and heard no answer; the first open its windows."""
    lake, began, few = scene.world.lake, datetime.now(UTC), len(messages) // 4
    scene.start("logging")
    scene.preload(messages[:few])
    for queue in scene.world.catalog.queues_of("logging"):
        scene.log.first("queue", {queue.name: began}, message="consuming", prefetch=queue.prefetch)
    scene.settle()
    lake.weather, spoilt = Weather(lost=1.0), lake.seen["lost"]
    scene.preload(messages[few:])
    eventually(lambda: lake.seen["lost"] > spoilt + 40, 30)
    scene.end("logging", signal.SIGKILL)
    lake.weather = Weather()


def scaled(lab: Lab, world: World) -> Row:
    """15: 1 -> 4 -> 1 replicas of every service under load, the four and the one rolled: replaced, new before old."""
    steps = ((0,), (0, 1, 2, 3), (4, 5, 6, 7), (4,), (8,))
    count, slowest = lab.of(30_000, 1_500), 0.0
    with world.scene() as scene:
        for numbers in steps:
            slowest = max(slowest, _replicas(scene, world.mixed(count // len(steps)), *numbers))
        scene.settle(300)
        slowest = max(slowest, scene.end_all())
        return Row(
            f"{count:,} events and runs, 1 to 4 to 1 replicas, both rolled",
            [
                *fates(scene.account()),
                none("bad exits", scene.ended_alone),
                at_most("slowest exit", BATCH_EXIT_WITHIN, slowest),
            ],
        )


def _replicas(scene: Scene, messages: Sequence[Message], *numbers: int) -> float:
    """Have these replicas of every service, the new ones before the old ones go; the seconds of the slowest to go.

    The messages flow while they go. Service after service, since a start is hard work.
    """
    old = scene.running.keys() - {f"{service}.{number}" for service in SERVICES for number in numbers}
    for service in SERVICES:
        _join(scene, service, numbers)
    stream = scene.publish(messages, 250)
    _until_confirmed(stream, len(messages) // 2)
    return max(scene.end_together(old).values(), default=0.0)


def _join(scene: Scene, service: str, numbers: tuple[int, ...]) -> None:
    for name in sorted({f"{service}.{number}" for number in numbers} - scene.running.keys()):
        scene.start(name)
    running = sum(name.startswith(service) for name in scene.running)
    queues = scene.world.catalog.queues_of(service)
    eventually(lambda: all(scene.world.consumers(queue.name) == running for queue in queues), 60)
