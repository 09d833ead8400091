"""Scenarios of bad input: what can never be written, what kills its process, and a sink that is away."""

from __future__ import annotations

import hashlib
import json
import random
import signal
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pika
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from consumers.dead import identity
from consumers.events import MAX_BODY
from consumers.verdicts import Never
from oncall.broker import channel
from oncall.letters import Letter, read
from proof import expect
from proof.plan import Message, good
from proof.portfolio import Envelope, encode
from tests.brokers import eventually
from tests.chaos.campaign import Lab, Row
from tests.chaos.proxy import Weather
from tests.chaos.world import COLLECTORS, LAB, Scene, World, at_most, exactly, fates, none

RESTART_AFTER = 0.2  # seconds, as a supervisor does
LIMIT = 4  # deliveries, where a process dies at each of them

Spoilt = tuple[Never, bytes]

nonsense = st.none() | st.integers() | st.lists(st.integers(), max_size=2) | st.booleans()


@st.composite
def malformed(draw: st.DrawFn, models: Sequence[Envelope]) -> Spoilt:
    """A body that must be refused, and for what; each with an id of its own wherever it has one."""
    event = {**draw(st.sampled_from(models)), "id": str(UUID(int=draw(st.integers(1, 2**128 - 1))))}
    body = encode(event)
    without = {name: value for name, value in event.items() if name != "id"}
    kinds: list[st.SearchStrategy[Spoilt]] = [
        st.binary(min_size=1, max_size=300).map(lambda noise: (Never.UNDECODABLE, b"\xff" + noise)),
        st.integers(1, len(body) - 1).map(lambda end: (Never.UNDECODABLE, body[:end])),
        st.integers(8, 40).map(lambda at: (Never.UNDECODABLE, body[:at] + b"\xc3\x28" + body[at:])),
        st.sampled_from(["NaN", "Infinity", "-Infinity"]).map(
            lambda word: (Never.UNDECODABLE, encode({**event, "data": {"x": "mark"}}).replace(b'"mark"', word.encode()))
        ),
        st.integers(5_000, 50_000).map(
            lambda deep: (Never.UNDECODABLE, encode({**event, "data": "mark"}).replace(b'"mark"', b"[" * deep))
        ),
        st.sampled_from(["", " ", "\t\n", None]).map(lambda no: (Never.NO_ID, encode({**event, "id": no}))),
        st.just((Never.NO_ID, encode(without))),
        st.sampled_from(["", "  ", None]).map(lambda no: (Never.NO_TENANT, encode({**event, "tenantId": no}))),
        nonsense.filter(lambda wrong: wrong is not None).map(
            lambda no: (Never.WRONG_TYPE, encode({**event, "id": no}))
        ),
        nonsense.map(lambda wrong: (Never.BAD_TIMESTAMP, encode({**event, "timestamp": wrong}))),
        st.text(max_size=30).map(lambda wrong: (Never.BAD_TIMESTAMP, encode({**event, "timestamp": wrong}))),
        nonsense.map(lambda wrong: (Never.WRONG_TYPE, encode({**event, "data": wrong}))),
    ]
    return draw(st.one_of(kinds))


def generated(models: Sequence[Envelope], count: int, number: int) -> list[Spoilt]:
    """So many different ones, the same for the same seed; one in two thousand has ten megabytes."""
    found: dict[bytes, Never] = {}

    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(malformed(models))
    def collect(spoilt: Spoilt) -> None:
        found.setdefault(spoilt[1], spoilt[0])

    collect()
    for place in range(0, count, 2_000):
        huge = {**models[0], "id": f"huge-{number}-{place}", "data": {"padding": "x" * (10 * MAX_BODY)}}
        found[encode(huge)] = Never.TOO_LARGE
    return [(reason, body) for body, reason in found.items()]


