"""A classic queue of before our time becomes a quorum queue, or stays, under live publishers: no event is lost."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pika
import pytest
from pika.exceptions import UnroutableError

from catalog import Queue
from infra.broker_api import put
from oncall import marks
from oncall.adoption import Adoption
from oncall.broker import alone
from oncall.endpoints import BROKER, load
from oncall.steps import next_step
from oncall.trouble import Trouble
from tests.brokers import LiveBroker, eventually
from tests.oncall.sites import Site, ids

pytestmark = [pytest.mark.servers, pytest.mark.broker]

EVENTS = 2000
ARGUMENTS = {"x-max-priority": 3}


@pytest.fixture
def site(any_broker: LiveBroker, tmp_path: Path) -> Site:
    """A broker with the shared exchange, and a classic queue with the name of one of ours, bound to eight keys."""
    made = Site.on(any_broker, tmp_path)
    declare(made, ARGUMENTS)
    return made


@pytest.fixture
def on_default(broker: LiveBroker, tmp_path: Path) -> Site:
    """The same on the default broker, for what does not depend on a version."""
    made = Site.on(broker, tmp_path)
    declare(made, ARGUMENTS)
    return made


def audit(site: Site) -> Queue:
    return site.catalog.queue_of("audit")


def declare(site: Site, arguments: dict[str, Any], **more: Any) -> None:
    queue = audit(site)
    for entry in site.wanted.exchanges:
        put(site.api, entry.path, entry.body, "")
    body = {"durable": True, "arguments": {**arguments, "x-queue-type": "classic"}, **more}
    site.api.put(f"queues/%2F/{queue.name}", body)
    for entry in site.wanted.bindings:
        if f"/{queue.name}/" in entry.path:
            put(site.api, entry.path, entry.body, "")


def fill(site: Site, events: int = EVENTS) -> list[str]:
    """A backlog that came through the exchange."""
    channel = site.broker.channel().connection.channel()  # without confirms
    names = [f"old-{number}" for number in range(events)]
    for number, name in enumerate(names):
        site.send(channel, audit(site), name, number)
    channel.connection.close()
    return names


def kind(site: Site) -> tuple[str, dict[str, Any], set[str]]:
    """Type, arguments without the type, and keys of the queue."""
    row = site.api.get(f"queues/%2F/{audit(site).name}?disable_stats=true")
    arguments = {key: value for key, value in row["arguments"].items() if key != "x-queue-type"}
    bindings = site.api.get(f"queues/%2F/{audit(site).name}/bindings")
    return row["type"], arguments, {binding["routing_key"] for binding in bindings if binding["source"]}


def traces(site: Site) -> list[str]:
    """What a migration makes, where it is still there."""
    beside = f"{audit(site).name}.moving"
    paths = [f"{kind}/%2F/{beside}" for kind in ("queues", "exchanges", "policies")] + [f"global-parameters/{beside}"]
    return [path for path in paths if site.api.get(path) is not None]


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


STEPS = ("remember", "make", "redirect", "move", "swap", "redirect back", "move back", "remove")


@pytest.mark.parametrize("done", range(1, len(STEPS) + 1), ids=STEPS)
def test_it_can_be_rolled_back_from_every_step(site: Site, done: int) -> None:
    """The classic queue is back with its arguments and keys, and each event is there once."""
    queue, old = audit(site), fill(site, 300)

    with site.publishing(queue, every=0.01) as live:
        for _ in range(done):
            assert 0 == site.oncall("migrate", queue.name, "--step").code
        answer = site.oncall("migrate", queue.name, "--rollback", "--yes", "--json")

    assert (0, []) == (answer.code, answer.data["left"]), answer
    assert (("classic", ARGUMENTS, set(queue.keys)), []) == (kind(site), traces(site))
    assert Counter([*old, *live]) == ids(site.take(queue.name))


def test_killed_again_and_again_it_goes_on_where_it_was(site: Site) -> None:
    """SIGKILL at any moment, eight times, then once to the end: each event is there once."""
    queue, old, dice = audit(site), fill(site), random.Random(7)
    command = [sys.executable, "-m", "oncall", "migrate", queue.name, "--yes", "--endpoints", str(site.file)]

    with site.publishing(queue) as live:
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


@pytest.mark.parametrize("most", [0xFFFF, 700])
def test_what_is_in_both_queues_is_known(site: Site, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """Left alone while bound to both, 3,000 events are in both: more than a broker, or AMQP, hands out at once."""
    monkeypatch.setattr(marks, "MOST", most)
    queue = audit(site)
    for _ in range(2):
        site.oncall("migrate", queue.name, "--step")
    for key in queue.keys:
        site.api.post(f"bindings/%2F/e/{site.catalog.exchange.name}/q/{queue.name}.moving", {"routing_key": key})
    both = [*fill(site), *(f"more-{number}" for number in range(1000))]
    channel = site.broker.channel()
    for number, name in enumerate(both[EVENTS:]):
        site.send(channel, queue, name, number)
    channel.connection.close()

    answer = site.oncall("migrate", queue.name, "--yes")

    assert 0 == answer.code
    assert "0 moved, 3,000 were there already" in answer.err
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


def test_consumers_are_named_before_anything_changes(on_default: Site) -> None:
    """Who takes events meanwhile would make two of some; the events wait until they are back."""
    queue = audit(on_default)
    channel = on_default.broker.channel()
    channel.basic_consume(queue.name, lambda *_: None)

    def told() -> Any:
        answer = on_default.oncall("migrate", queue.name, "--yes")
        return answer if "(user admin from 127.0.0.1)" in answer.out else None

    answer = eventually(told)
    channel.connection.close()
    assert (1, True) == (answer.code, f"1 consumer(s) take from {queue.name}" in answer.out)
    assert [] == traces(on_default)


@pytest.mark.parametrize("argument", ["x-max-length", "x-max-length-bytes", "x-message-ttl", "x-expires"])
def test_a_queue_that_gives_events_up_is_left_alone(broker: LiveBroker, tmp_path: Path, argument: str) -> None:
    """With its consumers stopped it would drop events, so nobody promises anything; another name is the way out."""
    site = Site.on(broker, tmp_path)
    declare(site, {argument: 600_000})
    queue = audit(site)

    answer = site.oncall("migrate", queue.name, "--yes")

    assert (1, True) == (answer.code, f"by itself (its argument {argument} 600000)" in answer.out), answer
    assert f"pulumi config set {queue.setting}.queue ANOTHER-NAME" in answer.out
    assert [] == traces(site)


def test_a_limit_by_policy_counts_too(on_default: Site) -> None:
    """Whoever set it can take it away."""
    queue = audit(on_default)
    policy = {"pattern": f"^{queue.name}$", "apply-to": "all", "priority": 3, "definition": {"message-ttl": 60000}}
    on_default.api.put(f"policies/%2F/ttl_{queue.name}", policy)

    answer = on_default.oncall("migrate", queue.name, "--yes")

    assert (1, True) == (answer.code, f"(policy ttl_{queue.name}: message-ttl 60000)" in answer.out), answer


@pytest.mark.parametrize("reach", ["quorum_queues", "queues", "all"])
@pytest.mark.parametrize("pattern", [".*", "{name}.moving$"])
def test_an_operator_policy_on_the_way_counts_too(on_default: Site, reach: str, pattern: str) -> None:
    """It limits the queue beside, or the new one, whatever policy of ours is there: nothing is moved into either."""
    queue, old = audit(on_default), fill(on_default, 300)
    limit = {"pattern": pattern.format(name=queue.name), "apply-to": reach, "definition": {"max-length": 100}}
    if reach != "quorum_queues" and pattern == ".*":  # an old one would drop them before we come
        limit["definition"] = {"max-length": 1_000_000}
    with operator_policy(on_default, "platform-limits", limit):
        answer = on_default.oncall("migrate", queue.name, "--yes")

    assert (1, True) == (answer.code, "(operator policy platform-limits: max-length 1" in answer.out), answer
    assert (("classic", ARGUMENTS, set(queue.keys)), []) == (kind(on_default), traces(on_default))
    assert Counter(old) == ids(on_default.take(queue.name))


def test_a_limit_that_comes_meanwhile_counts_too(on_default: Site) -> None:
    """Each step looks anew, in both directions: the queue beside has its events still."""
    queue, old = audit(on_default), fill(on_default, 300)
    for _ in range(4):
        assert 0 == on_default.oncall("migrate", queue.name, "--step").code
    limit = {"pattern": f"^{queue.name}$", "apply-to": "quorum_queues", "definition": {"max-length": 100}}
    with operator_policy(on_default, "late", limit):
        answers = [on_default.oncall("migrate", queue.name, "--yes", *back) for back in ((), ("--rollback",))]

    assert [(1, True)] * 2 == [(each.code, "(operator policy late: max-length 100)" in each.out) for each in answers]
    assert 0 == on_default.oncall("migrate", queue.name, "--yes").code
    assert Counter(old) == ids(on_default.take(queue.name))


def test_a_loss_stops_it_with_both_numbers(on_default: Site) -> None:
    """A limit that comes while events move: what came and what is there are told, and nothing is deleted."""
    queue = audit(on_default)
    fill(on_default, 300)
    for _ in range(3):
        assert 0 == on_default.oncall("migrate", queue.name, "--step").code
    adoption = Adoption(load(str(on_default.file), {}, BROKER), queue)
    step = next_step(adoption.found(), "quorum")
    assert step
    limit = {"pattern": f"^{step.target}$", "apply-to": "quorum_queues", "definition": {"max-length": 100}}
    with (
        operator_policy(on_default, "late", limit),
        pytest.raises(Trouble, match=f"^300 events came to {step.target}, and 100 are in it"),
    ):
        adoption.do(step, lambda _: None)

    answer = on_default.oncall("migrate", queue.name, "--yes")

    assert (2, True) == (answer.code, f"300 events came to {queue.name}, and 100 are in it" in answer.err), answer
    on_default.api.delete(f"queues/%2F/{queue.name}.moving")
    assert 0 == on_default.oncall("migrate", queue.name, "--yes").code
    assert 100 == len(on_default.take(queue.name))


@pytest.mark.parametrize(
    "more",
    [
        {"headers": {"tenant": "b"}},
        {"timestamp": 2},
        {"correlation_id": "b"},
        {"type": "b"},
        {"content_type": "text/plain"},
    ],
    ids=lambda more: next(iter(more)),
)
def test_two_alike_without_an_id_stay_two(on_default: Site, more: dict[str, Any]) -> None:
    """Same key and body, one in each queue: what they differ in tells that they are two."""
    queue, channel = audit(on_default), on_default.broker.channel()
    first = {"headers": {"tenant": "a"}, "timestamp": 1, "correlation_id": "a", "type": "a", "content_type": "text/x"}
    for properties in (first, {**first, **more}):
        sent = pika.BasicProperties(delivery_mode=2, **properties)
        channel.basic_publish(on_default.catalog.exchange.name, queue.keys[0], b"{}", sent, mandatory=True)
        for _ in range(3 if properties is first else 0):
            assert 0 == on_default.oncall("migrate", queue.name, "--step").code
    channel.connection.close()

    assert 0 == on_default.oncall("migrate", queue.name, "--yes").code
    assert 2 == len(on_default.take(queue.name))


def test_a_dry_run_warns_of_events_that_expire(on_default: Site) -> None:
    """Their time goes on while the consumers stand still; without such events it is silent."""
    queue, channel = audit(on_default), on_default.broker.channel()
    warnings = []
    for expiration in (None, "3600000"):
        sent = pika.BasicProperties(delivery_mode=2, expiration=expiration)
        channel.basic_publish(on_default.catalog.exchange.name, queue.keys[0], b"{}", sent, mandatory=True)
        warnings.append(on_default.oncall("migrate", queue.name, "--dry-run", "--json").data["warnings"])
    channel.connection.close()

    assert [0, 1] == [len(each) for each in warnings]
    assert "1 of the first 2 event(s)" in warnings[1][0]
    assert 2 == len(on_default.take(queue.name))


@contextmanager
def operator_policy(site: Site, name: str, body: dict[str, Any]) -> Iterator[None]:
    """On the broker that other tests use as well: taken away in any case."""
    site.api.put(f"operator-policies/%2F/{name}", body)
    try:
        yield
    finally:
        site.api.delete(f"operator-policies/%2F/{name}")


@pytest.mark.parametrize("more", [{"auto_delete": True}, {"durable": False, "auto_delete": True}])
def test_a_queue_that_passes_by_itself_is_refused(broker: LiveBroker, tmp_path: Path, more: dict[str, Any]) -> None:
    """Its end is somebody's intention, and nothing in it is meant to stay."""
    site = Site.on(broker, tmp_path)
    declare(site, {}, **more)

    answer = site.oncall("migrate", audit(site).name, "--yes")

    assert (1, True) == (answer.code, f"{audit(site).name} is auto-delete" in answer.out), answer


