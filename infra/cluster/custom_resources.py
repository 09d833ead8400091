"""Between the topology and a broker with the topology operator: each object as a custom resource of rabbitmq.com."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pulumi import CustomTimeouts, Resource, ResourceOptions
from pulumi_kubernetes.apiextensions import CustomResource

from infra.broker_api import IMMUTABLE
from infra.cluster.place import Place, credentials_of
from infra.topology import Body, Object

API = "rabbitmq.com/v1beta1"
COMPONENT = "broker"
READY = {"pulumi.com/waitFor": "condition=Ready"}  # the operator says so once the broker has it
PATIENCE = (
    "60s"  # the operator needs 2 s; longer means that it does not run or may not, and its reason is in the status
)
LONGEST = 63  # letters in a name, so that it fits where Kubernetes wants a label

Spec = dict[str, Any]


@dataclass(frozen=True)
class Manifest:
    """A custom resource without what its place adds."""

    kind: str
    name: str
    spec: Spec


def manifest(wanted: Object, reference: Body) -> Manifest:
    """What the operator reads; `reference` is the `rabbitmqClusterReference`.

    The operator never changes what an object is called and where it is, nor a queue or exchange at all. So a name ends
    in a hash of what is fixed: another object is made before the one that it replaces is deleted. It writes objects
    back without fields that are false, zero or empty, its defaults: given, they would look lost to every refresh.
    Source: messaging topology operator v1.20, API reference and validating webhooks.
    """
    folder, *address = wanted.path.split("/")
    kind, spec = KINDS[folder]
    fixed = [wanted.path, reference, wanted.body if folder in IMMUTABLE else None]
    given = {key: value for key, value in spec(address, wanted.body).items() if value}
    return Manifest(
        kind,
        _name(wanted.name.partition("/")[2], fixed),
        {**given, "rabbitmqClusterReference": dict(reference)},
    )


def custom_resource(wanted: Object, place: Place, after: Sequence[Resource], *, keep: bool = False) -> CustomResource:
    """The object of the topology as a resource; `keep` leaves it, custom resource and all, when the stack goes."""
    made = manifest(wanted, place.broker.reference)
    opts = ResourceOptions.merge(
        place.opts(after),
        ResourceOptions(
            custom_timeouts=CustomTimeouts(create=PATIENCE, update=PATIENCE, delete=PATIENCE), retain_on_delete=keep
        ),
    )
    metadata = place.metadata(made.name, component=COMPONENT, annotations=READY)
    return CustomResource(wanted.name, API, made.kind, spec=made.spec, metadata=metadata, opts=opts)


def _exchange(address: Sequence[str], body: Body) -> Spec:
    _, name = address
    return {
        "name": name,
        "vhost": "/",
        "type": body["type"],
        "durable": body["durable"],
        "autoDelete": body["auto_delete"],
    }


def _queue(address: Sequence[str], body: Body) -> Spec:
    """With `deletionPolicy: retain` a queue outlives its custom resource: what it holds is not ours to throw away."""
    _, name = address
    return {
        "name": name,
        "vhost": "/",
        "type": body["arguments"]["x-queue-type"],
        "durable": body["durable"],
        "autoDelete": body["auto_delete"],
        "deletionPolicy": "retain",
    }


def _policy(address: Sequence[str], body: Body) -> Spec:
    _, name = address
    return {
        "name": name,
        "vhost": "/",
        "pattern": body["pattern"],
        "applyTo": body["apply-to"],
        "priority": body["priority"],
        "definition": dict(body["definition"]),
    }


def _binding(address: Sequence[str], body: Body) -> Spec:
    _, _, source, _, queue, _ = address
    return {
        "vhost": "/",
        "source": source,
        "destination": queue,
        "destinationType": "queue",
        "routingKey": body["routing_key"],
    }


def _user(address: Sequence[str], body: Body) -> Spec:
    (name,) = address
    return {"tags": list(body["tags"]), "importCredentialsSecret": {"name": credentials_of(name)}}


def _permission(address: Sequence[str], body: Body) -> Spec:
    """Of a user, on queues and exchanges or on one exchange's keys: the body says which."""
    _, user, *_ = address
    return {"user": user, "vhost": "/", "permissions": dict(body)}


KINDS: Mapping[str, tuple[str, Callable[[Sequence[str], Body], Spec]]] = {
    "exchanges": ("Exchange", _exchange),
    "queues": ("Queue", _queue),
    "policies": ("Policy", _policy),
    "bindings": ("Binding", _binding),
    "users": ("User", _user),
    "permissions": ("Permission", _permission),
    "topic-permissions": ("TopicPermission", _permission),
}


def _name(words: str, fixed: Sequence[Any]) -> str:
    """A DNS name that people recognise: logging_data_lake/risk.evaluated -> logging-data-lake-risk-evaluated-<hash>."""
    digest = hashlib.sha256(json.dumps(fixed, sort_keys=True).encode()).hexdigest()[:8]
    slug = re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")[: LONGEST - len(digest) - 1]
    return f"{slug.rstrip('-')}-{digest}"
