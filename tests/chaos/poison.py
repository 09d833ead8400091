"""The scenario of bad input: what can never be written becomes a dead letter, and what is corrected is written."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
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
from tests.chaos.campaign import Lab, Row
from tests.chaos.world import COLLECTORS, Scene, World, exactly, fates, none

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
