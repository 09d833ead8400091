"""Each defence against loss and doubles, the change that takes it out, and the test that then fails."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Defence:
    """`old` stands exactly once in `file`; with `new` in its place the defence is gone and `test` (a node id) fails.

    `quick`: the test needs no server and little time, so that every test run plays it.
    """

    name: str
    without: str
    file: str
    old: str
    new: str
    test: str
    quick: bool = False

    def removed_from(self, root: Path) -> None:
        """Take it out of the tree at `root`. Raises ValueError when its text is not there exactly once."""
        place = root / self.file
        text = place.read_text()
        if (count := text.count(self.old)) != 1:
            raise ValueError(f"{self.name}: {self.file} has its text {count} times, not once: {self.old!r}")
        place.write_text(text.replace(self.old, self.new))


DEFENCES = (
    Defence(
        name="conditional create of blobs",
        without="a second event with the same id writes over the first",
        file="consumers/sinks/blob.py",
        old='mode="create", ',
        new='mode="overwrite", ',
        test="tests/sinks/test_blob.py::TestAzureBlobs::test_another_event_with_the_same_path_is_a_conflict",
    ),
    Defence(
        name="hash of the event beside the blob",
        without="two events with one id pass for one",
        file="consumers/sinks/blob.py",
        old="if found.attributes.get(EVENT_HASH) != body_hash:",
        new="if not found.attributes:",
        test="tests/sinks/test_blob.py::TestAzureBlobs::test_another_event_with_the_same_path_is_a_conflict",
    ),
    Defence(
        name="second try of a write that is answered too late",
        without="what a slow store has written is delivered again, and charged",
        file="consumers/sinks/blob.py",
        old="if _answer(error)[0]:",
        new="if error:",
        test="tests/sinks/test_blob.py::test_a_write_that_is_answered_too_late_is_made_again",
    ),
    Defence(
        name="create, not overwrite, of documents",
        without="another event with the same id replaces the document",
        file="consumers/sinks/cosmos.py",
        old="await found.proxy.create_item(dict(document))",
        new="await found.proxy.upsert_item(dict(document))",
        test="tests/sinks/test_cosmos.py::TestCosmosDocuments::test_other_content_with_the_same_id_is_a_conflict",
    ),
    Defence(
        name="event's own date in the path",
        without="a redelivery after midnight writes a second blob",
        file="consumers/paths.py",
        old='return f"{day(folder, timestamp)}/{name}"',
        new="return f\"{day(folder, str(__import__('datetime').datetime.now()))}/{name}\"",
        test="tests/consumers/test_lake.py"
        "::test_fault_01_a_redelivery_after_midnight_meets_its_own_blob[risk.evaluated]",
        quick=True,
    ),
    Defence(
        name="acknowledgement only after the write",
        without="a process that ends in the middle of a write has lost its event",
        file="consumers/worker.py",
        old="            verdict = await self._judge.verdict(delivery)\n            while",
        new="            self._answer(delivery, delivery.channel.basic_ack)\n"
        "            verdict = await self._judge.verdict(delivery)\n            while",
        test="tests/consumers/test_worker.py::test_an_event_is_acknowledged_only_after_its_write[4.3]",
    ),
    Defence(
        name="a return belongs to its own publish",
        without="of two dead letters with one id the one that no queue took counts as taken",
        file="consumers/publish.py",
        old="if sent.what == what and not sent.returned:",
        new="if sent.what[2] == what[2] and not sent.returned:",
        test="tests/consumers/test_publish.py::test_what_no_queue_takes_is_refused_and_nothing_else[4.3]",
    ),
    Defence(
        name="acknowledgement on the channel that delivered, and no other",
        without="the tag of a lost connection acknowledges an event that was never written",
        file="consumers/worker.py",
        old="self._link is not None and delivery.channel is self._link.channel and delivery.channel.is_open",
        new="self._link is not None",
        test="tests/consumers/test_generation.py"
        "::test_what_a_lost_connection_brought_is_not_answered_on_any_other[4.3]",
        quick=True,
    ),
    Defence(
        name="pause before a retry, before 4.3",
        without="all tries are burnt within a second",
        file="consumers/worker.py",
        old="await happens(self._stopping, self._queue.retry_delay(delivery.attempt).total_seconds())",
        new="await happens(self._stopping, 0)",
        test="tests/consumers/test_worker.py::test_fault_02_a_failed_event_comes_back_and_is_not_lost[4.0]",
    ),
    Defence(
        name="reject, not nack, of what failed",
        without="where a nack is free, an event that never succeeds circles for ever",
        file="consumers/worker.py",
        old="how, charged = delivery.channel.basic_reject, True",
        new="how, charged = delivery.channel.basic_nack, True",
        test="tests/consumers/test_worker.py::test_an_event_that_never_succeeds_is_dead_lettered_by_the_broker[4.3]",
    ),
    Defence(
        name="delivery limit of our own in the policy",
        without="the broker's 20 tries are everybody's",
        file="infra/topology.py",
        old='        "delivery-limit": queue.delivery_limit,\n',
        new="",
        test="tests/consumers/test_worker.py::test_an_event_that_never_succeeds_is_dead_lettered_by_the_broker[4.0]",
    ),
    Defence(
        name="probation of suspects",
        without="an event that kills its process takes its neighbours to the dead letters",
        file="consumers/probation.py",
        old="return 1 if self._alone else self._full",
        new="return self._full",
        test="tests/consumers/test_probation.py::test_no_innocent_is_dead_lettered[1-4.3]",
        quick=True,
    ),
    Defence(
        name="of the queues of a process one at a time handles suspects",
        without="an event that kills its process takes one of its other queue along",
        file="consumers/probation.py",
        old="return self._solitude if self._next and self._full > 1 else nullcontext()",
        new="return nullcontext()",
        test="tests/consumers/test_probation.py::test_what_kills_a_process_is_not_charged_to_its_other_queue[lake-0-4.0]",
        quick=True,
    ),
    Defence(
        name="a suspect that would wait beside another one goes back at once, from 4.3 on",
        without="it waits in hand while a suspect of another queue kills the process, and is charged with it",
        file="consumers/worker.py",
        old="elif self._can.nack_is_free and self._probation.crowded:",
        new="elif self._can.nack_is_free and self._probation.prefetch == 0:",
        test="tests/consumers/test_probation.py::test_no_suspect_is_charged_by_another_one[4]",
        quick=True,
    ),
    Defence(
        name="outages are no attempts of a run",
        without="a store that flaps makes a sound run fail as one that kills its workers",
        file="consumers/ledger.py",
        old="self._unreleased.pop(trigger, None) != run.attempt",
        new="True",
        test="tests/consumers/test_batch_faults.py::test_outages_that_the_process_lives_through_are_no_attempts",
        quick=True,
    ),
    Defence(
        name="pause on outage",
        without="every event loses its tries to a sink that is down",
        file="consumers/outage.py",
        old="if failure.reason not in SUSPICIOUS:",
        new="if failure.reason:",
        test="tests/consumers/test_outage.py::test_an_outage_costs_no_event_a_try[4.3]",
    ),
    Defence(
        name="second probe before a pause",
        without="one bad answer pauses a queue whose sink fails a request in twenty",
        file="consumers/outage.py",
        old="if not (self.lasts or await self._answers() or await self._answers()):",
        new="if not (self.lasts or await self._answers()):",
        test="tests/consumers/test_outage.py::test_a_sink_that_fails_now_and_then_is_not_down[4.3]",
    ),
    Defence(
        name="several tries of one request to Cosmos",
        without="a run of a thousand requests never ends where one in twenty fails",
        file="consumers/sinks/cosmos.py",
        old="PAUSES = (0.1, 0.5)",
        new="PAUSES = ()",
        test="tests/sinks/test_cosmos.py::test_a_short_trouble_is_not_even_noticed[503]",
    ),
    Defence(
        name="connection given up when the worker itself fails",
        without="an event stays unanswered, and in hand, for as long as the process lives",
        file="consumers/worker.py",
        old='self._link.lost.set_result(LinkLost(f"given up by',
        new='str(LinkLost(f"given up by',
        test="tests/consumers/test_worker.py::test_a_failure_of_the_worker_itself_leaves_no_event_unanswered[4.3]",
    ),
    Defence(
        name="return in time, counted over all outages",
        without="short outages one after the other hold an event until the broker takes it away",
        file="consumers/worker.py",
        old=" - delivery.age",
        new="",
        test="tests/consumers/test_outage.py::test_short_outages_one_after_the_other_are_held_as_one[4.3]",
    ),
    Defence(
        name="pause on purpose, whatever the sink says",
        without="events are taken in the middle of planned work",
        file="consumers/outage.py",
        old="lasts = bool(self._holder or self._down)",
        new="lasts = bool(self._down)",
        test="tests/consumers/test_outage.py::test_a_pause_on_purpose_lasts_until_it_is_ended[4.3]",
    ),
    Defence(
        name="confirmation of a dead letter before its event is acknowledged",
        without="an event whose dead letter nobody took is gone",
        file="consumers/publish.py",
        old="await asyncio.wait_for(sent.confirmed, CONFIRM_WITHIN)",
        new="",
        test="tests/consumers/test_worker.py::test_a_dead_letter_that_cannot_be_placed_keeps_its_event[4.3]",
    ),
    Defence(
        name="`mandatory` on dead letters",
        without="the broker confirms a dead letter that it dropped",
        file="consumers/dead.py",
        old="headers=headers, mandatory=True",
        new="headers=headers, mandatory=False",
        test="tests/consumers/test_worker.py::test_a_dead_letter_that_cannot_be_placed_keeps_its_event[4.0]",
    ),
    Defence(
        name="confirmation of an outcome before its trigger is acknowledged",
        without="a run ends and nobody hears of it",
        file="consumers/batch.py",
        old="await self.publisher.publish(self.catalog.exchange.name, kind, body, message_id=identity(body))",
        new="asyncio.gather(self.publisher.publish(self.catalog.exchange.name, kind, body, message_id=identity(body)),"
        " return_exceptions=True)",
        test="tests/consumers/test_batch_faults.py::"
        "test_an_outcome_that_the_broker_does_not_take_is_published_at_the_next_delivery",
        quick=True,
    ),
    Defence(
        name="lease of a run by compare-and-swap",
        without="two workers hold one run",
        file="consumers/sinks/cosmos.py",
        old='document["id"], dict(document), etag=etag, match_condition=MatchConditions.IfNotModified',
        new='document["id"], dict(document)',
        test="tests/consumers/test_ledger.py::test_of_two_that_take_over_at_the_same_time_one_gets_the_run[emulator]",
    ),
    Defence(
        name="lease that another worker holds is respected",
        without="a second worker begins a run that is in progress",
        file="consumers/ledger.py",
        old='if run.status != "running" or (run.owner != self.owner and run.lease_until > self.clock()):',
        new='if run.status != "running":',
        test="tests/consumers/test_batch.py::test_fault_09_a_redelivery_to_another_worker_waits_for_the_run_too",
        quick=True,
    ),
    Defence(
        name="limit of nesting",
        without="an event that can be read, but not looked at closer, is tried in vain",
        file="consumers/events.py",
        old="if (depth := depth_of(body)) > MAX_DEPTH:",
        new="if (depth := depth_of(body)) > MAX_BODY:",
        test="tests/consumers/test_fuzz.py::test_depth_that_is_closed_again_is_taken_up_to_a_limit",
        quick=True,
    ),
    Defence(
        name="finishing at SIGTERM",
        without="what is in hand is dropped and delivered again",
        file="consumers/worker.py",
        old="tasks = list(self._in_hand.values())",
        new="tasks: list[asyncio.Task[None]] = []",
        test="tests/consumers/test_worker.py::test_stopping_lets_work_in_hand_end_and_takes_nothing_new[4.3]",
    ),
)
