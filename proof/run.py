"""The proof from its first look at the stack to its verdict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from catalog.metrics import CONSUMED, DUPLICATES
from proof.compare import Content, Ledger
from proof.counters import Counters, Process
from proof.flow import Flow, Say
from proof.plan import Plan, plan
from proof.readback import Sinks
from proof.stack import Outcomes, Stack, held
from proof.verify import Ledgers, ledgers


@dataclass(frozen=True)
class QueueResult:
    """What became of the messages of one queue; `reasons` counts dead letters by distinct id, `rate` is messages/s."""

    name: str
    published: int
    consumed: int
    duplicates: int
    redelivered: int
    rate: float
    sink: Ledger
    dead: Ledger
    reasons: Mapping[str, int]


@dataclass(frozen=True)
class Proof:
    """The outcome of a run; `faults` are sentences, none when everything is as planned."""

    plan: Plan
    queues: tuple[QueueResult, ...]
    snapshots: Ledger
    processes: tuple[Process, ...]
    outcomes: Ledger
    run: Content
    faults: tuple[str, ...]


def prove(stack: Stack, now: datetime, say: Say, limit: float) -> Proof:
    """Run the whole proof; `limit` bounds each time of waiting, in seconds. Raises Trouble when it cannot be done."""
    counters = Counters(stack.endpoints.services)
    flow = Flow(stack, counters, say, limit)
    flow.settle()  # what an earlier run left behind is not part of this one
    work, sinks = plan(stack.catalog, now), Sinks.of(stack.endpoints, stack.blobs)
    before, listening, redelivered = sinks.look(), Outcomes(stack), held(stack)
    for number, wave in enumerate(work.waves()):
        flow.publish(wave, disturb=number == 0)
        flow.settle()
    say("reading every sink back and comparing it with what was sent")
    found = ledgers(work, sinks, before, listening.heard())
    again = {name: figures["redelivered"] - redelivered[name]["redelivered"] for name, figures in held(stack).items()}
    return Proof(
        plan=work,
        queues=tuple(_results(work, found, counters, again, flow.rates)),
        snapshots=found.snapshots,
        processes=tuple(counters.processes()),
        outcomes=found.outcomes,
        run=found.run,
        faults=tuple(found.sentences()),
    )


def _results(
    work: Plan, found: Ledgers, counters: Counters, redelivered: Mapping[str, int], rates: Mapping[str, float]
) -> Iterator[QueueResult]:
    for queue in work.catalog.queues:
        yield QueueResult(
            name=queue.name,
            published=work.published(queue.name),
            consumed=round(counters.total(CONSUMED, queue=queue.name)),
            duplicates=round(counters.total(DUPLICATES, queue=queue.name)),
            redelivered=redelivered[queue.name],
            rate=rates.get(queue.name, 0.0),
            sink=found.sinks[queue.name],
            dead=found.dead[queue.name],
            reasons=found.reasons[queue.name],
        )