def refused(lab: Lab, world: World) -> Row:
    """4: malformed bodies between good events; then one dead letter is corrected and replayed."""
    count, beside = lab.of(10_000), lab.of(10_000, 300)
    keys = ("llm.inference.completed", "risk.prediction.generated")  # each with one queue of its own
    queues = {key: next(queue for queue in world.catalog.queues if key in queue.keys) for key in keys}
    with world.scene() as scene:
        models = [json.loads(message.body) for message in world.take(40, *keys)]
        spoilt = generated(models, count, world.seed)
        bad = [
            _bad(key, queues[key].name, expect.dead_letter(queues[key], _id(body), reason.value), body, reason)
            for number, (reason, body) in enumerate(spoilt)
            for key in [keys[number % 2]]
        ]
        messages = [*world.take(beside), *bad]
        scene.chance.shuffle(messages)
        for service in COLLECTORS:
            scene.start(service)
        scene.publish(messages, 300)
        scene.settle(120)
        letters = [letter for key in keys for letter in _letters(scene, key)]
        fixed = _replayed(scene, models, queues[keys[0]].name)
        scene.settle()
        scene.end_all()
        found = scene.account(fixed)
        ids = {entry.place for message in bad for entry in message.becomes.values()}
        tries = Counter(letter.attempts for letter in letters)
        reasons = Counter(reason.value for reason, _ in spoilt)
        told = ", ".join(f"{number} {reason}" for reason, number in sorted(reasons.items()))
        return Row(
            f"{len(bad):,} malformed ({told}), {beside:,} good, one replayed",
            [
                *fates(found, dead=len(ids)),
                exactly("letters", len(bad), len(letters)),
                exactly("after one delivery", len(bad), tries[1]),
                none("ended by themselves", scene.ended_alone),
            ],
        )


def _id(body: bytes) -> str:
    """The id of a dead letter; said anew, so that a fault of `identity` is one of the scenario."""
    try:
        return identity(body)
    except UnicodeDecodeError:
        return f"sha256:{hashlib.sha256(body).hexdigest()}"


def _bad(key: str, queue: str, entry: expect.Entry, body: bytes, reason: Never) -> Message:
    return Message(reason.value, _id(body), key, body, {queue: entry})


def _letters(scene: Scene, key: str) -> list[Letter]:
    """The letters that this scene made, read and left where they are."""
    queue = next(queue for queue in scene.world.catalog.queues if key in queue.keys)
    known = scene.before.dead[queue.name]
    with channel(scene.stand.endpoints) as opened:
        return [letter for letter in read(opened, queue, 1_000_000) if f"{queue.dead}/{letter.id}" not in known]


def _replayed(scene: Scene, models: Sequence[Envelope], queue: str) -> Message:
    """A refused event, corrected, sent to the queue that refused it; twice, as a hasty operator does."""
    model = next(event for event in models if event["type"] == "llm.inference.completed")
    event = {**model, "id": f"replayed-{scene.world.seed}"}
    message = good(scene.world.catalog, event)
    with scene.world.channel() as opened:
        opened.confirm_delivery()
        for _ in range(2):
            opened.basic_publish("", queue, message.body, pika.BasicProperties(delivery_mode=2), mandatory=True)
    return message


def deadly(lab: Lab, world: World) -> Row:
    """5: events whose handling ends the process, among good ones; a supervisor starts it again each time."""
    seeds, crashes, innocents, culprits, buried = lab.of(20), 0, 0, 0, 0
    figures = []
    queues = tuple(replace(queue, delivery_limit=LIMIT) for queue in LAB.queues)
    with ExitStack() as ending:
        own = World(world.home / "deadly", ending, world.seed, world.version, replace(LAB, queues=queues))
        for number in range(seeds):
            for workers in (1, 4):
                chance = random.Random(f"{world.seed}/{number}/{workers}")
                with own.scene() as scene:
                    messages = own.take(600, "llm.inference.completed", "embedding.generated")
                    chosen = chance.sample(range(600), chance.randint(1, 5))
                    for place in chosen:
                        messages[place] = _culprit(own, messages[place])
                    scene.preload(messages)
                    ids = ",".join(messages[place].identity for place in chosen)
                    crashes += _supervised(scene, workers, ids, len(chosen))
                    found = scene.account()
                    culprits += len(chosen)
                    innocents += len(found.lost) + len([place for place in found.unexpected if "dead" in place])
                    buried += found.buried
                    figures = fates(found, dead=len(chosen))[:4]
    return Row(
        f"{seeds} seeds, 1 and 4 workers, {culprits} culprits among {1_200 * seeds:,}, {crashes} crashes",
        [*figures, exactly("culprits dead-lettered", culprits, buried), none("innocents", innocents)],
    )


