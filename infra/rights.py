"""Between a live broker's users and those it should know: who is missing, and who may do more than derived; pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from infra.live import Finding, Live, Row, matches, row_of, shown

if TYPE_CHECKING:  # see infra/differences.py
    from infra.topology import Object, Topology

RIGHTS = ("configure", "write", "read")


@dataclass(frozen=True)
class Rights:
    """The part of infra/differences.py that is about people and programs."""

    live: Live
    wanted: Topology
    mend: str

    def all(self) -> Iterator[Finding]:
        yield from self.users()
        yield from self.permissions()
        yield from self.keys()
        yield from self.consumers()

    def users(self) -> Iterator[Finding]:
        wanted = {_name(user): user.body for user in self.wanted.users}
        for name, body in wanted.items():
            row = row_of(self.live.users, name)
            if row is None:
                yield Finding("user", name, "missing", "does not exist", self.mend)
            elif more := set(row["tags"]) - set(body["tags"]):
                what = f"has tag {', '.join(sorted(more))}, which nobody declared"
                yield Finding("user", name, "wider", what, self.mend)
        services = {_service(name) for name in wanted}
        for row in self.live.users:
            if row["name"] not in wanted and _service(row["name"]) in services:
                step = "delete it once nobody logs in as it any more (runbooks/rotate-credentials.md)"
                yield Finding("user", row["name"], "extra", "is of another generation", step)

    def permissions(self) -> Iterator[Finding]:
        """Permissions of our users, in every virtual host."""
        names = {row["name"] for row in (*self.live.exchanges, *self.live.queues)}
        for user, wanted in self._wanted("permissions"):
            rows = {row["vhost"]: row for row in self.live.permissions if row["user"] == user}
            row = rows.pop("/", None)
            if row is None:
                yield Finding("permissions", user, "missing", "do not exist", self.mend)
            else:
                yield from self._right("permissions", user, wanted, row, names)
            for vhost in sorted(rows):
                what = f"are given in virtual host {vhost} as well, where it has nothing to do"
                step = f"rabbitmqctl clear_permissions -p {vhost} {user}"
                yield Finding("permissions", user, "wider", what, step)

    def keys(self) -> Iterator[Finding]:
        """Topic permissions of our users; where there is none, every key is allowed."""
        keys = {row["routing_key"] for row in self.live.bindings}
        rows = {(row["user"], row["exchange"]): row for row in self.live.topic_permissions if row["vhost"] == "/"}
        for user, wanted in self._wanted("topic-permissions"):
            if row := rows.get((user, wanted["exchange"])):
                yield from self._right("topic permissions", user, wanted, row, keys)
            else:
                what = f"do not exist for exchange {wanted['exchange']}, so that every key is allowed"
                yield Finding("topic permissions", user, "wider", what, self.mend)

    def _right(self, kind: str, user: str, wanted: Row, row: Row, names: set[str]) -> Iterator[Finding]:
        for right in RIGHTS:
            if right not in wanted or row[right] == wanted[right]:
                continue
            more = sorted(name for name in names if _may(row[right], name) and not _may(wanted[right], name))
            what = f"to {right} are {shown(row[right])} instead of {shown(wanted[right])}"
            also = f", which also lets it {right} {', '.join(more)}" if more else ""
            yield Finding(kind, user, "wider" if more else "different", what + also, self.mend)

    def _wanted(self, kind: str) -> Iterator[tuple[str, Row]]:
        """(user, rights) of one kind, for the users that exist: what others lack is told of them already."""
        for entry in self.wanted.permissions:
            of, _, user = entry.path.split("/")[:3]
            if of == kind and row_of(self.live.users, user):
                yield user, entry.body

    def consumers(self) -> Iterator[Finding]:
        """Who takes events from our queues without being one of ours, of whatever generation."""
        readers = [(_service(_name(may)), may.body["read"]) for may in self.wanted.permissions]
        for queue in map(_name, self.wanted.queues):
            ours = {service for service, pattern in readers if _may(pattern, queue)}
            for row in self.live.consumers:
                whose: Row = row["channel_details"] or {}  # the broker learns of a new one some seconds late
                who = whose.get("user", "")
                if who and row["queue"]["name"] == queue and _service(who) not in ours:
                    what = f"is consumed by user {who} from {whose['peer_host']}, who is none of ours"
                    step = "what it takes never reaches our sinks: stop it, or give it a queue of its own"
                    yield Finding("queue", queue, "foreign", what, step)


def _name(entry: Object) -> str:
    return entry.path.rpartition("/")[2]


def _service(user: str) -> str:
    """Whose user it is, of whatever generation; empty for those that are none of ours by their name."""
    service, _, generation = user.rpartition("-")
    return service if generation.isdecimal() else ""


def _may(pattern: str, name: str) -> bool:
    """Whether a permission covers a name; to the broker an empty pattern matches none."""
    return bool(pattern) and matches(pattern, name)
