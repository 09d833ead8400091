"""Hands at a real broker: whatever they change is named by `oncall drift`, with what to do about it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.broker_api import put
from tests.brokers import LiveBroker, eventually
from tests.oncall.sites import Site

pytestmark = [pytest.mark.servers, pytest.mark.broker, pytest.mark.slow]


@pytest.fixture
def site(any_broker: LiveBroker, tmp_path: Path) -> Iterator[Site]:
    """A stack just made, in which nothing differs."""
    with Site.on(any_broker, tmp_path) as made:
        made.make()
        quiet = made.oncall("drift")
        host = made.broker.url.split("@")[1].split("/")[0]
        assert (0, f"No drift: broker {host} holds what the catalog declares\n") == (quiet.code, quiet.out), quiet
        yield made


def reader(site: Site) -> str:
    return next(user.owner for user in site.wanted.users if user.owner.startswith("logging-"))


def bind(site: Site) -> None:
    site.api.post(f"bindings/%2F/e/{site.catalog.exchange.name}/q/{site.lake.name}", {"routing_key": "opportunity.won"})


def unbind(site: Site) -> None:
    site.api.delete(next(entry.path for entry in site.wanted.bindings if f"/{site.lake.name}/" in entry.path))


def delete_the_queue(site: Site) -> None:
    site.api.delete(f"queues/%2F/{site.lake.name}")


def make_it_classic(site: Site) -> None:
    delete_the_queue(site)
    site.api.put(f"queues/%2F/{site.lake.name}", {"durable": True, "arguments": {"x-queue-type": "classic"}})
    for entry in site.wanted.bindings:
        put(site.api, entry.path, entry.body, "")


def hide(site: Site) -> None:
    everything = {"pattern": f"^{site.lake.name}", "priority": 50, "apply-to": "all", "definition": {"max-length": 9}}
    site.api.put(f"policies/%2F/platform_{site.lake.name}", everything)


def add_to_all(site: Site) -> None:
    limit = {"pattern": f"^{site.lake.name}$", "priority": 0, "apply-to": "queues", "definition": {"max-length": 9}}
    site.api.put(f"operator-policies/%2F/operator_{site.lake.name}", limit)


def loosen(site: Site) -> None:
    path = f"policies/%2F/{site.lake.name}"
    live = site.api.get(path)
    site.api.put(path, {**live, "definition": {**live["definition"], "delivery-limit": 3}})


def forget_the_policy(site: Site) -> None:
    site.api.delete(f"policies/%2F/{site.lake.name}")


def widen(site: Site) -> None:
    path = f"permissions/%2F/{reader(site)}"
    site.api.put(path, {**site.api.get(path), "read": ".*"})


def allow_every_key(site: Site) -> None:
    site.api.delete(f"topic-permissions/%2F/{reader(site)}")


def make_an_administrator(site: Site) -> None:
    site.api.put(f"users/{reader(site)}", {"tags": ["administrator"], "password": "throwaway"})


def delete_the_user(site: Site) -> None:
    site.api.delete(f"users/{reader(site)}")


def keep_an_old_user(site: Site) -> None:
    site.api.put("users/logging-7", {"tags": [], "password": "throwaway"})


UP = "`pulumi up` puts it right"
LAKE, READER = "LAKE", "logging-1"  # the one has a name of its own in every test


@pytest.mark.parametrize(
    ("change", "named", "do"),
    [
        (bind, ("binding", f"{LAKE}/opportunity.won", "extra"), "remove the binding in the management page"),
        (unbind, ("binding", f"{LAKE}/risk.evaluated", "missing"), UP),
        (delete_the_queue, ("queue", LAKE, "missing"), UP),
        (make_it_classic, ("queue", LAKE, "different"), f"`oncall migrate {LAKE}`"),
        (hide, ("policy", LAKE, "hidden"), "give it a priority below 10"),
        (add_to_all, ("policy", LAKE, "hidden"), "ask the broker's operator for a pattern that leaves"),
        (loosen, ("policy", LAKE, "different"), UP),
        (forget_the_policy, ("policy", LAKE, "missing"), UP),
        (widen, ("permissions", READER, "wider"), UP),
        (allow_every_key, ("topic permissions", READER, "wider"), UP),
        (make_an_administrator, ("user", READER, "wider"), UP),
        (delete_the_user, ("user", READER, "missing"), UP),
        (keep_an_old_user, ("user", "logging-7", "extra"), "runbooks/rotate-credentials.md"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_what_a_hand_changed_is_named_at_once(
    site: Site, change: Callable[[Site], None], named: tuple[str, str, str], do: str
) -> None:
    """Exit code 1, the object by its name, what is the matter with it, and the next step; no waiting for statistics."""
    change(site)

    answer = site.oncall("drift", "--json")

    found = {(row["kind"], row["name"], row["fault"]): row["next_step"] for row in answer.data["drift"]}
    named = (named[0], named[1].replace(LAKE, site.lake.name), named[2])
    assert 1 == answer.code
    assert named in found
    assert do.replace(LAKE, site.lake.name) in found[named]
    assert named[1] in site.oncall("drift").out


def test_a_foreign_consumer_is_named(site: Site) -> None:
    """By its user and where it comes from; a consumer of ours is none of them."""
    channel = site.broker.channel()
    channel.basic_consume(site.lake.name, lambda *_: None)

    def seen() -> Any:
        rows = site.oncall("drift", "--json").data["drift"]
        return [row["what"] for row in rows if (row["name"], row["fault"]) == (site.lake.name, "foreign")]

    try:
        what = eventually(seen)
    finally:
        channel.connection.close()
    assert ["is consumed by user admin from 127.0.0.1, who is none of ours"] == what


def test_a_stack_of_another_generation_has_its_own_users(site: Site) -> None:
    """After a rotation those of the file's generation are wanted, and the others are left over."""
    site.file.write_text(json.dumps({**json.loads(site.file.read_text()), "generation": 2}))

    rows = {
        (row["name"], row["fault"]) for row in site.oncall("drift", "--json").data["drift"] if row["kind"] == "user"
    }

    names = [service.name for service in site.catalog.services]
    assert {(f"{name}-2", "missing") for name in names} | {(f"{name}-1", "extra") for name in names} == rows


def test_somebody_who_may_not_look_is_told(site: Site) -> None:
    """Permissions and users are an administrator's to see."""
    login = {**json.loads(site.file.read_text())["management"], "user": reader(site), "password": "throwaway"}
    site.file.write_text(json.dumps({**json.loads(site.file.read_text()), "management": login}))

    answer = site.oncall("drift")

    assert (2, True) == (answer.code, "RabbitMQ at" in answer.err), answer.err
