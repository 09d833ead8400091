"""Before a queue is moved: everything on the broker that could cost an event meanwhile, named."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from catalog.broker import UnsupportedBroker
from infra.differences import hidden, hiding
from oncall.adoption import Adoption
from oncall.steps import Found, Place

# By these a queue drops events, or goes itself: with its consumers stopped nobody could promise that each event stays.
LIMITS = ("max-length", "max-length-bytes", "message-ttl", "expires")
ANOTHER_NAME = "take the limit away, or leave this queue alone: pulumi config set {setting}.queue ANOTHER-NAME"


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
    if queue and queue.kind == "classic" and not found.note:
        listed += _limited(adoption, queue, policies)
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


def _limited(adoption: Adoption, queue: Place, policies: list[dict[str, Any]]) -> Iterator[str]:
    reaching = [row for row in policies if _reaches(row, queue.name)]
    in_force = [max(reaching, key=lambda row: row["priority"])] if reaching else []
    in_force += [row for row in adoption.api.get("operator-policies/%2F") if _reaches(row, queue.name)]
    sources = [("its argument x-", {key.removeprefix("x-"): value for key, value in queue.body["arguments"].items()})]
    sources += [(f"policy {row['name']}: ", row["definition"]) for row in in_force]
    for source, values in sources:
        for limit in LIMITS:
            if limit in values:
                what = f"{queue.name} gives events up by itself ({source}{limit} {values[limit]})"
                yield f"{what}: {ANOTHER_NAME.format(setting=adoption.queue.setting)}"


def _reaches(policy: dict[str, Any], queue: str) -> bool:
    return policy["apply-to"] in ("all", "queues", "classic_queues") and bool(re.search(policy["pattern"], queue))
