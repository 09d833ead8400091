"""A classic queue of before our time, with the name of one of ours and whatever it has been declared with."""

from __future__ import annotations

from typing import Any

from catalog import Queue
from infra.broker_api import put
from tests.oncall.sites import Site

EVENTS = 2000
ARGUMENTS = {"x-max-priority": 3}


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
