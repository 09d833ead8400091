"""Dead letters read, shown and given back on a real broker: nothing is lost, nothing goes back twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pika
import pytest

from catalog import CATALOG, Queue
from consumers.verdicts import Never
from oncall import replay
from oncall.letters import put_back, read
from tests.brokers import eventually
from tests.samples import body_of

pytestmark = [pytest.mark.servers, pytest.mark.broker]

OnCall = Callable[..., Any]


@pytest.fixture
def lake(stack: Any) -> Queue:
    found: Queue = stack.catalog.queue_of("lake")
    return found


def event(identity: str) -> bytes:
    return body_of("risk.evaluated", id=identity)


def test_a_list_counts_by_queue_and_reason_and_copies_once(oncall: OnCall, stack: Any, lake: Queue) -> None:
    """Two copies of one event count once; every reason is told with its sentence, and exit code 1 says: act."""
    quiet = oncall("dead", "list")
    assert (0, "Dead letters by reason: none\nLetters: none\n") == (quiet.code, quiet.out)

    stack.bury(lake, event("a"), "no_tenant")
    stack.bury(lake, event("a"), "no_tenant")
    stack.bury(lake, event("b"), "wrong_type")
    stack.bury(stack.catalog.queue_of("audit"), b"\xff", "undecodable")

    answer = oncall("dead", "list", "--json")

    counted = {(row["queue"], row["reason"]): row["events"] for row in answer.data["counts"]}
    audit = stack.catalog.queue_of("audit").name
    assert {(lake.name, "no_tenant"): 1, (lake.name, "wrong_type"): 1, (audit, "undecodable"): 1} == counted
    assert 1 == answer.code
    page = oncall("dead", "list", lake.name, "--reason", "no_tenant").out
    assert Never.NO_TENANT.sentence in page
    assert "wrong_type" not in page
    assert 3 == stack.broker.ready(lake.dead)


def test_looking_takes_nothing_away(oncall: OnCall, stack: Any, lake: Queue) -> None:
    """After thirty looks, more than a quorum queue forgives by default, every letter is still there."""
    stack.bury(lake, event("a"), "no_tenant")

    for _ in range(30):
        assert 1 == len(oncall("dead", "list", lake.name, "--json").data["letters"])

    assert 1 == stack.broker.ready(lake.dead)


def test_looking_is_refused_where_it_could_cost_a_letter(oncall: OnCall, stack: Any, lake: Queue) -> None:
    """A queue of dead letters whose policy is gone drops a letter after twenty looks, so nobody looks."""
    path = f"policies/%2F/{lake.dead}"
    policy = stack.broker.api.get(path)
    stack.broker.api.delete(path)
    try:
        refused = eventually(lambda: (answer := oncall("dead", "list", lake.name)).code == 2 and answer, 20)
    finally:
        stack.broker.api.put(path, policy)
    assert (
        f"oncall: queue {lake.dead} has delivery limit by default: looking too often would drop a letter;"
        " `pulumi up` puts its policy (no limit) back; nothing was read\n"
    ) == refused.err
    eventually(lambda: oncall("dead", "list", lake.name).code == 0, 20)


def test_a_limit_bounds_the_look_and_says_so(oncall: OnCall, stack: Any, lake: Queue) -> None:
    """What was not looked at is counted, never left out in silence."""
    for number in range(5):
        stack.bury(lake, event(f"e{number}"), "no_tenant")

    answer = oncall("dead", "list", lake.name, "--limit", "3", "--json")

    assert (["e0", "e1", "e2"], 2) == ([row["id"] for row in answer.data["letters"]], answer.data["not_looked_at"])
    assert "2 more were not looked at: raise --limit" in oncall("dead", "list", lake.name, "--limit", "3").out


def test_a_letter_that_the_broker_buried_has_a_reason_too(oncall: OnCall, stack: Any, lake: Queue) -> None:
    """An event that killed its consumers arrives by the delivery limit, with the broker's headers alone."""
    stack.broker.publish(lake, [event("deadly")], headers={"x-origin": "t"})
    live = stack.broker.api.get(f"policies/%2F/{lake.name}")
    strict = {**live, "definition": {**live["definition"], "delivery-limit": 1}}
    strict["definition"] = {k: v for k, v in strict["definition"].items() if not k.startswith("delayed-retry")}
    stack.broker.api.put(f"policies/%2F/{lake.name}", strict)
    try:
        eventually(lambda: _reject_once(stack, lake) or stack.broker.ready(lake.dead), 30)
    finally:
        stack.broker.api.put(f"policies/%2F/{lake.name}", live)

    letter = oncall("dead", "list", lake.name, "--json").data["letters"][0]
    assert ("deadly", "delivery_limit", lake.name) == (letter["id"], letter["reason"], letter["key"])

    assert 0 == oncall("dead", "replay", lake.name, "--all", "--yes").code
    assert [{"x-origin": "t"}] == [headers for headers, _ in stack.broker.take(lake.name)]


