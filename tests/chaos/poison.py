"""The scenario of bad input: what can never be written becomes a dead letter, and what is corrected is written."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from uuid import uuid5

import pika
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from catalog import Catalog, Queue
from consumers.dead import identity
from consumers.events import MAX_BODY
from consumers.verdicts import Never
from oncall.__main__ import COMMANDS
from oncall.broker import channel
from oncall.command import parser_of
from oncall.letters import Letter, read
from proof import expect
from proof.plan import Message, good
from proof.portfolio import NAMESPACE, Envelope, encode
from tests.chaos.campaign import Lab
from tests.chaos.figures import Row, exactly, fates, none
from tests.chaos.world import COLLECTORS, RATE, Scene, World

Spoilt = tuple[Never, bytes]

TRICKS = st.sampled_from(
    ["../", "..\\", "%2e%2e%2f", "%2F", "/", "\\", "\0", "..", "?", "#", "=2e", "==", "-", "CON", "aA", "ß", "é", " "]
)
HEALTH = list(HealthCheck)
nonsense = st.none() | st.integers() | st.lists(st.integers(), max_size=2) | st.booleans()


Spoil = Callable[[Envelope, Any], bytes]


def _within(event: Envelope, end: int) -> bytes:
    return encode(event)[: 1 + end % (len(encode(event)) - 1)]


def _field(name: str) -> Spoil:
    return lambda event, wrong: encode({**event, name: wrong})


def _data(event: Envelope, raw: str) -> bytes:
    return encode({**event, "data": {"x": "mark"}}).replace(b'"mark"', raw.encode())


SPOILERS: tuple[tuple[Never, st.SearchStrategy[Any], Spoil], ...] = (
    (Never.UNDECODABLE, st.binary(min_size=1, max_size=300), lambda _, noise: b"\xff" + noise),
    (Never.UNDECODABLE, st.integers(0, 2**16), _within),
    (Never.UNDECODABLE, st.integers(8, 40), lambda event, at: b"\xc3\x28".join(_halves(encode(event), at))),
    (Never.UNDECODABLE, st.sampled_from(["NaN", "Infinity", "-Infinity"]), _data),
    (Never.UNDECODABLE, st.integers(5_000, 50_000), lambda event, deep: _data(event, "[" * deep)),
    (Never.NO_ID, st.sampled_from(["", " ", "\t\n", None]), _field("id")),
    (Never.NO_ID, st.just("id"), lambda event, name: encode({k: v for k, v in event.items() if k != name})),
    (Never.NO_TENANT, st.sampled_from(["", "  ", None]), _field("tenantId")),
    (Never.WRONG_TYPE, nonsense.filter(lambda wrong: wrong is not None), _field("id")),
    (Never.BAD_TIMESTAMP, nonsense | st.text(max_size=30), _field("timestamp")),
    (Never.WRONG_TYPE, nonsense, _field("data")),
)


def _halves(body: bytes, at: int) -> tuple[bytes, bytes]:
    return body[:at], body[at:]


@st.composite
def malformed(draw: st.DrawFn, models: Sequence[Envelope], names: Iterator[str]) -> Spoilt:
    """A body that must be refused, and for what; each with an id of its own wherever it has one."""
    event = {**draw(st.sampled_from(models)), "id": next(names)}
    reason, strategy, spoil = draw(st.sampled_from(SPOILERS))
    return reason, spoil(event, draw(strategy))


def drawn(strategy: st.SearchStrategy[Any], count: int, number: int) -> list[Any]:
    """So many different examples of what can be hashed, the same for the same seed."""
    found: dict[Any, None] = {}

    @settings(max_examples=500, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=HEALTH)
    @given(strategy)
    def collect(example: Any) -> None:
        found.setdefault(example)

    for again in range(2 + count // 100):  # in small parts: what was drawn before slows down what comes
        if len(found) < count:
            seed(1_000 * number + again)(collect)()
    return list(found)[:count]


def generated(models: Sequence[Envelope], count: int, number: int) -> list[Spoilt]:
    """Bodies of all kinds; one in two thousand has ten megabytes."""
    huge = [
        {**models[0], "id": f"huge-{number}-{place}", "data": {"padding": "x" * (10 * MAX_BODY)}}
        for place in range(0, count, 2_000)
    ]
    names = (str(uuid5(NAMESPACE, f"malformed/{number}/{place}")) for place in itertools.count())
    spoilt = drawn(malformed(models, names), count - len(huge), number)
    return [*spoilt, *((Never.TOO_LARGE, encode(event)) for event in huge)]


def tricked(catalog: Catalog, models: Sequence[Envelope], count: int, number: int) -> Iterator[Message]:
    """Good events whose ids would leave their folder, or meet each other there, if they were taken as they are."""
    for place, trick in enumerate(drawn(st.lists(TRICKS, min_size=1, max_size=8).map("".join), count, number)):
        for name in sorted({f"{trick}{place}", f"{place}{trick}", f"{place}{trick}".swapcase()}):
            yield good(catalog, {**models[place % len(models)], "id": name})


def refused(lab: Lab, world: World) -> Row:
    """4: malformed bodies between good events, some with tricky ids; then a dead letter is corrected and replayed."""
    count, beside = lab.of(10_000), lab.of(10_000, 300)
    keys = ("llm.inference.completed", "risk.prediction.generated")  # each with one queue of its own
    queues = {key: next(queue for queue in world.catalog.queues if key in queue.keys) for key in keys}
    with world.scene() as scene:
        models = [json.loads(message.body) for message in world.take(40, *keys)]
        bad = [
            _bad(queues[key], key, body, reason)
            for number, (reason, body) in enumerate(generated(models, count, world.seed))
            for key in [keys[number % 2]]
        ]
        tricky = list(tricked(world.catalog, models, count // 20, world.seed))
        messages = [*world.take(beside), *tricky, *bad]
        scene.chance.shuffle(messages)
        for service in COLLECTORS:
            scene.start(service)
        wrong, right = _spoilt_once(world, models, keys[0])
        corrected = scene.publish([wrong, wrong])
        scene.publish(messages, RATE)
        scene.settle(300)
        letters = [letter for key in keys for letter in _letters(scene, queues[key]) if letter.id != wrong.identity]
        replayed = _replayed(scene, queues[keys[0]], right)
        scene.settle()
        scene.end_all()
        scene.streams.remove(corrected)  # what was refused there is no letter any more
        found = scene.account(right)
        for queue in world.catalog.queues:  # nobody else has to read them all
            world.stand.api.delete(f"queues/%2F/{queue.dead}/contents")
        reasons = Counter(message.kind for message in bad)
        told = ", ".join(f"{number} {reason}" for reason, number in sorted(reasons.items()))
        return Row(
            f"{len(bad):,} malformed ({told}), {beside:,} good, {len(tricky):,} with tricky ids",
            [
                *fates(found, dead=len({entry.place for message in bad for entry in message.becomes.values()})),
                exactly("letters", len(bad), len(letters)),
                exactly("after one delivery", len(bad), Counter(letter.attempts for letter in letters)[1]),
                exactly("corrected and replayed", 1, replayed),
                none("ended by themselves", scene.ended_alone),
            ],
        )


def _bad(queue: Queue, key: str, body: bytes, reason: Never) -> Message:
    identity = _id(body)
    return Message(reason.value, identity, key, body, {queue.name: expect.dead_letter(queue, identity, reason.value)})


def _id(body: bytes) -> str:
    """The id of a dead letter; said anew, so that a fault of `identity` is one of the scenario."""
    try:
        return identity(body)
    except UnicodeDecodeError:
        return f"sha256:{hashlib.sha256(body).hexdigest()}"


def _letters(scene: Scene, queue: Queue) -> list[Letter]:
    """The letters that this scene made, read and left where they are."""
    known = scene.before.dead[queue.name]
    with channel(scene.stand.endpoints) as opened:
        return [letter for letter in read(opened, queue, 1_000_000) if f"{queue.dead}/{letter.id}" not in known]


def _spoilt_once(world: World, models: Sequence[Envelope], key: str) -> tuple[Message, Message]:
    """An event that is refused, and the same one as it should have been."""
    right = {**next(event for event in models if event["type"] == key), "id": f"corrected-{world.seed}"}
    body = encode({**right, "timestamp": "yesterday"})
    return _bad(world.catalog.queue_of("usage"), key, body, Never.BAD_TIMESTAMP), good(world.catalog, right)


def _replayed(scene: Scene, queue: Queue, right: Message) -> int:
    """How many events `oncall` gave back; it came twice, and once more, as from one who died before the letter went."""
    file = scene.world.home / "corrected.json"
    file.write_bytes(right.body)
    words = ["dead", "replay", queue.name, "--id", right.identity, "--body", str(file), "--limit", "1000000", "--yes"]
    options = parser_of(COMMANDS).parse_args(words)
    answer = options.command.run(options, scene.stand.endpoints)
    with scene.world.channel() as opened:
        opened.confirm_delivery()
        opened.basic_publish("", queue.name, right.body, pika.BasicProperties(delivery_mode=2), mandatory=True)
    return int(answer.data["replayed"])
