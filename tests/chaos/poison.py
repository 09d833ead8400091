"""The scenario of bad input: what can never be written becomes a dead letter, and what is corrected is written."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple
from uuid import uuid5

import pika
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from catalog import Catalog, Queue
from consumers import dead
from consumers.events import MAX_BODY, MAX_DEPTH
from consumers.verdicts import Never
from oncall.__main__ import COMMANDS
from oncall.broker import channel
from oncall.command import parser_of
from oncall.letters import Letter, read
from proof import expect
from proof.plan import Message, good
from proof.portfolio import NAMESPACE, TRIGGER, Envelope, encode
from tests.chaos.campaign import Lab
from tests.chaos.figures import Row, exactly, fates, none
from tests.chaos.world import RATE, SERVICES, Scene, World

TRICKS = st.sampled_from(
    ["../", "..\\", "%2e%2e%2f", "%2F", "/", "\\", "\0", "..", "?", "#", "=2e", "==", "-", "CON", "aA", "ß", "é", " "]
)
HEALTH = list(HealthCheck)
no_text = st.integers() | st.lists(st.integers(), max_size=2) | st.booleans()
nonsense = st.none() | no_text
not_a_number = st.text(max_size=9) | st.booleans() | st.lists(st.integers(), max_size=2)
# One of each way that a key can go: into one queue each, and into two that judge the data differently.
KEYS = ("risk.evaluated", "risk.prediction.generated", "llm.inference.completed", TRIGGER)

Spoil = Callable[[Envelope, Any], bytes]


class Spoiler(NamedTuple):
    """A way to spoil an event, by one of many values; `data_of` is the handler that cannot take it, else nobody can."""

    reason: Never
    values: st.SearchStrategy[Any]
    spoil: Spoil
    data_of: str = ""


class Spoilt(NamedTuple):
    reason: Never
    key: str
    body: bytes
    data_of: str = ""


def _within(event: Envelope, end: int) -> bytes:
    return encode(event)[: 1 + end % (len(encode(event)) - 1)]


def _field(name: str) -> Spoil:
    return lambda event, wrong: encode({**event, name: wrong})


def _without(event: Envelope, name: str) -> bytes:
    return encode({key: value for key, value in event.items() if key != name})


def _in_data(name: str) -> Spoil:
    return lambda event, wrong: encode({**event, "data": {**event["data"], name: wrong}})


def _endless(event: Envelope, quotes: int) -> bytes:
    """A text that ends nowhere, full of what would be brackets if it ended at any of its quotes."""
    return encode(event)[:-1] + b', "x": "' + b'\\"[' * quotes


def _data(event: Envelope, raw: str) -> bytes:
    return encode({**event, "data": {"x": "mark"}}).replace(b'"mark"', raw.encode())


def _too_large_a_number(event: Envelope, name: str) -> bytes:
    return encode({**event, name: "mark"}).replace(b'"mark"', b"1e999")


SPOILERS = (
    Spoiler(Never.UNDECODABLE, st.binary(min_size=1, max_size=300), lambda _, noise: b"\xff" + noise),
    Spoiler(Never.UNDECODABLE, st.integers(0, 2**16), _within),
    Spoiler(Never.UNDECODABLE, st.integers(8, 40), lambda event, at: b"\xc3\x28".join(_halves(encode(event), at))),
    Spoiler(Never.UNDECODABLE, st.sampled_from(["NaN", "Infinity", "-Infinity"]), _data),
    Spoiler(
        Never.UNDECODABLE, st.integers(MAX_DEPTH, 50_000), lambda event, deep: _data(event, "[" * deep + "]" * deep)
    ),
    Spoiler(Never.UNDECODABLE, st.integers(MAX_DEPTH, 50_000), _endless),
    Spoiler(Never.NO_ID, st.sampled_from(["", " ", "\t\n", None]), _field("id")),
    Spoiler(Never.NO_ID, st.just("id"), _without),
    Spoiler(Never.NO_TYPE, st.sampled_from(["", "  ", None]), _field("type")),
    Spoiler(Never.NO_TYPE, st.just("type"), _without),
    Spoiler(Never.NO_TENANT, st.sampled_from(["", "  ", None]), _field("tenantId")),
    Spoiler(Never.NO_TENANT, st.just("tenantId"), _without),
    Spoiler(Never.BAD_TIMESTAMP, nonsense | st.text(max_size=30), _field("timestamp")),
    Spoiler(Never.BAD_TIMESTAMP, st.just("timestamp"), _without),
    *(Spoiler(Never.WRONG_TYPE, no_text, _field(name)) for name in ("id", "type", "tenantId", "metadata")),
    *(Spoiler(Never.WRONG_TYPE, nonsense, _field(name)) for name in ("version", "source", "data")),
    Spoiler(Never.WRONG_TYPE, st.sampled_from(["version", "source", "data"]), _without),
    Spoiler(
        Never.WRONG_TYPE,
        st.sampled_from(["id", "type", "tenantId", "version", "source", "data", "metadata"]),
        _too_large_a_number,
    ),
    Spoiler(Never.WRONG_TYPE, not_a_number, _in_data("riskScore"), "lake"),
    Spoiler(Never.WRONG_TYPE, not_a_number, _in_data("inferenceMs"), "usage"),
    Spoiler(Never.WRONG_TYPE, nonsense, _in_data("modelId"), "usage"),
    Spoiler(Never.WRONG_TYPE, nonsense, _in_data("job"), "batch"),
    Spoiler(Never.UNKNOWN_JOB, st.text(max_size=20), _in_data("job"), "batch"),
)


def _halves(body: bytes, at: int) -> tuple[bytes, bytes]:
    return body[:at], body[at:]


def spoilers(catalog: Catalog, key: str) -> list[Spoiler]:
    """Those that fit a key: data is spoilt only for a handler that it comes to."""
    handlers = {queue.handler for queue in catalog.queues if key in queue.keys}
    return [one for one in SPOILERS if not one.data_of or one.data_of in handlers]


@st.composite
def malformed(draw: st.DrawFn, catalog: Catalog, models: Sequence[Envelope], names: Iterator[str]) -> Spoilt:
    """A body that must be refused, and for what; each with an id of its own wherever it has one."""
    event = {**draw(st.sampled_from(models)), "id": next(names)}
    reason, values, spoil, data_of = draw(st.sampled_from(spoilers(catalog, event["type"])))
    return Spoilt(reason, event["type"], spoil(event, draw(values)), data_of)


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


def generated(catalog: Catalog, models: Sequence[Envelope], count: int, number: int) -> list[Spoilt]:
    """Bodies of all kinds; one in two thousand has ten megabytes."""
    padding = {"padding": "x" * (10 * MAX_BODY)}
    huge = [
        {**models[place % len(models)], "id": f"huge-{number}-{place}", "data": padding}
        for place in range(len(range(0, count, 2_000)))
    ]
    names = (str(uuid5(NAMESPACE, f"malformed/{number}/{place}")) for place in itertools.count())
    spoilt = drawn(malformed(catalog, models, names), count - len(huge), number)
    return [*spoilt, *(Spoilt(Never.TOO_LARGE, event["type"], encode(event)) for event in huge)]


def tricked(catalog: Catalog, models: Sequence[Envelope], count: int, number: int) -> Iterator[Message]:
    """Good events whose ids would leave their folder, or meet each other there, if they were taken as they are."""
    for place, trick in enumerate(drawn(st.lists(TRICKS, min_size=1, max_size=8).map("".join), count, number)):
        for name in sorted({f"{trick}{place}", f"{place}{trick}", f"{place}{trick}".swapcase()}):
            yield good(catalog, {**models[place % len(models)], "id": name})


def refused(lab: Lab, world: World) -> Row:
    """4: malformed bodies between good events, some with tricky ids; then a dead letter is corrected and replayed."""
    count, beside = lab.of(10_000), lab.of(10_000, 300)
    with world.scene() as scene:
        models = [json.loads(message.body) for message in world.take(60, *KEYS)]
        triggers = [json.loads(world.trigger().body) for _ in range(20)]
        bad = [_bad(world.catalog, spoilt) for spoilt in generated(world.catalog, models + triggers, count, world.seed)]
        letters = sum(_is_letter(entry) for message in bad for entry in message.becomes.values())
        tricky = list(tricked(world.catalog, models, count // 20, world.seed))
        messages = [*world.take(beside), *tricky, *bad]
        scene.chance.shuffle(messages)
        for service in SERVICES:
            scene.start(service)
        usage = world.catalog.queue_of("usage")
        wrong, right = _spoilt_once(world, models)
        corrected = scene.publish([wrong, wrong])
        scene.publish(messages, RATE)
        scene.settle(300)
        found_letters = [one for queue in world.catalog.queues for one in _letters(scene, queue)]
        first_tries = Counter(letter.attempts for letter in found_letters if letter.id != wrong.identity)
        replayed = _replayed(scene, usage, right)
        scene.settle()
        scene.end_all()
        scene.streams.remove(corrected)  # what was refused there is no letter any more
        found = scene.account(right)
        for queue in world.catalog.queues:  # nobody else has to read them all
            world.stand.api.delete(f"queues/%2F/{queue.dead}/contents")
        reasons = Counter(message.kind for message in bad)
        told = ", ".join(f"{number} {reason}" for reason, number in sorted(reasons.items()))
        places = {entry.place for message in bad for entry in message.becomes.values() if _is_letter(entry)}
        return Row(
            f"{len(bad):,} malformed ({told}), {beside:,} good, {len(tricky):,} with tricky ids",
            [
                *fates(found, dead=len(places)),
                exactly("malformed", count, len(bad)),
                exactly("letters", letters, first_tries.total()),
                exactly("after one delivery", letters, first_tries[1]),
                exactly("corrected and replayed", 1, replayed),
                none("ended by themselves", scene.ended_alone),
            ],
        )


def _bad(catalog: Catalog, spoilt: Spoilt) -> Message:
    """What must become of it: a dead letter in each queue that it comes to, unless only one handler looks closely."""
    reason, key, body, data_of = spoilt
    identity = dead.identity(body)
    becomes = {
        queue.name: expect.written(catalog, queue, json.loads(body))
        if data_of and queue.handler != data_of
        else expect.dead_letter(queue, identity, reason.value, body)
        for queue in catalog.queues
        if key in queue.keys
    }
    return Message(reason.value, identity, key, body, becomes)


def _is_letter(entry: expect.Entry) -> bool:
    return "reason" in entry.content


def _letters(scene: Scene, queue: Queue) -> list[Letter]:
    """The letters that this scene made, read and left where they are."""
    known = scene.before.dead[queue.name]
    with channel(scene.stand.endpoints) as opened:
        return [
            letter for letter in read(opened, queue, 1_000_000) if expect.letter_place(queue, letter.key) not in known
        ]


def _spoilt_once(world: World, models: Sequence[Envelope]) -> tuple[Message, Message]:
    """An event of `usage` that is refused, and the same one as it should have been."""
    key = "llm.inference.completed"
    right = {**next(event for event in models if event["type"] == key), "id": f"corrected-{world.seed}"}
    body = encode({**right, "timestamp": "yesterday"})
    return _bad(world.catalog, Spoilt(Never.BAD_TIMESTAMP, key, body)), good(world.catalog, right)


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
