"""The topology's custom resources against the operator's real definitions: each is taken as it is, nothing is lost."""

from __future__ import annotations

from typing import Any

import pytest

from catalog import CATALOG
from catalog.broker import Capabilities
from infra.cluster.custom_resources import API, manifest
from infra.topology import Object, topology
from tests.kubernetes.apiserver import ApiServer, Refused

pytestmark = pytest.mark.servers

OBJECTS = topology(CATALOG, Capabilities.of("4.3"), autoscaled=True).objects
REFERENCES = {
    "cluster": {"name": "rabbitmq", "namespace": "messaging"},
    "connection secret": {"connectionSecret": {"name": "broker"}},
}


def complete(wanted: Object, namespace: str, reference: dict[str, Any]) -> dict[str, Any]:
    made = manifest(wanted, reference)
    metadata = {"name": made.name, "namespace": namespace}
    return {"apiVersion": API, "kind": made.kind, "metadata": metadata, "spec": made.spec}


@pytest.mark.parametrize("reference", REFERENCES.values(), ids=REFERENCES)
def test_every_object_is_taken_with_every_field(api_server: ApiServer, reference: dict[str, Any]) -> None:
    """The server would drop a field that it does not know; strict as it is here, it would refuse it."""
    namespace = api_server.namespace()
    wanted = [complete(entry, namespace, reference) for entry in OBJECTS]

    assert [entry["spec"] for entry in wanted] == [api_server.apply(entry)["spec"] for entry in wanted]


def test_a_wrong_value_is_refused(api_server: ApiServer) -> None:
    """What proves that the test above can fail."""
    queue = next(entry for entry in OBJECTS if entry.name.startswith("queue/"))
    wrong = complete(queue, api_server.namespace(), REFERENCES["cluster"])

    with pytest.raises(Refused, match=r'spec\.deletionPolicy: Unsupported value: "keep"'):
        api_server.apply({**wrong, "spec": {**wrong["spec"], "deletionPolicy": "keep"}})