def _culprit(world: World, message: Message) -> Message:
    """The same event, which becomes a dead letter by the limit of deliveries."""
    queue = world.catalog.queue_of("usage")
    entry = expect.dead_letter(queue, message.identity, "delivery_limit")
    return replace(message, kind="delivery_limit", becomes={queue.name: entry})


def _supervised(scene: Scene, workers: int, ids: str, culprits: int) -> int:
    """Keep the workers running until the queue is settled; the number of crashes."""
    names = [f"analytics-service.{number}" for number in range(workers)]
    crashes, until = 0, time.monotonic() + 60 + 40 * culprits
    quiet = 0.0
    while quiet < 3.0:
        assert time.monotonic() < until, f"not settled after {crashes} crashes"
        for name in names:
            process = scene.running.get(name)
            if process is None or process.poll() is not None:
                crashes += process is not None
                scene.start(name, ("-m", "tests.chaos.odd"), CHAOS_DEADLY=ids)
        time.sleep(RESTART_AFTER)
        quiet = 0.0 if scene.world.ready() or scene.stand.held() else quiet + RESTART_AFTER
    for name in names:
        scene.end(name, signal.SIGTERM)
    return crashes


def down(lab: Lab, world: World) -> Row:
    """2: both sinks down while events arrive, three replicas of each collector; then a sink that flaps."""
    away, flaps = max(20.0, 600.0 * min(1.0, lab.scale)), lab.of(12)
    with world.scene() as scene:
        for service in COLLECTORS:
            for number in range(3):
                scene.start(f"{service}.{number}")
        scene.consuming()
        scene.publish(world.take(200), 100).join()
        _weather(world, down=True)
        scene.publish(world.take(int(10 * away)), 10)
        time.sleep(away)
        _weather(world, down=False)
        back = _first_write(scene)
        scene.settle(300)
        tries = [line for service in COLLECTORS for line in scene.logged(service) if "verdict" in line]
        again = sum(int(line["attempt"]) > 1 for line in tries)
        scene.publish(world.take(25 * flaps * 5), 5)
        for _ in range(flaps):
            time.sleep(5)
            _weather(world, down=True)
            time.sleep(20)
            _weather(world, down=False)
        scene.settle(300)
        scene.end_all()
        most = sum(queue.prefetch * 3 for queue in world.catalog.queues if queue.service in COLLECTORS)
        return Row(
            f"down for {away:.0f} s, then {flaps} times 20 s, 3 replicas",
            [
                *fates(scene.account()),
                at_most("writing again", 10, back),
                at_most("redeliveries in the outage", most, again, "events"),
                none("ended by themselves", scene.ended_alone),
            ],
        )


def _weather(world: World, *, down: bool) -> None:
    world.lake.weather, world.cosmos.weather = Weather(down=down), Weather(down=down)


def _first_write(scene: Scene) -> float:
    """Seconds from now until every collector has written something."""
    began, now = time.monotonic(), datetime.now(UTC).isoformat()

    def written() -> bool:
        return all(
            any(line.get("verdict") == "written" and line["time"] > now for line in scene.logged(service))
            for service in COLLECTORS
        )

    eventually(written, 60)
    return time.monotonic() - began