def _reject_once(stack: Any, queue: Queue) -> None:
    channel = stack.broker.channel()
    method, _, _ = channel.basic_get(queue.name)
    if method:
        channel.basic_reject(method.delivery_tag, requeue=True)
    channel.connection.close()


def test_a_letter_is_shown_whole(oncall: OnCall, stack: Any, lake: Queue) -> None:
    """Headers, the reason in words, the body as readable JSON, and where the runbook goes on."""
    stack.bury(lake, event("a"), "no_tenant", **{"x-origin": "producer-7"})

    answer = oncall("dead", "show", lake.name, "a")

    assert 0 == answer.code
    for part in ("producer-7", Never.NO_TENANT.sentence, '"id": "a"', "runbooks/replay-dead-letters.md#no_tenant"):
        assert part in answer.out
    missing = oncall("dead", "show", lake.name, "b")
    assert (2, f"oncall: {lake.dead} has no letter b: `oncall dead list {lake.name}` shows which there are\n") == (
        missing.code,
        missing.err,
    )


def test_bytes_that_are_no_text_are_shown(oncall: OnCall, stack: Any, lake: Queue) -> None:
    """A body that is not UTF-8 has the hash as its id, and is shown as far as it is text."""
    stack.bury(lake, b"\xff\xfe[bold]oops", "undecodable")
    identity = oncall("dead", "list", lake.name, "--json").data["letters"][0]["id"]

    answer = oncall("dead", "show", lake.name, identity)

    assert identity.startswith("sha256:")
    assert "\\xff\\xfe[bold]oops" in answer.out


def test_a_dry_run_changes_nothing(oncall: OnCall, stack: Any, lake: Queue) -> None:
    """It says how many events in how many letters would go back."""
    for identity in ("a", "a", "b"):
        stack.bury(lake, event(identity), "no_tenant")

    answer = oncall("dead", "replay", lake.name, "--all", "--dry-run")

    words = f"2 event(s) in 3 letter(s) of {lake.dead} would go back to {lake.name}; nothing was changed\n"
    assert (0, words) == (answer.code, answer.out)
    assert (0, 3) == (stack.broker.ready(lake.name), stack.broker.ready(lake.dead))


def test_a_replay_gives_each_event_back_once(oncall: OnCall, stack: Any, lake: Queue) -> None:
    """The event arrives as it was, without the headers of its death, in its own queue only; copies go with it."""
    stack.bury(lake, event("a"), "no_tenant", traceparent="00-1", **{"x-delivery-count": 3})
    stack.bury(lake, event("a"), "no_tenant")
    stack.bury(lake, event("b"), "wrong_type")

    answer = oncall("dead", "replay", lake.name, "--reason", "no_tenant", "--yes", "--json")

    assert (1, 1) == (answer.data["replayed"], answer.data["left"])
    assert [({"traceparent": "00-1"}, event("a"))] == stack.broker.take(lake.name)
    assert [event("b")] == [body for _, body in stack.broker.take(lake.dead)]
    assert 0 == stack.broker.ready(stack.catalog.queue_of("audit").name)


def test_a_replay_by_id_takes_those_and_no_others(oncall: OnCall, stack: Any, lake: Queue) -> None:
    """Ids may be repeated; one that is not there stops everything before it begins."""
    for identity in ("a", "b", "c"):
        stack.bury(lake, event(identity), "no_tenant")

    wrong = oncall("dead", "replay", lake.name, "--id", "a", "--id", "z", "--yes")
    assert (2, 0, 3) == (wrong.code, stack.broker.ready(lake.name), stack.broker.ready(lake.dead))

    oncall("dead", "replay", lake.name, "--id", "a", "--id", "c", "--yes")

    assert [event("a"), event("c")] == [body for _, body in stack.broker.take(lake.name)]
    assert 1 == stack.broker.ready(lake.dead)


