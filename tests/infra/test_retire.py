"""Bindings that nobody wants any more: which of them go before the services change, and how each is made to go."""

from __future__ import annotations

from typing import Any

import pytest
from pulumi.dynamic import dynamic

from catalog import CATALOG, resolve
from catalog.broker import Capabilities
from infra import retire
from infra.retire import retired
from infra.topology import topology
from tests.brokers import LiveBroker


def bound(**overrides: list[str] | str) -> list[str]:
    """Paths of the bindings that bring events, with settings of stacks as `rabbitmq__usage__queue`."""
    settings = {key.replace("__", "."): value for key, value in overrides.items()}
    return [entry.path for entry in topology(resolve(CATALOG, settings), Capabilities.of("4.3")).bindings]


USAGE = "bindings/%2F/e/coder_events/q/analytics_service"
LEFT = ["embedding.generated", "ml.prediction.completed"]


def test_a_key_that_a_queue_does_without_goes_first() -> None:
    """The next version of a service never sees what it may not know any more."""
    assert [f"{USAGE}/llm.inference.completed"] == retired(bound(), bound(rabbitmq__bindings=LEFT))


def test_nothing_goes_when_keys_are_added_or_nothing_changes() -> None:
    assert [] == retired(bound(), bound())
    assert [] == retired(bound(rabbitmq__bindings=LEFT), bound())


def test_a_renamed_queue_is_fed_until_its_successor_is() -> None:
    """Both are bound for a while: between the two nothing may be lost."""
    assert [] == retired(bound(), bound(rabbitmq__usage__queue="usage"))


def test_a_key_that_moves_to_another_queue_stays_until_it_has_arrived() -> None:
    without = {"rabbitmq__ml_audit__bindings": ["risk.evaluated"]}
    moved = {**without, "rabbitmq__data_lake__bindings": ["risk.evaluated", "ml.prediction.completed"]}
    kept = "bindings/%2F/e/coder_events/q/logging_ml_audit/ml.prediction.completed"

    assert {kept} == set(retired(bound(), bound(**without))) - set(retired(bound(), bound(**moved)))


@pytest.mark.servers
@pytest.mark.broker
def test_over_the_api_only_what_is_retired_goes(broker: LiveBroker) -> None:
    """Through the provider as Pulumi keeps it; one that somebody deleted before is none the worse."""
    names = {
        path: path.replace("coder_events", "amq.topic").replace("analytics_service", "retired") for path in bound()
    }
    before = [path for path in names.values() if "/retired/" in path]
    broker.api.put("queues/%2F/retired", {"durable": True, "arguments": {"x-queue-type": "quorum"}})
    for path in before:
        broker.api.post(path.rpartition("/")[0], {"routing_key": path.rpartition("/")[2]})
    olds = props(broker, before)
    news = props(broker, before[:1])

    provider = kept(retire._OverTheApi())
    broker.api.delete(before[1])
    assert provider.diff("bindings", olds, news).changes
    assert news == provider.update("bindings", olds, news).outs

    left = [row["routing_key"] for row in broker.api.get("queues/%2F/retired/bindings") if row["source"]]
    assert [before[0].rpartition("/")[2]] == left
    assert not provider.diff("bindings", news, news).changes
    broker.api.delete("queues/%2F/retired")


def props(broker: LiveBroker, paths: list[str]) -> dict[str, Any]:
    return {"bindings": {path: path for path in paths}, "api": vars(broker.api)}


def kept(provider: retire._Retirements) -> Any:
    """The provider as it comes back from a stack's state."""
    return dynamic.dill.loads(dynamic.base64.b64decode(dynamic.serialize_provider(provider)))
