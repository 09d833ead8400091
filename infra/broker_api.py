"""The management API of a broker: how each object of the topology is read, put and removed, and what is refused."""

from __future__ import annotations

import base64
import hashlib
import re
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import pika
import requests
from pika.exceptions import AMQPError

from infra.differences import hidden, hiding

if TYPE_CHECKING:  # see infra/broker.py
    from infra.topology import Body

STATISTICS = 11  # seconds by which the management API's counts may be late
PATIENCE = 5  # seconds for a broker that refuses our password, in case it is only ending or beginning
TIMEOUT = 10  # seconds for one request; a broker on the same network answers in milliseconds
IMMUTABLE = ("exchanges", "queues")  # kinds whose properties the broker fixes at their birth


class Refused(Exception):
    """The broker, or a rule of ours, does not allow the change; the text says what to do."""


class WrongPassword(Refused):
    """The broker does not know us, or not by this password."""


class Unreachable(Refused):
    """The management API does not answer, or not yet: it opens before all behind it is there."""


@dataclass(frozen=True)
class Api:
    """The management API of one broker; `amqp` is needed only to count what a queue holds at this moment."""

    url: str
    amqp: str
    user: str
    password: str

    def get(self, path: str) -> Any:
        """The object at a path, None where there is none."""
        return self._send("GET", path)

    def put(self, path: str, body: Body) -> None:
        self._send("PUT", path, body)

    def post(self, path: str, body: Body) -> None:
        self._send("POST", path, body)

    def delete(self, path: str) -> None:
        self._send("DELETE", path)

    def held(self, queue: str) -> tuple[int, int]:
        """(messages, consumers) of a queue now; the management API's own numbers are up to 5 s old."""
        try:
            with pika.BlockingConnection(pika.URLParameters(self.amqp)) as connection:
                answer = connection.channel().queue_declare(queue, passive=True).method
        except (AMQPError, OSError) as error:
            raise Unreachable(f"RabbitMQ does not answer over AMQP ({error!r}): is it running?") from error
        return answer.message_count, answer.consumer_count

    def _send(self, method: str, path: str, body: Body | None = None) -> Any:
        address = f"{self.url}/api/{path}"
        answer = self._request(method, address, body)
        for _ in range(PATIENCE):  # a broker that is just ending, or has just begun, knows nobody
            if answer.status_code != 401:
                break
            time.sleep(1)
            answer = self._request(method, address, body)
        if answer.status_code == 404 and method in ("GET", "DELETE"):
            return None
        if answer.status_code == 401:
            raise WrongPassword(
                f"RabbitMQ at {self.url} refuses the password of user {self.user!r}: its data folder is of another time"
                " or somebody changed the password; set it back, or let `make clean` remove the data and start anew"
            )
        if answer.status_code >= 500:
            raise Unreachable(
                f"RabbitMQ at {self.url} answers {answer.status_code} to {method} {path}: look into its log"
            )
        if not answer.ok:
            raise Refused(f"RabbitMQ at {self.url} answers {answer.status_code} to {method} {path}: {answer.text}")
        return answer.json() if answer.content else {}

    def _request(self, method: str, address: str, body: Body | None) -> requests.Response:
        try:
            return requests.request(method, address, json=body, auth=(self.user, self.password), timeout=TIMEOUT)
        except requests.RequestException as error:
            raise Unreachable(
                f"RabbitMQ's management API at {self.url} does not answer: is the broker running?"
            ) from error


def live_of(api: Api, path: str) -> Body | None:
    """What the broker has at a path. Raises Refused for a policy that another one hides."""
    if not path.startswith("topic-permissions/"):
        live = cast("Body | None", api.get(path))
        if live and path.startswith("policies/"):
            _check_not_hidden(api, live)
        return live
    user, _, exchange = path.rpartition("/")
    return next((entry for entry in api.get(user) or () if entry["exchange"] == exchange), None)


def put(api: Api, path: str, body: Body, password: str) -> None:
    """Make the object what it should be, whether or not it exists. Raises Refused for what cannot be changed."""
    kind, parent, body = path.split("/", maxsplit=1)[0], path.rpartition("/")[0], _with_whole_numbers(body)
    if kind in IMMUTABLE and (live := api.get(path)):
        _check_unchanged(path, body, live)
    elif kind == "bindings":
        api.post(parent, body)
    elif kind == "topic-permissions":
        api.put(parent, body)
    else:
        api.put(path, {**body, "password": password} if password else body)
    if kind == "policies":
        _check_not_hidden(api, {**body, "name": path.rpartition("/")[2]})


def remove(api: Api, path: str) -> None:
    """Delete an object; a queue only when nobody could miss it, since no broker call does both for quorum queues."""
    kind, _, rest = path.partition("/")
    name = rest.rpartition("/")[2]
    if kind == "queues" and api.get(path):
        messages, consumers = api.held(name)
        if not messages and _delays_retries(api, name):
            time.sleep(STATISTICS)  # what waits between two tries is counted in the statistics only
            messages = (api.get(path) or {}).get("messages", 0)
        if messages or consumers:
            print(
                f"queue {name} is left in place: it holds {messages} messages and has {consumers} consumers;"
                f" empty it, then delete it in the management page",
                file=sys.stderr,
            )
            return
    api.delete(path)


def _delays_retries(api: Api, queue: str) -> bool:
    """Asked of the policies themselves: which one is in effect shows seconds later."""
    found = [policy for policy in api.get("policies/%2F") if re.search(policy["pattern"], queue)]
    return any("delayed-retry-type" in policy["definition"] for policy in found)


def fits(password: str, stored: str) -> bool:
    """Whether a password is behind a hash of RabbitMQ's: base64 of a 4-byte salt and SHA-256(salt + password)."""
    raw = base64.b64decode(stored)
    return hashlib.sha256(raw[:4] + password.encode()).digest() == raw[4:]


def _with_whole_numbers(value: Any) -> Any:
    """Undo what Pulumi's wire format does to integers: it knows only doubles, and the broker refuses those."""
    if isinstance(value, dict):
        return {key: _with_whole_numbers(entry) for key, entry in value.items()}
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _check_unchanged(path: str, body: Body, live: Body) -> None:
    differing = {key: (live.get(key), value) for key, value in body.items() if live.get(key) != value}
    if differing:
        kind, name = path.split("/", maxsplit=1)[0].removesuffix("s"), path.rpartition("/")[2]
        faults = "; ".join(f"{key} is {had!r}, wanted {value!r}" for key, (had, value) in differing.items())
        raise Refused(
            f"{kind} {name} exists with other properties ({faults}) and a broker never changes them: either give this"
            f" stack another name for it, or stop its users, empty it, delete it in the management page, and run again"
        )


def _check_not_hidden(api: Api, ours: Body) -> None:
    """Only one policy applies to a queue: a platform's `.*` of higher priority silently removes our limits."""
    for other in hiding(api.get("policies/%2F"), ours["name"], ours["priority"]):
        raise Refused(": ".join(hidden(ours["name"], ours["priority"], other)))
