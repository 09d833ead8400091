"""Before a queue is moved: everything on the broker that could cost an event meanwhile, named."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from catalog.broker import UnsupportedBroker
from infra.differences import REACHES_QUORUM_QUEUES, hidden, hiding
from infra.live import matches
from oncall.adoption import Adoption
from oncall.steps import Found, Kind, Place

# By these a queue drops events, or goes itself: with its consumers stopped nobody could promise that each event stays.
LIMITS = ("max-length", "max-length-bytes", "message-ttl", "expires")
ANOTHER_NAME = "take the limit away, or leave this queue alone: pulumi config set {setting}.queue ANOTHER-NAME"
REACHES = {"quorum": REACHES_QUORUM_QUEUES, "classic": ("all", "queues", "classic_queues")}  # values of apply-to


def faults(adoption: Adoption, found: Found) -> list[str]:
    """Each with its next step; none where it is safe to go on."""
    try:
        adoption.wanted  # noqa: B018 - asks for the broker's version
    except UnsupportedBroker as error:
        return [str(error)]
    queue, policies = found.queue, adoption.api.get("policies/%2F")
    if queue and (passing := list(_passing(adoption, queue))):
        return passing
    listed = [*_consumed(adoption, found), *_hidden(adoption, policies)]
    if found.note or (queue and queue.kind == "classic"):
        listed += _limited(adoption, found, policies)
    return listed


def _consumed(adoption: Adoption, found: Found) -> Iterator[str]:
    for place in filter(None, (found.queue, found.aside)):
        _, count = adoption.ready(place.name)
        if count:
            rows = [row for row in adoption.api.get("consumers/%2F") if row["queue"]["name"] == place.name]
            known = [row["channel_details"] for row in rows if row["channel_details"]]  # a new one has none for seconds
            who = {"user {user} from {peer_host}".format(**details) for details in known}
            names = f" ({', '.join(sorted(who))})" if who else ""
            yield f"{count} consumer(s) take from {place.name}{names}: stop them; events wait meanwhile"


def _hidden(adoption: Adoption, policies: list[dict[str, Any]]) -> Iterator[str]:
    for other in hiding(policies, adoption.name, adoption.policy.body["priority"]):
        yield ": ".join(hidden(adoption.name, adoption.policy.body["priority"], other))


def _passing(adoption: Adoption, queue: Place) -> Iterator[str]:
    row = adoption.api.get(f"queues/%2F/{queue.name}")
    for kind, ends in (("exclusive", "with the connection that made it"), ("auto_delete", "with its last consumer")):
        if row[kind]:
            yield f"{queue.name} is {kind.replace('_', '-')}: it ends {ends}; end it, `pulumi up` creates the new one"


def _limited(adoption: Adoption, found: Found, policies: list[dict[str, Any]]) -> Iterator[str]:
    """Limits on any queue in which events wait until the end, or would after a rollback."""
    operators = adoption.api.get("operator-policies/%2F")
    sources = [
        (found.name, f"its argument {key} {value}", key.removeprefix("x-"))
        for key, value in (found.queue.body["arguments"] if found.queue else {}).items()
    ]
    for name, kind in _stations(found):
        for word, rows in (("policy", _in_force(policies, found, name, kind)), ("operator policy", operators)):
            for row in (row for row in rows if _reaches(row, name, kind)):
                sources += [
                    (name, f"{word} {row['name']}: {key} {value}", key) for key, value in row["definition"].items()
                ]
    for name, words in dict.fromkeys((name, words) for name, words, key in sources if key in LIMITS):
        yield f"{name} gives events up by itself ({words}): {ANOTHER_NAME.format(setting=adoption.queue.setting)}"


def _stations(found: Found) -> tuple[tuple[str, Kind], ...]:
    """Where an event may be until the end; the classic queue comes back with a rollback."""
    return (found.name, "classic"), (found.name, "quorum"), (found.beside, "quorum")


def _in_force(policies: list[dict[str, Any]], found: Found, name: str, kind: Kind) -> list[dict[str, Any]]:
    """The strongest ones: of two equals either may win. Quorum queues have ours, from before they are made."""
    there = found.aside if name == found.beside else found.queue
    if kind == "quorum" and not (there and there.kind == "quorum"):
        return []  # _hidden names what would be above ours; the one beside gets a policy above all others
    reaching = [row for row in policies if _reaches(row, name, kind)]
    top = max((row["priority"] for row in reaching), default=0)
    return [row for row in reaching if row["priority"] == top]


def _reaches(policy: dict[str, Any], queue: str, kind: Kind) -> bool:
    return policy["apply-to"] in REACHES[kind] and matches(policy["pattern"], queue)