def test_two_events_that_share_an_id_both_survive(oncall: OnCall, stack: Any, lake: Queue) -> None:
    """A conflict is two events with one id: they are not copies, so both go back and neither is dropped."""
    other = body_of("risk.evaluated", id="a", source="someone-else")
    stack.bury(lake, event("a"), "conflict")
    stack.bury(lake, other, "conflict")

    oncall("dead", "replay", lake.name, "--id", "a", "--yes")

    assert [event("a"), other] == [body for _, body in stack.broker.take(lake.name)]


def test_what_dies_again_during_a_replay_stays(
    oncall: OnCall, stack: Any, lake: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event that fails again while others go back is a new letter; it is not taken for its own copy."""
    for identity in ("a", "b"):
        stack.bury(lake, event(identity), "no_tenant")
    real = replay.publish

    def publish_and_fail_again(to: Any, exchange: str, key: str, body: bytes, properties: Any) -> None:
        real(to, exchange, key, body, properties)
        stack.bury(lake, body, "no_tenant")

    monkeypatch.setattr(replay, "publish", publish_and_fail_again)

    answer = oncall("dead", "replay", lake.name, "--all", "--yes", "--json")

    assert (2, 2) == (answer.data["replayed"], stack.broker.ready(lake.dead))


def test_a_crash_in_the_middle_loses_no_letter(
    oncall: OnCall, stack: Any, lake: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dying between the confirmation and the acknowledgement leaves the letter: at worst the event is there twice."""
    for identity in ("a", "b", "c"):
        stack.bury(lake, event(identity), "no_tenant")
    real = replay.publish

    def publish_then_lose_the_connection(to: Any, exchange: str, key: str, body: bytes, properties: Any) -> None:
        real(to, exchange, key, body, properties)
        if body == event("b"):
            to.connection.close()

    monkeypatch.setattr(replay, "publish", publish_then_lose_the_connection)
    assert 2 == oncall("dead", "replay", lake.name, "--all", "--yes").code

    assert [event("a"), event("b")] == [body for _, body in stack.broker.take(lake.name)]
    assert [event("b"), event("c")] == [body for _, body in stack.broker.take(lake.dead)]


def test_a_queue_that_is_gone_stops_the_replay(oncall: OnCall, stack: Any, lake: Queue) -> None:
    """Without the queue the event would go nowhere: it stays a dead letter, and the message says what to do."""
    stack.bury(lake, event("a"), "no_tenant")
    channel = stack.broker.channel()
    channel.queue_delete(lake.name)
    channel.connection.close()
    try:
        answer = oncall("dead", "replay", lake.name, "--all", "--yes")
    finally:
        stack.broker.prepare(stack.catalog)

    words = f"queue {lake.name} does not exist: `pulumi up` creates it; nothing was published"
    assert (2, f"oncall: 0 event(s) went back, then a did not: {words}\n") == (answer.code, answer.err)
    assert 1 == stack.broker.ready(lake.dead)


def test_nobody_to_ask_needs_yes(oncall: OnCall, stack: Any, lake: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a script it needs --yes; on a terminal it asks, and anything but yes changes nothing."""
    stack.bury(lake, event("a"), "no_tenant")
    script = oncall("dead", "replay", lake.name, "--all")
    assert (2, True) == (script.code, "add --yes; nothing was changed" in script.err)

    for said, left in (("n\n", 1), ("y\n", 0)):
        monkeypatch.setattr("sys.stdin", Terminal(said))
        oncall("dead", "replay", lake.name, "--all")
        assert left == stack.broker.ready(lake.dead)


class Terminal:
    """A person who types one line."""

    def __init__(self, line: str) -> None:
        self._line = line

    def isatty(self) -> bool:
        return True

    def readline(self) -> str:
        return self._line


def test_a_corrected_body_replaces_the_letter(oncall: OnCall, stack: Any, lake: Queue, tmp_path: Path) -> None:
    """The corrected event goes back in place of the wrong one, whose letters are gone."""
    stack.bury(lake, body_of("risk.evaluated", id="a", tenantId=...), "no_tenant")
    (tmp_path / "fixed.json").write_bytes(event("a"))

    answer = oncall("dead", "replay", lake.name, "--id", "a", "--body", str(tmp_path / "fixed.json"), "--yes")

    assert (0, [event("a")], 0) == (
        answer.code,
        [body for _, body in stack.broker.take(lake.name)],
        stack.broker.ready(lake.dead),
    )


def test_what_dies_while_a_person_thinks_stays(
    oncall: OnCall, stack: Any, lake: Queue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what was counted goes back: the corrected body must not stand for another event with the same id."""
    stack.bury(lake, body_of("risk.evaluated", id="a", tenantId=...), "no_tenant")
    (tmp_path / "fixed.json").write_bytes(event("a"))
    other = body_of("risk.evaluated", id="a", tenantId="another")
    monkeypatch.setattr(replay, "_ask", lambda *_, **__: stack.bury(lake, other, "conflict"))

    answer = oncall("dead", "replay", lake.name, "--id", "a", "--body", str(tmp_path / "fixed.json"))

    assert (0, [event("a")]) == (answer.code, [body for _, body in stack.broker.take(lake.name)])
    assert [other] == [body for _, body in stack.broker.take(lake.dead)]


def test_an_event_without_an_id_gets_its_first_one(oncall: OnCall, stack: Any, lake: Queue, tmp_path: Path) -> None:
    """A letter that is named by its hash has no id to keep."""
    stack.bury(lake, b"not json", "undecodable")
    identity = oncall("dead", "list", lake.name, "--json").data["letters"][0]["id"]
    (tmp_path / "fixed.json").write_bytes(event("new"))

    oncall("dead", "replay", lake.name, "--id", identity, "--body", str(tmp_path / "fixed.json"), "--yes")

    assert [event("new")] == [body for _, body in stack.broker.take(lake.name)]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"{", "would become a dead letter again: undecodable"),
        (json.dumps({"id": "a"}).encode(), "would become a dead letter again: no_type"),
        (event("other"), "has id 'other', the letter 'a': a corrected event keeps its id"),
    ],
    ids=["not json", "half an event", "another id"],
)
def test_a_body_that_is_no_correction_is_refused(
    oncall: OnCall, stack: Any, lake: Queue, tmp_path: Path, content: bytes, says: str
) -> None:
    """It is checked with the consumers' own decoder before anything is published."""
    stack.bury(lake, body_of("risk.evaluated", id="a", tenantId=...), "no_tenant")
    (tmp_path / "fixed.json").write_bytes(content)

    answer = oncall("dead", "replay", lake.name, "--id", "a", "--body", str(tmp_path / "fixed.json"), "--yes")

    assert (2, True) == (answer.code, says in answer.err), answer.err
    assert 1 == stack.broker.ready(lake.dead)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "say which letters go back: exactly one of --id ID (as often as needed), --reason REASON or --all"),
        (("--all", "--reason", "no_id"), "exactly one of"),
        (("--all", "--body", "x.json"), "--body x.json replaces one event: name it with one --id"),
        (("--id", "a", "--body", "nowhere.json"), "nowhere.json cannot be read: No such file or directory"),
    ],
)
def test_an_unclear_choice_is_refused(oncall: OnCall, lake: Queue, arguments: tuple[str, ...], says: str) -> None:
    """A replay never guesses what it should give back."""
    answer = oncall("dead", "replay", lake.name, *arguments)

    assert (2, True) == (answer.code, says in answer.err), answer.err


def test_on_the_oldest_broker_looking_is_free_too(oldest_broker: Any) -> None:
    """Where a return counts as a delivery, the policy without a limit keeps a letter through thirty looks."""
    queue = replace(CATALOG.queue_of("lake"), name="oncall_old")
    oldest_broker.prepare(replace(CATALOG, queues=(queue,)))
    channel = oldest_broker.channel()
    channel.basic_publish("", queue.dead, event("a"), pika.BasicProperties(delivery_mode=2))

    for _ in range(30):
        assert ["a"] == [letter.id for letter in read(channel, queue, 10)]
        put_back(channel, queue, 1)
    channel.connection.close()
