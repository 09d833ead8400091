"""Between a live broker and the topology it should hold: what differs, in sentences; pure, for preflight and drift."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from infra.live import Finding, Live, Row, matches, row_of, shown
from infra.rights import Rights

if TYPE_CHECKING:  # infra/broker_api.py uses this module: see infra/broker.py
    from infra.topology import Object, Topology

MEND = "`pulumi up` puts it right"
# The operator looks at a broker object again when its custom resource changes, not when the broker does.
OPERATOR_MENDS = (
    "`kubectl -n {namespace} annotate --overwrite queues,bindings,policies,users,permissions,topicpermissions,exchanges"
    " --all looked-at=$(date +%s)` (all .rabbitmq.com) makes the operator put it right"
)
REACHES_QUORUM_QUEUES = ("all", "queues", "quorum_queues")  # values of a policy's apply-to


def findings(live: Live, wanted: Topology, mend: str = MEND) -> list[Finding]:
    """Every difference, in the order in which objects are made; `mend` says how this target puts ours right."""
    return list(_Comparison(live, wanted, mend).all())


def hiding(policies: Iterable[Row], queue: str, priority: int) -> list[Row]:
    """The policies that apply to a quorum queue instead of ours, which has its name: only the strongest one does."""
    return [
        policy
        for policy in policies
        if policy["name"] != queue
        and policy["priority"] >= priority  # of two equals either may win
        and policy["apply-to"] in REACHES_QUORUM_QUEUES
        and matches(policy["pattern"], queue)
    ]


def hidden(queue: str, priority: int, by: Row) -> tuple[str, str]:
    """What is the matter when a policy hides ours, and the way out."""
    what = (
        f"policy {by['name']} (pattern {by['pattern']}, priority {by['priority']}) hides ours of queue {queue}"
        f" (priority {priority}), and with it the delivery limit and the dead letters"
    )
    return what, f"give it a priority below {priority} or a pattern that leaves {queue} out"


@dataclass(frozen=True)
class _Comparison:
    live: Live
    wanted: Topology
    mend: str

    def all(self) -> Iterator[Finding]:
        yield from self.exchanges()
        yield from self.queues()
        for policy in self.wanted.policies:
            yield from self.policy(_name(policy), policy.body)
        yield from self.missing_bindings()
        yield from self.extra_bindings()
        yield from Rights(self.live, self.wanted, self.mend).all()

    def exchanges(self) -> Iterator[Finding]:
        for wanted in self.wanted.exchanges:
            others = "its owner creates it; where that is us: pulumi config set exchange.manage on"
            absent = others if wanted is self.wanted.shared else self.mend
            fixed = "a broker never changes an exchange: ask its owner which name is meant"
            yield from self._fixed("exchange", wanted, self.live.exchanges, absent, fixed)

    def queues(self) -> Iterator[Finding]:
        for wanted in self.wanted.queues:
            fixed = f"a broker never changes a queue: `oncall migrate {_name(wanted)}` moves its events to a new one"
            yield from self._fixed("queue", wanted, self.live.queues, self.mend, fixed)

    def _fixed(self, kind: str, wanted: Object, rows: Sequence[Row], absent: str, fixed: str) -> Iterator[Finding]:
        """What a broker fixes at an object's birth."""
        name = _name(wanted)
        row = row_of(rows, name)
        if row is None:
            yield Finding(kind, name, "missing", "does not exist", absent)
        elif difference := _difference(wanted.body, row):
            yield Finding(kind, name, "different", difference, fixed)

    def policy(self, queue: str, wanted: Row) -> Iterator[Finding]:
        """A policy is in effect only when it is there, as wanted, and nothing stronger or added is."""
        row = row_of(self.live.policies, queue)
        if row is None:
            yield Finding("policy", queue, "missing", "does not exist", self.mend)
        elif difference := _difference(_flat(wanted, row["definition"]), _flat(row)):
            yield Finding("policy", queue, "different", difference, self.mend)
        for other in hiding(self.live.policies, queue, wanted["priority"]):
            what, next_step = hidden(queue, wanted["priority"], other)
            yield Finding("policy", queue, "hidden", f"is not in effect: {what}", next_step)
        for other in self.live.operator_policies:
            if other["apply-to"] in REACHES_QUORUM_QUEUES and matches(other["pattern"], queue):
                yield from self._added(queue, wanted["definition"], other)

    def _added(self, queue: str, definition: Row, by: Row) -> Iterator[Finding]:
        """An operator policy is merged into ours."""
        added = [f"{key} {value}" for key, value in by["definition"].items() if definition.get(key) != value]
        if added:
            what = f"is not all that is in effect: operator policy {by['name']} adds {', '.join(added)}"
            step = f"ask the broker's operator for a pattern that leaves {queue} out"
            yield Finding("policy", queue, "hidden", what, step)

    def missing_bindings(self) -> Iterator[Finding]:
        there = {_ends(row) for row in self._bound()}
        for source, queue, key in self._wanted_bindings():
            if (source, queue, key) not in there:
                yield Finding("binding", f"{queue}/{key}", "missing", f"from {source} does not exist", self.mend)

    def extra_bindings(self) -> Iterator[Finding]:
        ours = {_name(queue) for queue in self.wanted.queues}
        wanted = set(self._wanted_bindings())
        for row in self._bound():
            source, queue, key = _ends(row)
            if source and queue in ours and (source, queue, key) not in wanted:
                step = "declare the key for this queue, or remove the binding in the management page"
                yield Finding("binding", f"{queue}/{key}", "extra", f"from {source} is declared by nobody", step)

    def _bound(self) -> Iterator[Row]:
        return (row for row in self.live.bindings if row["destination_type"] == "queue")

    def _wanted_bindings(self) -> Iterator[tuple[str, str, str]]:
        for entry in (*self.wanted.dead_bindings, *self.wanted.bindings):
            _, _, _, source, _, queue, key = entry.path.split("/")
            yield source, queue, key


def _name(entry: Object) -> str:
    return entry.path.rpartition("/")[2]


def _ends(row: Row) -> tuple[str, str, str]:
    return row["source"], row["destination"], row["routing_key"]


def _flat(policy: Row, defaults: Iterable[str] = ()) -> Row:
    """A policy with the keys of its definition among its own; None for those of `defaults` that it lacks."""
    return {**dict.fromkeys(defaults), **policy, **policy["definition"], "definition": None}


def _difference(wanted: Row, row: Row) -> str:
    """`has delivery-limit 3 instead of 20`, for every key that is wanted; empty where all are as wanted."""
    differing = [key for key, value in wanted.items() if row.get(key) != value]
    return ", ".join(f"has {key} {shown(row.get(key))} instead of {shown(wanted[key])}" for key in differing)
