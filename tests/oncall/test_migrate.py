"""A classic queue of before our time becomes a quorum queue, or stays, under live publishers: no event is lost."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import replace

import pika
import pytest
from pika.exceptions import UnroutableError

from oncall import marks
from oncall.broker import alone
from oncall.endpoints import BROKER, load
from tests.brokers import eventually
from tests.oncall.classic import ARGUMENTS, EVENTS, audit, fill, kind, traces
from tests.oncall.sites import Site, ids

pytestmark = [pytest.mark.servers, pytest.mark.broker, pytest.mark.slow]


def test_every_event_is_there_once_after_a_migration(site: Site) -> None:
    """2,000 old events and those that come meanwhile: each once, as it was sent, in a quorum queue of the same name."""
    queue, old = audit(site), fill(site)

    with site.publishing(queue) as live:
        answer = site.oncall("migrate", queue.name, "--yes", "--json")

    assert (0, []) == (answer.code, answer.data["left"]), answer
    assert ("quorum", {}, set(queue.keys)) == kind(site)
    assert [] == traces(site)
    taken = site.take(queue.name)
    assert Counter([*old, *live]) == ids(taken)
    for method, properties, _ in taken:
        number = properties.headers["number"]
        assert queue.keys[number % len(queue.keys)] == method.routing_key
        assert (f"c-{number}", 1_767_225_600 + number, "application/json", 2) == (
            properties.correlation_id,
            properties.timestamp,
            properties.content_type,
            properties.delivery_mode,
        )


def test_a_dry_run_tells_every_step_and_changes_nothing(on_default: Site) -> None:
    """Nine steps with what they find; the queue, its events and bindings are as before."""
    queue, old = audit(on_default), fill(on_default)

    answer = on_default.oncall("migrate", queue.name, "--dry-run", "--json")

    words = [
        f"keep the declaration and {len(queue.keys)} binding(s) of {queue.name} in the broker",
        f"make quorum queue {queue.name}.moving, without limits",
        f"bind {queue.name}.moving to {len(queue.keys)} key(s), then unbind {queue.name}",
        f"move {EVENTS} message(s) from {queue.name} to {queue.name}.moving; those that are in both go once",
        f"delete {queue.name}, which is empty, and declare it as a quorum queue: both in one breath",
        f"bind {queue.name} to {len(queue.keys)} key(s), then unbind {queue.name}.moving",
        f"move {EVENTS} message(s) from {queue.name}.moving to {queue.name}; those that are in both go once",
        f"delete {queue.name}.moving, which is empty",
        f"forget how {queue.name} was: the end",
    ]
    assert (0, words, []) == (answer.code, answer.data["left"], answer.data["done"])
    assert (("classic", ARGUMENTS, set(queue.keys)), []) == (kind(on_default), traces(on_default))
    assert Counter(old) == ids(on_default.take(queue.name))


def test_killed_again_and_again_it_goes_on_where_it_was(site: Site) -> None:
    """SIGKILL at any moment, eight times, then once to the end: each event is there once."""
    queue, old, dice = audit(site), fill(site), random.Random(7)
    command = [sys.executable, "-m", "oncall", "migrate", queue.name, "--yes", "--endpoints", str(site.file)]

    with site.publishing(queue, every=0.02) as live:
        for _ in range(8):
            with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as running:
                assert running.stderr
                running.stderr.readline()  # its first step, or its end
                time.sleep(dice.uniform(0, 2))
                running.kill()
        answer = eventually(lambda: (last := site.oncall("migrate", queue.name, "--yes")).code == 0 and last, 30)

    assert f"{queue.name} is a quorum queue, and nothing is left to do" in answer.out
    assert (("quorum", {}, set(queue.keys)), []) == (kind(site), traces(site))
    assert Counter([*old, *live]) == ids(site.take(queue.name))


def test_what_a_busy_disk_holds_back_is_not_deleted_with_its_queue(site: Site) -> None:
    """Routed before the binding went, and nowhere to be seen when the queue beside looks empty."""
    queue, old = audit(site), fill(site, 50)
    for _ in range(7):
        assert 0 == site.oncall("migrate", queue.name, "--step").code
    late = threading.Thread(target=site.broker.publish, args=(replace(queue, name=f"{queue.name}.moving"), [b"late"]))

    with site.broker.held_disk(4):
        late.start()
        site.oncall("migrate", queue.name, "--step")
    late.join()
    answer = site.oncall("migrate", queue.name, "--yes")

    assert (0, []) == (answer.code, traces(site)), answer
    *taken, late_one = site.take(queue.name)
    assert (Counter(old), b"late") == (ids(taken), late_one[2])


@pytest.mark.parametrize(("most", "more"), [(0xFFFF, 1000), (700, 0)])
def test_what_is_in_both_queues_is_known(site: Site, monkeypatch: pytest.MonkeyPatch, most: int, more: int) -> None:
    """Left alone while bound to both, all events are in both: more than a broker, or AMQP, hands out at once."""
    monkeypatch.setattr(marks, "MOST", most)
    queue = audit(site)
    for _ in range(2):
        site.oncall("migrate", queue.name, "--step")
    for key in queue.keys:
        site.api.post(f"bindings/%2F/e/{site.catalog.exchange.name}/q/{queue.name}.moving", {"routing_key": key})
    both = [*fill(site), *(f"more-{number}" for number in range(more))]
    channel = site.broker.channel()
    for number, name in enumerate(both[EVENTS:]):
        site.send(channel, queue, name, number)
    channel.connection.close()

    answer = site.oncall("migrate", queue.name, "--yes")

    assert 0 == answer.code
    assert f"0 moved, {EVENTS + more:,} were there already" in answer.err
    assert Counter(both) == ids(site.take(queue.name))


def test_events_that_come_by_the_queues_name_stop_it_before_the_gap(on_default: Site) -> None:
    """Nothing can hold them while the queue is replaced: a person decides."""
    queue = audit(on_default)
    on_default.broker.publish(queue, [b"straight"])

    stopped = on_default.oncall("migrate", queue.name, "--yes")

    assert (1, True) == (stopped.code, f"1 event(s) came to {queue.name} by its name" in stopped.out), stopped
    assert "classic" == kind(on_default)[0]
    assert 0 == on_default.oncall("migrate", queue.name, "--yes", "--accept-gap").code
    assert [b"straight"] == [body for _, _, body in on_default.take(queue.name)]


def test_the_gap_is_short(site: Site) -> None:
    """A producer that sends to the queue by its name, as fast as it can, finds none for less than half a second."""
    queue, missed, stop = audit(site), [], time.monotonic() + 60
    for _ in range(4):
        assert 0 == site.oncall("migrate", queue.name, "--step").code
    channel = site.broker.channel().connection.channel()
    channel.confirm_delivery()
    process = subprocess.Popen(
        [sys.executable, "-m", "oncall", "migrate", queue.name, "--yes", "--accept-gap", "--endpoints", str(site.file)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while process.poll() is None and time.monotonic() < stop:
        try:
            properties = pika.BasicProperties(delivery_mode=2)
            channel.basic_publish("", queue.name, b"tick", properties, mandatory=True)
        except UnroutableError:
            missed.append(time.monotonic())
        time.sleep(0.02)
    channel.connection.close()
    assert 0 == process.wait()
    print(f"gap: {1000 * (missed[-1] - missed[0]) if missed else 0:.0f} ms")
    assert not missed or missed[-1] - missed[0] < 0.5


def test_two_at_once_are_one_too_many(on_default: Site) -> None:
    """The second is told whose turn it is, and changes nothing."""
    queue = audit(on_default)
    with alone(load(str(on_default.file), {}, BROKER), f"{queue.name}.moving.lock"):
        answer = on_default.oncall("migrate", queue.name, "--yes")

    assert (2, True) == (answer.code, f"somebody else is at work: {queue.name}.moving.lock is theirs" in answer.err)
    assert [] == traces(on_default)
