"""Between the catalog and any broker: which objects a broker must hold; pure, so that every target creates the same."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from catalog.broker import Capabilities
from catalog.kinds import Catalog, Queue, Service

NONE = "^$"  # matches no name at all
AUTOSCALER = "autoscaler"  # who only looks at how full the queues are
UNLIMITED = -1  # deliveries; reading a dead letter must never cost it
ABOVE_PLATFORM_DEFAULTS = 10  # only the policy of the highest priority applies; platform-wide ones are usually at 0

Body = Mapping[str, Any]


@dataclass(frozen=True)
class Object:
    """One object of the broker: `name` for people, its address under /api of the management API, and what we set.

    `owner` is the user whose password it takes, empty for all but users.
    Source of addresses and bodies: RabbitMQ HTTP API reference.
    """

    name: str
    path: str
    body: Body
    owner: str = ""


@dataclass(frozen=True)
class Topology:
    """All objects, in groups that are created one after the other; `bindings` wait until their consumers run."""

    exchanges: tuple[Object, ...]
    queues: tuple[Object, ...]
    policies: tuple[Object, ...]
    dead_bindings: tuple[Object, ...]
    users: tuple[Object, ...]
    permissions: tuple[Object, ...]
    bindings: tuple[Object, ...]

    @property
    def shared(self) -> Object:
        """The exchange that others may use as well."""
        return self.exchanges[0]

    @property
    def objects(self) -> tuple[Object, ...]:
        return (
            *self.exchanges,
            *self.queues,
            *self.policies,
            *self.dead_bindings,
            *self.users,
            *self.permissions,
            *self.bindings,
        )


def user_of(service: str, generation: int) -> str:
    """Who a service is to the broker; a new generation has a password of its own, and the old one goes after it."""
    return f"{service}-{generation}"


def topology(catalog: Catalog, can: Capabilities, generation: int = 1, *, autoscaled: bool = False) -> Topology:
    """Everything that a broker of these capabilities must hold; `autoscaled` adds a user who may only look."""
    exchange, queues = catalog.exchange, catalog.queues
    watchers = [user_of(AUTOSCALER, generation)] if autoscaled else []
    return Topology(
        exchanges=(_exchange(exchange.name, "topic"), _exchange(exchange.dead, "direct")),
        queues=tuple(_queue(name) for queue in queues for name in (queue.name, queue.dead)),
        policies=tuple(
            policy
            for queue in queues
            for policy in (
                _policy(queue.name, policy_of(queue, exchange.dead, can)),
                _policy(queue.dead, {"delivery-limit": UNLIMITED}),
            )
        ),
        dead_bindings=tuple(_binding(exchange.dead, queue.dead, queue.name) for queue in queues),
        users=(
            *(_user(user_of(service.name, generation)) for service in catalog.services),
            *(_user(name, "management") for name in watchers),  # the least that may ask the API,
        ),
        permissions=(
            *(entry for service in catalog.services for entry in _permissions(catalog, service, generation)),
            *(_permission(name, {"configure": NONE, "write": NONE, "read": NONE}) for name in watchers),
        ),
        bindings=tuple(_binding(exchange.name, queue.name, key) for queue in queues for key in queue.keys),
    )


def policy_of(queue: Queue, dead: str, can: Capabilities) -> dict[str, Any]:
    """The definition that must be in effect on a queue, whoever puts it there.

    At-least-once dead-lettering needs reject-publish: the broker refuses to drop what it cannot hand on.
    Source: RabbitMQ, quorum queues (dead-lettering, delivery limit, delayed retry); times in ms.
    """
    definition: dict[str, Any] = {
        "consumer-timeout": _ms(queue.ack_timeout),
        "dead-letter-exchange": dead,
        "dead-letter-routing-key": queue.name,
        "dead-letter-strategy": "at-least-once",
        "delivery-limit": queue.delivery_limit,
        "overflow": "reject-publish",
    }
    if can.delays_retries:
        shortest, longest = queue.retry
        definition |= {
            "delayed-retry-type": "failed",
            "delayed-retry-min": _ms(shortest),
            "delayed-retry-max": _ms(longest),
        }
    return definition


def _exchange(name: str, kind: str) -> Object:
    return Object(f"exchange/{name}", f"exchanges/%2F/{name}", {"type": kind, "durable": True, "auto_delete": False})


def _queue(name: str) -> Object:
    # Everything else is a policy: an argument could only be changed by deleting the queue.
    body = {"durable": True, "auto_delete": False, "arguments": {"x-queue-type": "quorum"}}
    return Object(f"queue/{name}", f"queues/%2F/{name}", body)


def _policy(queue: str, definition: Body) -> Object:
    body = {
        "pattern": _exactly([queue]),
        "apply-to": "quorum_queues",
        "priority": ABOVE_PLATFORM_DEFAULTS,
        "definition": definition,
    }
    return Object(f"policy/{queue}", f"policies/%2F/{queue}", body)


def _binding(exchange: str, queue: str, key: str) -> Object:
    path = f"bindings/%2F/e/{exchange}/q/{queue}/{key}"
    return Object(f"binding/{queue}/{key}", path, {"routing_key": key, "arguments": {}})


def _user(name: str, *tags: str) -> Object:
    return Object(f"user/{name}", f"users/{name}", {"tags": list(tags)}, owner=name)


def _permission(user: str, may: Body) -> Object:
    return Object(f"permissions/{user}", f"permissions/%2F/{user}", may)


def _permissions(catalog: Catalog, service: Service, generation: int) -> list[Object]:
    """A service reads its own queues, and publishes dead letters and the keys that it declares; nothing else."""
    exchange, user = catalog.exchange, user_of(service.name, generation)
    written = [exchange.dead, exchange.name] if service.publishes else [exchange.dead]
    may = {
        "configure": NONE,
        "write": _exactly(written),
        "read": _exactly(queue.name for queue in catalog.queues_of(service.name)),
    }
    keys = {"exchange": exchange.name, "write": _exactly(service.publishes), "read": NONE}
    return [
        _permission(user, may),
        Object(f"topic-permissions/{user}", f"topic-permissions/%2F/{user}/{exchange.name}", keys),
    ]


def _exactly(names: Iterable[str]) -> str:
    """A regular expression that matches these names only; the broker's PCRE reads Python's escapes."""
    escaped = "|".join(re.escape(name) for name in sorted(names))
    return f"^({escaped})$" if escaped else NONE


def _ms(duration: timedelta) -> int:
    return int(duration.total_seconds() * 1000)