def test_an_exclusive_queue_is_refused(broker: LiveBroker, tmp_path: Path) -> None:
    """It belongs to a connection, and goes with it."""
    site = Site.on(broker, tmp_path)
    channel = site.broker.channel()
    channel.queue_declare(audit(site).name, exclusive=True)

    answer = site.oncall("migrate", audit(site).name, "--dry-run")

    channel.connection.close()
    assert (1, True) == (answer.code, f"{audit(site).name} is exclusive" in answer.out), answer


def test_what_makes_no_sense_is_refused(broker: LiveBroker, tmp_path: Path) -> None:
    """A name that is not ours, a queue that is not there, a queue that is right already, and nobody to ask."""
    site = Site.on(broker, tmp_path)
    queue = audit(site)

    assert "queue 'nobody' does not exist" in site.oncall("migrate", "nobody", "--yes").err
    assert f"queue '{queue.dead}' does not exist: did you mean" in site.oncall("migrate", queue.dead, "--yes").err
    assert f"queue {queue.name} does not exist on broker" in site.oncall("migrate", queue.name, "--yes").err
    declare(site, {})
    assert "Nobody is here to agree: add --step (only this) or --yes" in site.oncall("migrate", queue.name).err
    site.api.delete(f"queues/%2F/{queue.name}")
    site.make()
    right = site.oncall("migrate", queue.name, "--yes")
    assert (0, True) == (right.code, f"{queue.name} is a quorum queue, and nothing is left to do" in right.out)
    back = site.oncall("migrate", queue.name, "--rollback", "--yes")
    assert (2, True) == (back.code, "nothing is to be rolled back" in back.err)
