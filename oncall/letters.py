"""Dead letters as they lie in their queue: read without taking one away, and made fit to go back."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Self, cast

import pika
from pika.adapters.blocking_connection import BlockingChannel

from catalog.kinds import Queue
from consumers.dead import DEATH, PREFIX, identity
from consumers.verdicts import Never
from oncall.endpoints import Endpoints
from oncall.http import Management
from oncall.trouble import Trouble, unknown

# What the broker says of a message that it dead-lettered itself: its consumers died, or gave it back too often.
GIVEN_UP = "delivery_limit"
GIVEN_UP_SENTENCE = "every try ended without a verdict or with another try; the log of the consumer says why"
RUNBOOK = "runbooks/replay-dead-letters.md"

RETURNED_WITHIN = 5.0  # seconds


@dataclass(frozen=True)
class Letter:
    """One dead letter in hand: its delivery `tag`, and what its headers say; `at` is an ISO time, empty if unknown.

    `key` is what makes two letters the same one: event id and hash of the body, since two events may wrongly share an
    id (`conflict`).
    """

    tag: int
    key: tuple[str, str]
    body: bytes = field(repr=False)
    properties: pika.BasicProperties = field(repr=False)

    @classmethod
    def of(cls, tag: int, body: bytes, properties: pika.BasicProperties) -> Self:
        return cls(tag, (identity(body), hashlib.sha256(body).hexdigest()), body, properties)

    @property
    def headers(self) -> dict[str, Any]:
        return dict(self.properties.headers or {})

    @property
    def id(self) -> str:
        return self.key[0]

    @property
    def reason(self) -> str:
        return str(self.headers.get(f"{PREFIX}reason") or self._death.get("reason") or "unknown")

    @property
    def detail(self) -> str:
        return str(self.headers.get(f"{PREFIX}detail", ""))

    @property
    def attempts(self) -> int | None:
        count = self.headers.get(f"{PREFIX}attempts", self.headers.get("x-delivery-count"))
        return int(count) if isinstance(count, int) else None

    @property
    def at(self) -> str:
        moment = self.headers.get(f"{PREFIX}at") or self._death.get("time") or ""
        return moment if isinstance(moment, str) else moment.isoformat()

    @property
    def routing_key(self) -> str:
        keys = self._death.get("routing-keys") or [""]
        return str(self.headers.get(f"{PREFIX}key") or keys[0])

    @property
    def _death(self) -> dict[str, Any]:
        deaths = self.headers.get("x-death") or [{}]
        return cast("dict[str, Any]", deaths[0])

    def revived(self) -> pika.BasicProperties:
        """Its properties for a new life: without the headers of its death, its expiry and its first sender's login."""
        kept = {name: value for name, value in self.headers.items() if not name.startswith(DEATH)}
        old = self.properties
        return pika.BasicProperties(
            content_type=old.content_type,
            content_encoding=old.content_encoding,
            headers=kept,
            correlation_id=old.correlation_id,
            message_id=old.message_id,
            timestamp=old.timestamp,
            type=old.type,
            app_id=old.app_id,
        )


def sentence(reason: str) -> str:
    """What a reason means."""
    known = {never.value: never.sentence for never in Never} | {GIVEN_UP: GIVEN_UP_SENTENCE}
    return known.get(reason, "not one of ours: look at the headers")


def reasons() -> tuple[str, ...]:
    return (*(never.value for never in Never), GIVEN_UP)


def pretty(body: bytes) -> str:
    """JSON indented, else the text as far as it is text."""
    try:
        return json.dumps(json.loads(body), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return body.decode(errors="backslashreplace")


def queue_named(endpoints: Endpoints, name: str) -> Queue:
    """A queue of ours, by its name or that of its dead letters. Raises Trouble with the nearest."""
    names = {queue.name: queue for queue in endpoints.catalog.queues}
    by_dead = {queue.dead: queue for queue in endpoints.catalog.queues}
    if found := names.get(name) or by_dead.get(name):
        return found
    raise unknown("queue", name, names)


def check_reading_is_free(endpoints: Endpoints, queue: Queue) -> None:
    """Raises Trouble where a look could cost a letter: its queue is missing, or counts deliveries up to a limit."""
    live = Management(endpoints).queues().get(queue.dead)
    if live is None:
        raise Trouble(f"queue {queue.dead} does not exist on broker {endpoints.broker}: `pulumi up` creates it")
    limit = (live.get("effective_policy_definition") or {}).get("delivery-limit")
    if limit is None or limit >= 0:
        raise Trouble(
            f"queue {queue.dead} has delivery limit {'by default' if limit is None else limit}: looking too often would"
            " drop a letter; `pulumi up` puts its policy (no limit) back; nothing was read"
        )


def read(channel: BlockingChannel, queue: Queue, limit: int) -> Iterator[Letter]:
    """At most `limit` of the letters that wait now, oldest first; each stays unacknowledged until its reader decides.

    What comes in while reading is left out: an event that fails again is a new letter, not the old one once more.
    """
    for _ in range(min(waiting(channel, queue), limit)):
        method, properties, body = channel.basic_get(queue.dead)
        if method is None or properties is None or body is None:
            return
        yield Letter.of(method.delivery_tag, body, properties)


def waiting(channel: BlockingChannel, queue: Queue) -> int:
    """How many letters wait now, without those in somebody's hand."""
    return int(channel.queue_declare(queue.dead, passive=True).method.message_count)


def put_back(channel: BlockingChannel, queue: Queue, before: int) -> None:
    """Return all that is still unacknowledged, and see that as many wait as before: the next look must find them."""
    channel.basic_nack(0, multiple=True, requeue=True)
    until = time.monotonic() + RETURNED_WITHIN
    while waiting(channel, queue) < before and time.monotonic() < until:  # longer only when somebody else holds some
        time.sleep(0.01)
