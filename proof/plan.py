"""Between the portfolio and the broker: every message to publish, in order, with what it must become in each queue."""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import uuid5

from catalog import Catalog, Queue
from consumers.dead import LONGEST_ID
from proof import expect
from proof.compare import Content
from proof.expect import Entry
from proof.faults import FAULTS, Fault
from proof.portfolio import NAMESPACE, SEED, TENANTS, Envelope, Window, backfill, encode, events, tenant_id

REPEATED = 0.05  # the share of events that are published twice
AWKWARD = ("../up", "a%2Fb", "Case", "case", "why? #1", "dots...", "long" * 300)  # endings of ids, harmless by contract


@dataclass(frozen=True)
class Message:
    """One publish: `kind` is "event", "duplicate" or the reason for which it is refused.

    `becomes` says per queue what must be found afterwards, in the sink or among the dead letters; a later `wave` is
    published when the one before has settled.
    """

    kind: str
    identity: str
    key: str
    body: bytes
    becomes: Mapping[str, Entry]
    wave: int = 0

    @property
    def label(self) -> str:
        """The message id for AMQP, which takes no long ones."""
        return self.identity if len(self.identity.encode()) <= LONGEST_ID else _hash(self.body)


@dataclass(frozen=True)
class Plan:
    """Everything that is published in one run, in order."""

    catalog: Catalog
    window: Window
    messages: tuple[Message, ...]

    @property
    def backfill(self) -> Message:
        """The trigger of the main job: the last message."""
        return self.messages[-1]

    def waves(self) -> Iterator[list[Message]]:
        for wave in sorted({message.wave for message in self.messages}):
            yield [message for message in self.messages if message.wave == wave]

    def published(self, queue: str) -> int:
        """How many messages are routed into a queue."""
        return sum(queue in message.becomes for message in self.messages)

    def written(self, queue: Queue) -> dict[str, Content]:
        return {place: content for place, content in self._becomes(queue) if not place.startswith(f"{queue.dead}/")}

    def dead(self, queue: Queue) -> dict[str, Content]:
        return {place: content for place, content in self._becomes(queue) if place.startswith(f"{queue.dead}/")}

    def kinds(self) -> Counter[str]:
        return Counter(message.kind for message in self.messages)

    def _becomes(self, queue: Queue) -> Iterator[tuple[str, Content]]:
        for message in self.messages:
            if entry := message.becomes.get(queue.name):
                yield entry.place, entry.content


def plan(catalog: Catalog, now: datetime, seed: int = SEED) -> Plan:
    """The run of a day. Only the triggers depend on the hour, since asking again is a new run of a job."""
    chance, window = random.Random(f"plan/{seed}/{now.date()}"), Window.before(now.date())  # noqa: S311 - no secret
    happened = events(now.date(), seed)
    sound = [good(catalog, event) for event in [*happened, *_awkward(happened)]]
    sound += [good(catalog, backfill(now, Window(window.first, window.first), tenant_id(tenant))) for tenant in TENANTS]
    again = [replace(message, kind="duplicate") for message in chance.sample(sound, int(REPEATED * len(sound)))]
    again.append(replace(sound[-1], kind="duplicate"))
    bad = [message for fault in FAULTS for message in _bad(catalog, fault, happened)]
    main = replace(good(catalog, backfill(now, window)), wave=1)
    messages = _spread(sound, [*again, *(message for message in bad if message.wave == 0)], chance)
    return Plan(catalog, window, (*messages, *(message for message in bad if message.wave), main))


def good(catalog: Catalog, event: Envelope) -> Message:
    """The message of an event that nobody has a reason to refuse."""
    becomes = {queue.name: expect.written(catalog, queue, event) for queue in _bound(catalog, event["type"])}
    return Message("event", event["id"], event["type"], encode(event), becomes)


def _bad(catalog: Catalog, fault: Fault, happened: list[Envelope]) -> Iterator[Message]:
    """Two spoiled messages of one fault, each with an id of its own unless the fault is about a known one."""
    samples = [event for event in happened if event["type"] == fault.key][3:5] or [_trigger_sample(happened)]
    for sample in samples:
        event = sample if fault.wave else _renamed(sample, fault)
        spoiled = fault.spoil(event)
        body = spoiled if isinstance(spoiled, bytes) else encode(spoiled)
        named = not isinstance(spoiled, bytes) and len(str(spoiled.get("id", "")).encode())
        identity = json.loads(body)["id"] if named and named <= LONGEST_ID else _hash(body)
        becomes = {
            queue.name: expect.dead_letter(queue, identity, fault.reason.value, body)
            if not fault.handlers or queue.handler in fault.handlers
            else expect.written(catalog, queue, json.loads(body))
            for queue in _bound(catalog, fault.key)
        }
        yield Message(fault.reason.value, identity, fault.key, body, becomes, fault.wave)


def _renamed(event: Envelope, fault: Fault) -> Envelope:
    return {**event, "id": str(uuid5(NAMESPACE, f"{fault.reason.value}/{fault.handlers}/{event['id']}"))}


def _awkward(happened: list[Envelope]) -> Iterator[Envelope]:
    """Events like others, but with ids that must not become paths or document ids as they are."""
    for key in ("risk.evaluated", "llm.inference.completed"):
        model = next(event for event in happened if event["type"] == key)
        for ending in AWKWARD:
            data = {name: value for name, value in model["data"].items() if name != "evaluationId"}
            event = {**model, "data": {**data, "opportunityId": f"awkward {ending}"[:60]}}
            yield {**event, "id": f"{model['id']}-{ending}"}


def _trigger_sample(happened: list[Envelope]) -> Envelope:
    """A trigger that is not for now: made like the events, so that its spoiled copies are the same all day."""
    at = datetime.fromisoformat(happened[0]["timestamp"])
    return backfill(at, Window.before(at.date()))


def _bound(catalog: Catalog, key: str) -> list[Queue]:
    return [queue for queue in catalog.queues if key in queue.keys]


def _spread(sound: list[Message], others: list[Message], chance: random.Random) -> list[Message]:
    """The others somewhere between the sound ones, half of the duplicates right behind their originals."""
    order = {id(message): float(place) for place, message in enumerate(sound)}
    places = {message.identity: float(place) for place, message in enumerate(sound)}
    for message in others:
        original = places[message.identity] if message.kind == "duplicate" else 0.0
        close = message.kind == "duplicate" and chance.random() < 0.5
        order[id(message)] = original + 0.5 if close else chance.uniform(original, len(sound))
    return sorted([*sound, *others], key=lambda message: order[id(message)])


def _hash(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"
