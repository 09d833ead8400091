"""Scenario of time: what consumers hold in memory after very many events, and whether it still grows."""

from __future__ import annotations

import statistics
import time

from tests.brokers import SLOWER
from tests.chaos.campaign import Lab
from tests.chaos.figures import Figure, Row, at_most, fates
from tests.chaos.world import SERVICES, Scene, World

EVERY = 1.0  # seconds between two looks
MOST = 130.0  # MB
PATIENCE, SLOWEST = 120.0, 50.0  # seconds, and events/s; `SLOWER` than that, and something has stopped
FLAT = 10.0  # MB per 100,000 events; what allocators keep back moves by some MB on the way


def flat(lab: Lab, world: World) -> Row:
    """16: each service from its first to its last event in one process, undisturbed."""
    count = lab.of(100_000, 1_000)
    looks: dict[str, list[tuple[float, float]]] = {name: [] for name in SERVICES}
    with world.scene() as scene:
        for name in SERVICES:
            scene.start(name)
        scene.consuming()
        stream = scene.publish(world.mixed(count), 1_000)
        until = time.monotonic() + SLOWER * (PATIENCE + count / SLOWEST)
        while not (stream.done and not world.ready()):
            assert time.monotonic() < until, f"{world.ready():,} events still wait: {scene.stand.held()}"
            time.sleep(EVERY)
            _look(scene, looks, len(stream.confirmed) - world.ready() / 2)
        scene.settle(120)
        _look(scene, looks, count)
        scene.end_all()
        figures = [*fates(scene.account())]
        for name, seen in looks.items():
            last = seen[len(seen) // 2 :]
            slope = statistics.linear_regression(*zip(*last, strict=True)).slope * 100_000 if len(last) > 2 else 0.0
            is_flat = len(last) > 2 and slope <= FLAT
            told = f"{slope:+.1f} MB per 100,000 events"
            figures.append(at_most(f"RSS of {name}", MOST, max(size for _, size in seen), "MB"))
            if lab.measures:
                figures.append(
                    Figure(f"its slope over the second half of {name}", f"<= {FLAT:g} MB", told, met=is_flat)
                )
        return Row(f"{count:,} events", figures)


def _look(scene: Scene, looks: dict[str, list[tuple[float, float]]], handled: float) -> None:
    for name, seen in looks.items():
        seen.append((handled, scene.rss(name)))
