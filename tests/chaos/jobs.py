"""Scenarios of batch runs: killed anywhere, and asked for twice."""

from __future__ import annotations

import signal
import time
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

from consumers.ledger import MOST_ATTEMPTS, Run
from proof.plan import Message
from tests.brokers import eventually
from tests.chaos.campaign import Lab
from tests.chaos.figures import Row, at_least, at_most, exactly, fates, none
from tests.chaos.odd import DIED
from tests.chaos.proxy import Weather
from tests.chaos.runs import filled, is_ended, run_of, snapshots
from tests.chaos.world import BATCH, Scene, World
from tests.cluster.publishing import FIRST

BOUNDARIES = ("claimed", "written", "checkpoint", "ended", "published", "noted", "answered", "acked")
PER_DAY = (
    1_024  # blobs in four batches; a listing of all in one would take longer than a busy machine has for an answer
)
LONGEST_LIFE = 3.0  # seconds from taking the run up to the kill
SLOW = 0.15  # seconds; a batch waits so long 8 times, and a life sees one of them on average or none
SHORT = 300  # blobs; two batches


def killed(lab: Lab, world: World) -> Row:
    """10: a run killed at random moments, then a run killed at each boundary of its way; each has a day of its own."""
    kills = lab.of(50, 3)
    first, places = FIRST - timedelta(days=100), [FIRST - timedelta(days=20 + n) for n in range(len(BOUNDARIES))]
    days = 1 + kills // 4  # a batch for each kill and more, so that the run outlives them
    rows = [row for n in range(days) for row in filled(world, first + timedelta(days=n), PER_DAY)]
    blobs = len(rows)
    rows += [row for day in places for row in filled(world, day, SHORT)]
    with world.scene() as scene:
        struck, went_back, longest, total = _killed_often(scene, world.trigger(first, days), kills)
        died = [place for place, day in zip(BOUNDARIES, places, strict=True) if _dies(scene, place, world.trigger(day))]
        scene.settle()
        return Row(
            f"{kills} kills of a run over {blobs:,} blobs, {total:.0f} s done again in all;"
            f" a run killed at each of {', '.join(BOUNDARIES)}",
            [
                *fates(scene.account()),
                exactly("kills of a running run", kills, struck),
                exactly("died at boundaries", len(BOUNDARIES), len(died)),
                snapshots(scene, rows),
                none("times a run began again before its checkpoint", went_back),
                at_most("work done again after a kill", 60, longest),
            ],
        )


def _killed_often(scene: Scene, trigger: Message, kills: int) -> tuple[int, int, float, float]:
    """(kills that hit the run at work, checkpoints that went back, most seconds that a kill undid, seconds in all).

    A run that forgets its checkpoint saves one that is behind it: its blobs are counted from the beginning again.
    """
    scene.world.cosmos.weather = Weather(slow=SLOW)
    scene.start(BATCH)
    scene.preload([trigger])
    undone, without_progress, went_back, before = [], 0, 0, None
    for _ in range(kills):
        at_work = _Watch(scene, trigger, before)
        if at_work.ended:
            break
        if without_progress == MOST_ATTEMPTS - 1:  # once more, and it would rightly be given up
            eventually(at_work.moved, 60)
        at_work.look_on(scene.chance.uniform(0, LONGEST_LIFE))
        if at_work.ended:
            break
        scene.end(BATCH, signal.SIGKILL)
        undone.append(at_work.since_checkpoint)
        without_progress = 1 if at_work.moved() else without_progress + 1  # what it died of may be what came next
        went_back += at_work.went_back
        before = run_of(scene, trigger)  # while nobody can take it up: a busy machine may have it read too late
        scene.start(BATCH)
    scene.world.cosmos.weather = Weather()
    eventually(lambda: is_ended(scene, trigger), 600)  # a busy machine has most of it still to do
    scene.end(BATCH, signal.SIGTERM)  # which lets it acknowledge what is done
    return len(undone), went_back, max(undone, default=0.0), sum(undone)


