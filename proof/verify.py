"""Between the plan and what the sinks held before and after: one ledger per sink and per dead-letter queue."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from catalog import Queue
from proof import expect
from proof.compare import Content, Ledger, compare
from proof.plan import Plan
from proof.portfolio import Envelope
from proof.readback import Lake, Seen, Sinks


@dataclass(frozen=True)
class Ledgers:
    """By queue: its sink, its dead letters, and these by reason; then what the jobs wrote and said.

    `run` is the main job's own record, empty when there is none.
    """

    sinks: Mapping[str, Ledger]
    dead: Mapping[str, Ledger]
    reasons: Mapping[str, Counter[str]]
    snapshots: Ledger
    outcomes: Ledger
    run: Content

    def sentences(self) -> Iterator[str]:
        """What is not as planned."""
        for ledger in (*self.sinks.values(), *self.dead.values(), self.snapshots, self.outcomes):
            yield from ledger.sentences()


def ledgers(plan: Plan, sinks: Sinks, before: Seen, heard: Sequence[Envelope]) -> Ledgers:
    """Read all that was planned or is new since `before`; compare it, and the outcomes heard, with the plan."""
    after = sinks.look()
    (run,) = plan.backfill.becomes.values()
    return Ledgers(
        sinks={queue.name: sink(plan, queue, sinks.lake, before, after) for queue in plan.catalog.queues},
        dead={queue.name: letters(plan, queue, before, after) for queue in plan.catalog.queues},
        reasons={queue.name: _reasons(plan, queue, after) for queue in plan.catalog.queues},
        snapshots=_snapshots(plan, sinks.lake, before, after),
        outcomes=outcomes(plan, heard),
        run=after.documents[expect.RUNS].get(run.place, {}),
    )


def sink(plan: Plan, queue: Queue, lake: Lake, before: Seen, after: Seen) -> Ledger:
    """Compare the sink of one queue. Blobs are read when they are planned or new, the others only listed."""
    planned = plan.written(queue)
    setting = expect.SINKS[queue.handler]
    if setting in after.documents:
        known = before.documents.get(setting, {})
        found = {place: expect.facts(setting, content) for place, content in after.documents[setting].items()}
        return compare(queue.name, planned, found, known)
    mine = {place for place in after.blobs if expect.is_audit(plan.catalog, place) == (queue.handler == "audit")}
    looked_at = mine & (planned.keys() | (mine - before.blobs))
    return compare(queue.name, planned, lake.contents(looked_at), before.blobs)


def letters(plan: Plan, queue: Queue, before: Seen, after: Seen) -> Ledger:
    """Compare the dead letters of one queue."""
    return compare(queue.dead, plan.dead(queue), after.dead[queue.name], before.dead[queue.name])


def _reasons(plan: Plan, queue: Queue, after: Seen) -> Counter[str]:
    """The planned dead letters that are there, counted by reason; each id once, however often it was sent."""
    planned, found = plan.dead(queue), after.dead[queue.name]
    return Counter(content["reason"] for place, content in found.items() if place in planned)


def outcomes(plan: Plan, heard: Sequence[Envelope]) -> Ledger:
    """The outcome events against the triggers: one id for each run, however often it is said."""
    runs = plan.written(plan.catalog.queue_of("batch")).values()
    entries = [expect.outcome(run["trigger"], run["job"]) for run in runs]
    found = {f"outcome/{event['id']}": {"type": event["type"], "job": event["data"]["job"]} for event in heard}
    return compare("outcome events", {entry.place: entry.content for entry in entries}, found)


def _snapshots(plan: Plan, lake: Lake, before: Seen, after: Seen) -> Ledger:
    """The documents of the main job against the rows that it read: by path, and of two with one id the last."""
    setting = expect.SNAPSHOTS
    rows = lake.contents(place for place in after.blobs if expect.is_evaluation(plan.catalog, place, plan.window))
    entries = [expect.snapshot(plan.catalog, row) for row in rows.values() if "unreadable" not in row]
    planned = {entry.place: entry.content for entry in entries}
    return compare(plan.catalog.store(setting).name, planned, after.documents[setting], before.documents[setting])
