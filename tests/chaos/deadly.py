"""The scenario of events that kill whoever handles them: they become dead letters, and none beside them does."""

from __future__ import annotations

import random
import signal
from dataclasses import replace

from catalog import Queue
from oncall.letters import GIVEN_UP
from proof import expect
from proof.plan import Message
from tests.brokers import eventually, lines
from tests.chaos.campaign import Lab
from tests.chaos.figures import Row, exactly, fates, none
from tests.chaos.lowered import policy
from tests.chaos.world import Scene, World

# Charges that an event outlives; production's are 20. Before 4.3 what waits beside a suspect stays in hand, since
# giving it back is charged too, and shares its crashes: at a limit of 4 one innocent of 24,000 became a dead letter.
LIMITS = {"4.3": 4, "4.0": 8}
SOON = {"delayed_retry_min": 100, "delayed_retry_max": 500}  # ms, where the broker delays retries
GOOD = 600
KEYS = ("llm.inference.completed", "embedding.generated")  # of one queue each, and the same one
WORKERS = (1, 4)
PATIENCE = 120.0  # seconds for one round


def deadly(lab: Lab, world: World) -> Row:
    """5: events whose handling ends the process, among good ones; a supervisor starts it again each time."""
    seeds, queue = lab.of(20), world.catalog.queue_of("usage")
    rounds = {workers: [_round(world, queue, f"{number}/{workers}") for number in range(seeds)] for workers in WORKERS}
    culprits = [message for some in rounds.values() for one in some for message in one if message.kind == GIVEN_UP]
    limit = LIMITS[world.version]
    lowered = {"delivery_limit": limit, **(SOON if world.version == "4.3" else {})}
    with policy(world, queue, **lowered), world.scene() as scene:
        buried, stuck, progress = 0, 0, _Progress(scene, queue)
        for workers, some in rounds.items():
            names = [f"{queue.service}.{number}" for number in range(workers)]
            for name in names:
                ids = ",".join(message.identity for message in culprits)
                scene.start(name, ("-m", "tests.chaos.again"), CHAOS_DEADLY=ids)
            for messages in some:
                scene.preload(messages)
                buried += sum(message.kind == GIVEN_UP for message in messages)
                stuck += not _in_time(progress, messages, buried)
            scene.settle()
            for name in names:
                scene.end(name, signal.SIGTERM)
        crashes = len(scene.log.lines(queue.service, message="died"))
        alone = sum(line.get("alone", False) for line in scene.log.lines(queue.service))
        found = scene.account()
        innocents = sum(place.startswith(f"{queue.dead}: ") for place in found.unexpected)
        return Row(
            f"{seeds} seeds, 1 and 4 workers, {len(culprits)} culprits among {2 * GOOD * seeds:,}, limit {limit},"
            f" {crashes:,} crashes, {alone:,} handled alone",
            [
                *fates(found, dead=len(culprits)),
                exactly("culprits dead-lettered", len(culprits), found.buried - innocents),
                none("innocents dead-lettered", innocents),
                none("rounds without an end", stuck),
                none("ended otherwise", scene.ended_alone),
            ],
        )


def _round(world: World, queue: Queue, name: str) -> list[Message]:
    """600 good events and one to five deadly ones at random places among them."""
    chance = random.Random(f"{world.seed}/{name}")
    messages = world.take(GOOD, *KEYS)
    for message in world.take(chance.randint(1, 5), *KEYS):
        letter = expect.dead_letter(queue, message.identity, GIVEN_UP, message.body)
        culprit = replace(message, kind=GIVEN_UP, becomes={queue.name: letter})
        messages.insert(chance.randrange(len(messages) + 1), culprit)
    return messages


def _in_time(progress: _Progress, messages: list[Message], dead: int) -> bool:
    """Whether a round came to its end; one that did not is told by its figures, and the next ones are played."""
    try:
        eventually(lambda: progress.done(messages, dead), PATIENCE)
    except AssertionError:
        return False
    return True


class _Progress:
    """What the log of the service tells so far; read on from where the last look ended."""

    def __init__(self, scene: Scene, queue: Queue) -> None:
        self._scene, self._queue = scene, queue
        self._known = len(scene.before.dead[queue.name])
        self._log = scene.world.home / f"{queue.service}.log"
        self._at = self._log.stat().st_size if self._log.exists() else 0
        self._written = set[str]()

    def done(self, messages: list[Message], dead: int) -> bool:
        """Whether every good one of these is written and so many letters are dead; acks may still be on their way."""
        with self._log.open("rb") as log:
            log.seek(self._at)
            ended = log.read().rpartition(b"\n")[0]
        self._at += len(ended)
        told = lines(ended.decode(errors="replace"))
        self._written |= {line["id"] for line in told if line.get("verdict") in ("written", "duplicate")}
        good = {message.identity for message in messages if message.kind != GIVEN_UP}
        return good <= self._written and self._scene.stand.api.held(self._queue.dead)[0] >= self._known + dead