class _Watch:
    """A run from the moment a process took it up, who found it as it was `before`.

    `since_checkpoint` is the work that is not saved yet, in seconds.
    """

    def __init__(self, scene: Scene, trigger: Message, before: Run | None) -> None:
        self._scene, self._trigger = scene, trigger
        self._begin = eventually(lambda: self._taken_after(before), 60)
        self._saved, self._at, self.ended = self._begin.checkpoint, time.monotonic(), self._begin.status != "running"
        # checkpoints that were seen behind the one before
        self.went_back = int(before is not None and _blobs(self._begin.checkpoint) < _blobs(before.checkpoint))

    def _taken_after(self, before: Run | None) -> Run | None:
        run = run_of(self._scene, self._trigger)
        taken = run and (run.published_at or run.lease_until != (before and before.lease_until))
        return run if taken else None

    @property
    def since_checkpoint(self) -> float:
        return time.monotonic() - self._at

    def moved(self) -> bool:
        """Whether it was saved since it was taken up."""
        if run := run_of(self._scene, self._trigger):
            self.ended = run.status != "running"
            if run.checkpoint != self._saved:
                self.went_back += _blobs(run.checkpoint) < _blobs(self._saved)
                self._saved, self._at = run.checkpoint, time.monotonic()
        return self._saved != self._begin.checkpoint

    def look_on(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(0.2, left))
            self.moved()


def _blobs(checkpoint: dict[str, Any]) -> int:
    return int(checkpoint.get("blobs", 0))


def _dies(scene: Scene, place: str, trigger: Message) -> bool:
    """Whether the process died there; a second one brings the run to its end."""
    scene.preload([trigger])
    scene.start(BATCH, ("-m", "tests.chaos.odd"), CHAOS_DIES=place)
    status = scene.running.pop(BATCH).wait(timeout=60)
    scene.start(BATCH)
    eventually(lambda: is_ended(scene, trigger), 90)
    scene.end(BATCH, signal.SIGTERM)
    return status == DIED


def _at_once(answers: list[dict[str, Any]]) -> int:
    """Triggers that a second worker took while the first one's run was going on, by the log's times."""
    runs = {line["id"]: line for line in answers if line["verdict"] == "written"}
    others = [line for line in answers if line["verdict"] == "duplicate" and line["id"] in runs]
    return sum(
        line["replica"] != runs[line["id"]]["replica"] and _ended(line) - _lasted(line) < _ended(runs[line["id"]])
        for line in others
    )


def _ended(line: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(line["time"])


def _lasted(line: dict[str, Any]) -> timedelta:
    return timedelta(milliseconds=line["ms"])


def _taken_over(scene: Scene, trigger: Message) -> tuple[int, int]:
    """How often the run was ended by the worker that was frozen in the middle of it, and by others."""
    scene.world.cosmos.weather = Weather(slow=1.0)
    scene.preload([trigger])
    held = eventually(lambda: run_of(scene, trigger), 60)
    frozen = scene.running[held.owner]
    frozen.send_signal(signal.SIGSTOP)
    try:
        scene.world.cosmos.weather = Weather()
        eventually(lambda: is_ended(scene, trigger), 240)
    finally:
        frozen.send_signal(signal.SIGCONT)

    def answers() -> list[str]:
        return [line["replica"] for line in scene.log.lines(BATCH, id=trigger.identity) if "verdict" in line]

    eventually(lambda: held.owner in answers(), 60)
    ended = Counter(line["replica"] for line in scene.log.lines(BATCH, id=trigger.identity, verdict="written"))
    return ended[held.owner], ended.total() - ended[held.owner]


def twice(lab: Lab, world: World) -> Row:
    """13: two workers, each with the same trigger in hand at once; the trigger is published twice."""
    rounds, day = lab.of(20, 2), FIRST - timedelta(days=50)
    rows = filled(world, day, SHORT)
    with world.scene() as scene:
        for name in (f"{BATCH}.a", f"{BATCH}.b"):
            scene.start(name)
        eventually(lambda: world.consumers(world.catalog.queue_of("batch").name) == 2, 30)
        triggers = [world.trigger(day) for _ in range(rounds)]
        scene.preload([trigger for trigger in triggers for _ in range(2)])
        scene.settle(300)
        answers = [line for line in scene.log.lines(BATCH) if "verdict" in line]
        verdicts = Counter(line["verdict"] for line in answers)
        holder, others = _taken_over(scene, world.trigger(day))
        scene.settle(60)
        scene.end_all()
        return Row(
            f"{rounds} triggers published twice, two workers; then one that is frozen for longer than its lease",
            [
                *fates(scene.account()),
                exactly("runs", rounds, verdicts["written"]),
                exactly("answered by a run that was there", rounds, verdicts["duplicate"]),
                at_least("in the hands of both at once", 1, _at_once(answers), "triggers"),
                exactly("ended by the other while frozen", 1, others),
                none("ended by the frozen one as well", holder),
                snapshots(scene, rows),
                none("bad exits", scene.ended_alone),
            ],
        )
