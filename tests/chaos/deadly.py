"""The scenario of events that kill whoever handles them: they become dead letters, and none beside them does."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterable
from dataclasses import replace

from catalog import Queue
from oncall.letters import GIVEN_UP
from proof import expect
from proof.plan import Message
from tests.brokers import eventually, lines
from tests.chaos.campaign import Lab
from tests.chaos.figures import Row, exactly, fates, none
from tests.chaos.ledger import Account
from tests.chaos.lowered import policy
from tests.chaos.world import Scene, World

# Charges that an event outlives; production's are 20. Before 4.3 what waits beside a suspect stays in hand, since
# giving it back is charged too, and shares its crashes: at a limit of 4 one innocent of 24,000 became a dead letter.
LIMITS = {"4.3": 4, "4.0": 8}
SOON = {"delayed_retry_min": 100, "delayed_retry_max": 500}  # ms, where the broker delays retries
GOOD = 600
WORKERS = (1, 4)
PATIENCE = 120.0  # seconds for one round


def deadly(lab: Lab, world: World) -> Row:
    """5: events whose handling ends the process, among good ones; a supervisor starts it again each time.

    In a service of one queue, and in one whose process has a second one, which must not be charged either.
    """
    seeds = {"analytics-service": lab.of(20), "logging": lab.of(5)}
    rounds = {
        (service, workers): [_round(world, service, f"{number}/{workers}") for number in range(count)]
        for service, count in seeds.items()
        for workers in WORKERS
    }
    messages = [message for some in rounds.values() for one in some for message in one]
    culprits = [message for message in messages if message.kind == GIVEN_UP]
    queues = [queue for service in seeds for queue in world.catalog.queues_of(service)]
    letters, limit = sum(map(_letters, culprits)), LIMITS[world.version]
    lowered = {"delivery_limit": limit, **(SOON if world.version == "4.3" else {})}
    with policy(world, *queues, **lowered), world.scene() as scene:
        progress, stuck = {service: _Progress(scene, service) for service in seeds}, 0
        for (service, workers), some in rounds.items():
            names = [f"{service}.{number}" for number in range(workers)]
            for name in names:
                ids = ",".join(message.identity for message in culprits)
                scene.start(name, ("-m", "tests.chaos.again"), CHAOS_DEADLY=ids)
            for one in some:
                scene.preload(one)
                stuck += not _in_time(progress[service], one)
            scene.settle()
            for name in names:
                scene.end(name, signal.SIGTERM)
        crashes, alone = len(scene.log.lines(message="died")), len(scene.log.lines(alone=True))
        found = scene.account()
        innocents = len(_buried(found, queues) - {entry.place for one in culprits for entry in one.becomes.values()})
        return Row(
            f"{', '.join(f'{count} seeds of {service}' for service, count in seeds.items())}, 1 and 4 workers,"
            f" {len(culprits)} culprits among {len(messages) - len(culprits):,}, limit {limit},"
            f" {crashes:,} crashes, {alone:,} handled alone",
            [
                *fates(found, dead=letters),
                exactly("culprits dead-lettered", letters, found.buried - innocents),
                none("innocents dead-lettered", innocents),
                none("rounds without an end", stuck),
                none("ended otherwise", scene.ended_alone),
            ],
        )


def _buried(found: Account, queues: Iterable[Queue]) -> set[str]:
    """Places of dead letters that nobody asked for, also of what was written first and never acknowledged."""
    heads = tuple(f"{queue.dead}: " for queue in queues)
    wrong = (place for place in (*found.unexpected, *found.duplicated) if place.startswith(heads))
    return {place.partition(": ")[2] for place in wrong}


def _letters(message: Message) -> int:
    return len(message.becomes) if message.kind == GIVEN_UP else 0


def _round(world: World, service: str, name: str) -> list[Message]:
    """600 good events and one to five deadly ones at random places among them, of this service's queues only."""
    chance, queues = random.Random(f"{world.seed}/{service}/{name}"), world.catalog.queues_of(service)
    other = {key for queue in world.catalog.queues if queue not in queues for key in queue.keys}
    keys = sorted({key for queue in queues for key in queue.keys} - other)
    messages = world.take(GOOD, *keys)
    for message in world.take(chance.randint(1, 5), *keys):
        letters = {
            queue.name: expect.dead_letter(queue, message.identity, GIVEN_UP, message.body)
            for queue in queues
            if queue.name in message.becomes
        }
        messages.insert(chance.randrange(len(messages) + 1), replace(message, kind=GIVEN_UP, becomes=letters))
    return messages


def _in_time(progress: _Progress, messages: list[Message]) -> bool:
    """Whether a round came to its end; one that did not is told by its figures, and the next ones are played."""
    progress.dead += sum(map(_letters, messages))
    try:
        eventually(lambda: progress.done(messages), PATIENCE)
    except AssertionError:
        return False
    return True


class _Progress:
    """What the log of a service tells so far, read on from where the last look ended; `dead` are the letters due."""

    def __init__(self, scene: Scene, service: str) -> None:
        self._scene, self._queues = scene, scene.world.catalog.queues_of(service)
        self.dead = sum(len(scene.before.dead[queue.name]) for queue in self._queues)
        self._log = scene.world.home / f"{service}.log"
        self._at = self._log.stat().st_size if self._log.exists() else 0
        self._written = set[tuple[str, str]]()

    def done(self, messages: list[Message]) -> bool:
        """Whether every good one of these is written and so many letters are dead; acks may still be on their way."""
        with self._log.open("rb") as log:
            log.seek(self._at)
            ended = log.read().rpartition(b"\n")[0]
        self._at += len(ended)
        told = lines(ended.decode(errors="replace"))
        self._written |= {
            (line["queue"], line["id"]) for line in told if line.get("verdict") in ("written", "duplicate")
        }
        good = {(queue, message.identity) for message in messages if not _letters(message) for queue in message.becomes}
        return good <= self._written and self._held() >= self.dead

    def _held(self) -> int:
        return sum(self._scene.stand.api.held(queue.dead)[0] for queue in self._queues)
