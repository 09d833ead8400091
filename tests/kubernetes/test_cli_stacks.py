"""The other stacks through the real CLI and engine: all of it becomes ready in order, or one message says why not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from catalog import CATALOG
from tests.kubernetes.apiserver import ApiServer
from tests.kubernetes.controllers import all_is_well
from tests.kubernetes.stack import APPS, ClusterStack

pytestmark = [pytest.mark.servers, pytest.mark.slow]

LOOK = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}


@pytest.mark.parametrize("name", ["staging", "prod"])
def test_every_other_stack_becomes_ready_and_a_second_run_changes_nothing(
    name: str, api_server: ApiServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """With the repository's settings for it, autoscaling and workload identity among them; nothing waits in vain."""
    quick = ClusterStack.made(tmp_path_factory.mktemp(name), name, api_server)
    stack = replace(quick, env={**quick.env, "STANDIN_AWAIT": "on"})

    with all_is_well(api_server, stack.namespace):
        made = stack.up()

    assert {"create"} == {step.doing for step in made}
    assert {service.name: True for service in CATALOG.services} == {
        entry["metadata"]["name"]: "availableReplicas" in entry["status"]
        for entry in stack.objects(APPS, "deployments")
    }
    assert [] == stack.up()


def test_what_is_missing_is_told_in_one_message_before_anything_is_made(
    api_server: ApiServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Settings first, then the cluster, then what may be done and what is there in it."""
    stack = ClusterStack.made(tmp_path_factory.mktemp("missing"), "prod", api_server)
    image = "registry.example.com/consumers"
    stack.set({"image": f"{image}:1.4", "rabbitmq.usage.prefetch": "0", "replicas.logging": "99"})
    head, *faults = stack.problem()
    assert "Pulumi.prod.yaml has 3 problems:" == head
    assert ["image", "rabbitmq.usage.prefetch", "replicas.logging"] == sorted(fault.split()[0] for fault in faults)

    stack.set({"image": f"{image}@sha256:{'5' * 64}", "rabbitmq.usage.prefetch": "20", "replicas.logging": "2"})
    kubeconfig = api_server.user(stack.namespace, [LOOK])
    before = stack.versions()
    stranger = replace(stack, env={**stack.env, "KUBECONFIG": str(kubeconfig)})
    head, *faults = stranger.problem()
    assert f"Stack prod cannot be built, {len(faults)} problems:" == head
    assert any(fault.startswith("  you may not get, list, watch, create") for fault in faults)

    gone = kubeconfig.with_name("gone.yaml")
    gone.write_text(api_server.kubeconfig.read_text().replace(api_server.url, "https://127.0.0.1:1"))
    head, *faults = replace(stack, env={**stack.env, "KUBECONFIG": str(gone)}).problem()
    assert ["  the cluster at https://127.0.0.1:1"] == [fault.partition(" (")[0] for fault in faults]
    assert before == stack.versions()
