"""The steps of a migration on the broker at hand: what it holds, and how each step is done."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable
from functools import cached_property, partial
from typing import Any
from urllib.parse import quote

import pika
from pika.exceptions import ChannelClosedByBroker

from catalog.broker import Capabilities
from catalog.kinds import Queue
from infra.broker_api import Api, put
from infra.topology import UNLIMITED, Object, Topology, topology
from oncall.broker import channel
from oncall.endpoints import Endpoints
from oncall.marks import LOOK, MARKER, Way
from oncall.moving import SETTLED_WITHIN, Moved, move
from oncall.steps import Binding, Found, Note, Place, Step
from oncall.trouble import Trouble

PAGE = "runbooks/move-a-queue.md"
FIRST = 20  # messages that a dry run looks at
RETURNED_WITHIN = 10  # seconds until all that was read and given back can be taken again
EMPTIED_WITHIN = 30  # seconds beyond the longest pause between two tries
WITH_TOTALS = "?disable_stats=true&enable_queue_totals=true"  # without it the numbers come later still
PRECONDITION_FAILED = 406  # AMQP's reply code, here: the queue is not empty, or somebody consumes it


class Adoption:
    """One queue of ours on one broker. Raises Trouble, and Refused of infra/broker_api.py."""

    def __init__(self, endpoints: Endpoints, queue: Queue) -> None:
        login = endpoints.management
        self.api = Api(login.url, endpoints.amqp, login.user, login.password)
        self.endpoints, self.queue, self.name = endpoints, queue, queue.name

    @cached_property
    def wanted(self) -> Topology:
        """What a stack would create. Raises UnsupportedBroker."""
        version = self.api.get("overview")["rabbitmq_version"]
        return topology(self.endpoints.catalog, Capabilities.of(version))

    @property
    def policy(self) -> Object:
        """Ours for the queue."""
        return next(entry for entry in self.wanted.policies if entry.path.endswith(f"/{self.name}"))

    def found(self) -> Found:
        """What is there now."""
        empty = Found(self.name, None, None, None)
        note = self.api.get(f"global-parameters/{empty.beside}")
        return Found(self.name, self._place(self.name), self._place(empty.beside), _note(note) if note else None)

    def ready(self, queue: str) -> tuple[int, int]:
        """(messages that can be taken, consumers), at this moment."""
        with channel(self.endpoints) as opened:
            now = opened.queue_declare(queue, passive=True).method
        return now.message_count, now.consumer_count

    def expiring(self) -> tuple[int, int]:
        """(messages with a time of their own to live, messages looked at): the first ones, given back unchanged."""
        with channel(self.endpoints) as opened:
            got = [properties for _ in range(FIRST) if (properties := opened.basic_get(self.name)[1])]
            return sum(1 for properties in got if properties.expiration), len(got)

    def do(self, step: Step, tell: Callable[[Moved], None]) -> Moved | None:
        """Do one step; what a move brought, None of others."""
        if step.do == "move":
            return self._move(step, tell)
        steps: dict[str, Callable[[Step], None]] = {
            "remember": self._remember,
            "make": self._make,
            "redirect": self._redirect,
            "swap": self._swap,
            "declare": self._declare,
            "remove": self._remove,
            "forget": self._forget,
        }
        steps[step.do](step)
        return None

    def _remember(self, step: Step) -> None:
        self._keep(step, 0)

    def _keep(self, step: Step, moved: int) -> None:
        note, beside = step.after.note, step.after.beside
        assert note
        value = {"queue": dict(note.body), "bindings": [vars(binding) for binding in note.bound], "moved": moved}
        self.api.put(f"global-parameters/{beside}", {"name": beside, "value": value})

    def _make(self, step: Step) -> None:
        """Its policy comes first, and above all others: only one applies, and this one takes nothing away."""
        beside = step.after.beside
        self._keep(step, 0)
        policy = {
            "pattern": f"^{re.escape(beside)}$",
            "apply-to": "queues",
            "priority": 1 + max((policy["priority"] for policy in self.api.get("policies/%2F")), default=0),
            "definition": {"delivery-limit": UNLIMITED},
        }
        self.api.put(f"policies/%2F/{beside}", policy)
        self.api.put(f"exchanges/%2F/{beside}", {"type": "fanout", "durable": True})
        self.api.put(f"queues/%2F/{beside}", {"durable": True, "arguments": {"x-queue-type": "quorum"}})

    def _redirect(self, step: Step) -> None:
        """Key by key: in both for a moment, never in none."""
        there, left = self._bindings(step.target), self._bindings(step.source)
        for binding in sorted(step.after.wanted, key=str):
            if binding not in there:
                self._bind(step.target, binding)
            if binding in left:
                self._unbind(left[binding])

    def _move(self, step: Step, tell: Callable[[Moved], None]) -> Moved:
        exchange = step.after.beside
        for row in self.api.get(f"exchanges/%2F/{exchange}/bindings/source"):
            if row["destination"] != step.target:
                self._unbind(row)
        self._bind(step.target, Binding(exchange, ""))
        patience = self.queue.retry[1].total_seconds() + EMPTIED_WITHIN
        way = Way(step.source, step.target, exchange, partial(self._held, step.source), patience)
        moved = move(self.endpoints, way, tell)
        if step.target == exchange:
            self._keep(step, moved.least)
        self._check(step.target, moved.least)
        return moved

    def _check(self, queue: str, least: int) -> None:
        """Nobody consumes it, so it holds what came to it. What was given back is counted a moment later."""
        until = time.monotonic() + RETURNED_WITHIN
        while (there := self.ready(queue)[0]) < least:
            if time.monotonic() > until:
                raise Trouble(
                    f"{least:,} events came to {queue}, and {there:,} are in it: nothing more is deleted. Did a policy"
                    f" or a consumer take them? {PAGE} says how to go on"
                )
            time.sleep(LOOK)

    def _swap(self, step: Step) -> None:
        """In one breath: meanwhile there is no queue for those who publish to it by name."""
        body = self._body(step.after)
        kind = "classic" if body["arguments"]["x-queue-type"] == "quorum" else "quorum"
        if kind == "quorum" and not self._quiet(self.name):
            return  # looked at anew, and moved first
        with channel(self.endpoints) as opened:
            held = opened.queue_declare(self.name, passive=True).method
            ours = 1 if kind == "quorum" else 0  # the marker
            if held.message_count > ours or held.consumer_count:
                return  # looked at anew, and moved first
            try:  # a quorum queue cannot be deleted on condition
                opened.queue_delete(self.name, if_unused=kind == "classic", if_empty=kind == "classic")
            except ChannelClosedByBroker as error:
                if error.reply_code == PRECONDITION_FAILED:
                    return
                raise
            opened.queue_declare(self.name, durable=body["durable"], arguments=dict(body["arguments"]))

    def _declare(self, step: Step) -> None:
        self.api.put(f"queues/%2F/{self.name}", self._body(step.after))

    def _body(self, after: Found) -> dict[str, Any]:
        """The declaration of a queue: as the catalog wants it, once its policy is there, or as it was."""
        assert after.queue
        if after.queue.kind == "quorum":
            put(self.api, self.policy.path, self.policy.body, "")
            return dict(next(entry.body for entry in self.wanted.queues if entry.path.endswith(f"/{self.name}")))
        if not after.note:
            raise Trouble(f"nobody knows how {self.name} was: global parameter {after.beside} is gone")
        was = after.note.body
        # Said aloud: another type may be the virtual host's default. Clients that leave it out are not refused.
        return {**was, "arguments": {**was["arguments"], "x-queue-type": "classic"}}

    def _remove(self, step: Step) -> None:
        beside = step.after.beside
        if not self._quiet(beside):
            return  # looked at anew, and moved first
        self._check(self.name, step.after.note.moved if step.after.note else 0)
        for kind in ("queues", "exchanges", "policies"):
            self.api.delete(f"{kind}/%2F/{beside}")

    def _quiet(self, name: str) -> bool:
        """Whether no exchange brings anything, and nothing is there once what was on its way has arrived.

        A quorum queue is deleted with what is in it: the broker knows no condition (540 to if-empty and if-unused). Its
        log may lag behind, on a disk that is busy; so a marker is sent after what was on its way, and once it is
        confirmed it has to be alone.
        """
        if self._bindings(name):
            return False
        time.sleep(SETTLED_WITHIN)
        with channel(self.endpoints) as opened:
            opened.basic_publish("", name, b"", pika.BasicProperties(type=MARKER, delivery_mode=2), mandatory=True)
        return self._held(name) <= 1 and self.ready(name) == (1, 0)

    def _forget(self, step: Step) -> None:
        for path in (
            "exchanges/%2F",
            "policies/%2F",
            "global-parameters",
        ):  # the first two: after a crash while removing
            self.api.delete(f"{path}/{step.after.beside}")

    def _place(self, name: str) -> Place | None:
        row = self.api.get(f"queues/%2F/{name}{WITH_TOTALS}")
        if row is None:
            return None
        if row["type"] not in ("classic", "quorum"):
            raise Trouble(f"{name} is a {row['type']}, not a classic queue: only those are moved")
        now = 0 if row["exclusive"] else self.ready(name)[0]
        body = {key: row[key] for key in ("durable", "auto_delete", "arguments")}
        return Place(name, row["type"], body, frozenset(self._bindings(name)), max(now, row.get("messages", 0)))

    def _held(self, name: str) -> int:
        """Messages in whosever hand, or between two tries; up to 5 s old."""
        return int((self.api.get(f"queues/%2F/{name}{WITH_TOTALS}") or {}).get("messages", 0))

    def _bindings(self, queue: str) -> dict[Binding, dict[str, Any]]:
        """What brings events to a queue, without the default exchange and ours."""
        rows: Iterable[dict[str, Any]] = (self.api.get(f"queues/%2F/{queue}/bindings") or ()) if queue else ()
        return {
            Binding(row["source"], row["routing_key"], json.dumps(row["arguments"], sort_keys=True)): row
            for row in rows
            if row["source"] not in ("", Found(self.name, None, None, None).beside)
        }

    def _bind(self, queue: str, binding: Binding) -> None:
        body = {"routing_key": binding.key, "arguments": json.loads(binding.arguments)}
        self.api.post(f"bindings/%2F/e/{quote(binding.source, safe='')}/q/{queue}", body)

    def _unbind(self, row: dict[str, Any]) -> None:
        source, key = (quote(row[part], safe="") for part in ("source", "properties_key"))
        self.api.delete(f"bindings/%2F/e/{source}/q/{row['destination']}/{key}")


def _note(parameter: dict[str, Any]) -> Note:
    value = parameter["value"]
    return Note(value["queue"], frozenset(Binding(**binding) for binding in value["bindings"]), value.get("moved", 0))
