"""The running stack as the proof sees it: what `pulumi up` wrote down, and the broker's own answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from catalog import Catalog
from infra.broker_api import Api
from oncall.broker import channel
from oncall.endpoints import Endpoints
from oncall.endpoints import load as load_endpoints
from oncall.trouble import Trouble


@dataclass(frozen=True)
class Stack:
    """Where everything is; `blobs` is a connection string, `boards` are files."""

    endpoints: Endpoints
    api: Api = field(repr=False)
    blobs: str = field(repr=False)
    boards: tuple[str, ...]

    @property
    def catalog(self) -> Catalog:
        return self.endpoints.catalog


def load(file: str | None, environ: Mapping[str, str]) -> Stack:
    """Read the file that oncall reads too. Raises Trouble with what is wrong with it."""
    endpoints = load_endpoints(file, environ)
    said = json.loads(Path(endpoints.file).read_bytes())
    login = endpoints.management
    api = Api(login.url, endpoints.amqp, login.user, login.password)
    return Stack(endpoints, api, said["blobs"]["connection_string"], tuple(said["boards"]))


def held(stack: Stack) -> dict[str, dict[str, int]]:
    """Per queue: messages, where they are, and redeliveries so far; the broker's figures, up to 11 s old."""
    answers = {queue.name: stack.api.get(f"queues/%2F/{queue.name}") for queue in stack.catalog.queues}
    if absent := [name for name, answer in answers.items() if answer is None]:
        raise Trouble(f"the broker has no queue {', '.join(absent)}: `make up` creates it")
    return {
        name: {
            "messages": answer.get("messages", 0),
            "ready": answer.get("messages_ready", 0),
            "in hand": answer.get("messages_unacknowledged", 0),
            "between two tries": answer.get("messages_delayed", 0),
            "redelivered": answer.get("message_stats", {}).get("redeliver", 0),
        }
        for name, answer in answers.items()
    }


def connections(stack: Stack) -> dict[str, list[str]]:
    """Per queue the connections that consume it; the broker lists a new one a few seconds late."""
    names = {f"{queue.name} consumer": queue.name for queue in stack.catalog.queues}
    found: dict[str, list[str]] = {queue.name: [] for queue in stack.catalog.queues}
    for entry in stack.api.get("connections"):
        if queue := names.get(entry.get("user_provided_name", "")):
            found[queue].append(entry["name"])
    return found


def cut(stack: Stack, connection: str) -> None:
    """Close a connection, so that the broker delivers again what its consumer had in hand."""
    stack.api.delete(f"connections/{quote(connection, safe='')}")


class Outcomes:
    """A queue of our own that hears how jobs end; it disappears by itself some minutes after the run."""

    def __init__(self, stack: Stack) -> None:
        self._stack, self._name = stack, f"proof.outcomes.{uuid4()}"
        with channel(stack.endpoints) as opened:
            opened.queue_declare(self._name, durable=True, arguments={"x-expires": 600_000})
            for key in ("workflow.job.completed", "workflow.job.failed"):
                opened.queue_bind(self._name, stack.catalog.exchange.name, key)

    def heard(self) -> list[dict[str, Any]]:
        """Every outcome event since the last call."""
        bodies = []
        with channel(self._stack.endpoints) as opened:
            while (got := opened.basic_get(self._name, auto_ack=True))[0]:
                bodies.append(json.loads(got[2] or b""))
        return bodies
