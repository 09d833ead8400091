"""What `oncall migrate` does not touch, and what stops it on its way: each is named before an event could be lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pika
import pytest

from oncall.adoption import Adoption
from oncall.endpoints import BROKER, load
from oncall.steps import next_step
from oncall.trouble import Trouble
from tests.brokers import eventually
from tests.oncall.classic import ARGUMENTS, audit, declare, fill, kind, traces
from tests.oncall.sites import Site, ids

pytestmark = [pytest.mark.servers, pytest.mark.broker, pytest.mark.slow]


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
def test_a_queue_that_gives_events_up_is_left_alone(bare: Site, argument: str) -> None:
    """With its consumers stopped it would drop events, so nobody promises anything; another name is the way out."""
    declare(bare, {argument: 600_000})
    queue = audit(bare)

    answer = bare.oncall("migrate", queue.name, "--yes")

    assert (1, True) == (answer.code, f"by itself (its argument {argument} 600000)" in answer.out), answer
    assert f"pulumi config set {queue.setting}.queue ANOTHER-NAME" in answer.out
    assert [] == traces(bare)


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
def test_a_queue_that_passes_by_itself_is_refused(bare: Site, more: dict[str, Any]) -> None:
    """Its end is somebody's intention, and nothing in it is meant to stay."""
    declare(bare, {}, **more)

    answer = bare.oncall("migrate", audit(bare).name, "--yes")

    assert (1, True) == (answer.code, f"{audit(bare).name} is auto-delete" in answer.out), answer


def test_an_exclusive_queue_is_refused(bare: Site) -> None:
    """It belongs to a connection, and goes with it."""
    channel = bare.broker.channel()
    channel.queue_declare(audit(bare).name, exclusive=True)

    answer = bare.oncall("migrate", audit(bare).name, "--dry-run")

    channel.connection.close()
    eventually(lambda: bare.api.get(f"queues/%2F/{audit(bare).name}") is None)
    assert (1, True) == (answer.code, f"{audit(bare).name} is exclusive" in answer.out), answer


def test_what_makes_no_sense_is_refused(bare: Site) -> None:
    """A name that is not ours, a queue that is not there, a queue that is right already, and nobody to ask."""
    queue = audit(bare)

    assert "queue 'nobody' does not exist" in bare.oncall("migrate", "nobody", "--yes").err
    assert f"queue '{queue.dead}' does not exist: did you mean" in bare.oncall("migrate", queue.dead, "--yes").err
    assert f"queue {queue.name} does not exist on broker" in bare.oncall("migrate", queue.name, "--yes").err
    declare(bare, {})
    assert "Nobody is here to agree: add --step (only this) or --yes" in bare.oncall("migrate", queue.name).err
    bare.api.delete(f"queues/%2F/{queue.name}")
    bare.make()
    right = bare.oncall("migrate", queue.name, "--yes")
    assert (0, True) == (right.code, f"{queue.name} is a quorum queue, and nothing is left to do" in right.out)
    back = bare.oncall("migrate", queue.name, "--rollback", "--yes")
    assert (2, True) == (back.code, "nothing is to be rolled back" in back.err)
