"""Stack `dev` through the real CLI and engine: what each change touches, in which order, and what mends what."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from catalog import CATALOG
from tests.kubernetes.apiserver import ApiServer, Refused
from tests.kubernetes.stack import ClusterStack
from tests.stacks import Step

pytestmark = [pytest.mark.servers, pytest.mark.slow]

DEPLOYMENTS = [Step("update", "Deployment", service.name) for service in CATALOG.services]
LOGGING = Step("update", "Deployment", "logging")
OF_USERS = ("Secret", "User", "Permission", "TopicPermission")
BINDINGS = ("rabbitmq.com/v1beta1", "bindings")


@pytest.fixture(scope="module")
def fresh(api_server: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> ClusterStack:
    """A stack of which nothing exists yet."""
    return ClusterStack.made(tmp_path_factory.mktemp("dev"), "dev", api_server)


@pytest.fixture(scope="module")
def stack(fresh: ClusterStack) -> ClusterStack:
    """The same stack, made; each test leaves it equal to its settings."""
    fresh.up()
    return fresh


def test_a_preview_names_everything_and_makes_nothing(fresh: ClusterStack) -> None:
    planned = fresh.plan()

    assert {"create"} == {step.doing for step in planned}
    assert {service.name for service in CATALOG.services} == {
        step.name for step in planned if step.kind == "Deployment"
    }
    assert {} == fresh.versions()


def test_a_second_run_changes_nothing(stack: ClusterStack) -> None:
    """Neither by what the state says nor by what the cluster says."""
    assert [] == stack.up()


def test_a_changed_prefetch_changes_one_deployment_and_nothing_else(stack: ClusterStack) -> None:
    """Nothing else, neither by what the engine says nor by what the API server has seen written."""
    before = stack.versions()
    stack.set({"rabbitmq.data_lake.prefetch": "11"})

    assert [LOGGING] == stack.plan()
    assert [LOGGING] == stack.up()
    assert ["Deployment/logging"] == [name for name, version in stack.versions().items() if before[name] != version]


def test_hands_are_mended_and_do_not_break_the_next_up(stack: ClusterStack) -> None:
    """`kubectl scale` takes the field over; `up` looks first, and sets it back."""
    stack.scale("logging", 7)
    for version, kind in (("v1", "services"), ("policy/v1", "poddisruptionbudgets")):
        stack.server.request("DELETE", stack.path(version, kind, "logging"))

    assert {LOGGING, Step("create", "Service", "logging"), Step("create", "PodDisruptionBudget", "logging")} == set(
        stack.up()
    )
    assert 1 == stack.replicas("logging")

    stack.scale("logging", 7)
    stack.set({"rabbitmq.data_lake.prefetch": "12"})
    assert [LOGGING] == stack.up()
    assert 1 == stack.replicas("logging")


def test_autoscaling_on_and_off_never_ends_a_replica_that_runs(stack: ClusterStack) -> None:
    """The autoscaler's number survives changes and refreshes; switching off asks for it in writing."""
    stack.set({"autoscaling.logging": "on"})
    stack.up()
    assert 1 == stack.replicas("logging")

    stack.scale("logging", 5, manager="kube-controller-manager")
    stack.set({"rabbitmq.data_lake.prefetch": "13"})
    assert LOGGING in stack.up()
    assert 5 == stack.replicas("logging")

    stack.unset("autoscaling.logging")
    advice = "first `pulumi config set replicas.logging 5`, lower it again in an `up` of its own"
    assert [
        "Pulumi.dev.yaml would end replicas:",
        f"  autoscaling.logging is off now: 5 replicas run, and replicas.logging would keep 1 of them; {advice}",
    ] == stack.problem()

    stack.set({"replicas.logging": "5"})
    assert ("delete", "ScaledObject") in {step[:2] for step in stack.up()}
    assert 5 == stack.replicas("logging")


def test_what_pods_need_comes_before_them_and_what_needs_them_comes_after(stack: ClusterStack) -> None:
    """Users of a new generation, then the Deployments, then an added key and the end of the old users."""
    key = "ml.prediction.completed"
    added = {"rabbitmq.data_lake.bindings": f"risk.evaluated,{key}", "rabbitmq.data_lake.prefetch": "14"}
    stack.set({"credentials.generation": "2", **added})

    steps = stack.up()

    rolled = [steps.index(step) for step in DEPLOYMENTS]
    made = [i for i, step in enumerate(steps) if step.doing == "create" and step.kind in OF_USERS]
    gone = [i for i, step in enumerate(steps) if step.doing == "delete" and step.kind in OF_USERS]
    assert len(OF_USERS) * len(CATALOG.services) == len(made) == len(gone)
    assert max(made) < min(rolled) <= max(rolled) < min(gone)
    secrets = {f"{service.name}-rabbitmq-2" for service in CATALOG.services}
    assert secrets == {name.partition("/")[2] for name in stack.versions() if name.startswith("Secret/")}
    bound = [step for step in steps if step.kind == "Binding"]
    assert [Step("create", "Binding", f"binding/logging_data_lake/{key}")] == bound
    assert steps.index(LOGGING) < steps.index(bound[0])


def test_a_removed_key_goes_before_the_pods_change(stack: ClusterStack) -> None:
    """No event arrives at a pod that does not know its key."""
    before = {entry["metadata"]["name"]: entry["spec"] for entry in stack.objects(*BINDINGS)}
    stack.unset("rabbitmq.data_lake.bindings", "rabbitmq.data_lake.prefetch")

    steps = stack.up()

    assert steps.index(Step("update", "Retirement", "retired-bindings")) < steps.index(LOGGING)
    left = {entry["metadata"]["name"] for entry in stack.objects(*BINDINGS)}
    assert [("logging_data_lake", "ml.prediction.completed")] == [
        (spec["destination"], spec["routingKey"]) for name, spec in before.items() if name not in left
    ]


def test_a_rollback_after_a_roll_out_that_failed_brings_an_unbound_key_back(stack: ClusterStack) -> None:
    """It was unbound before the pods, whose change was refused; the state alone still names its binding."""
    key = "risk.evaluated"
    bound = {(entry["spec"]["destination"], entry["spec"]["routingKey"]) for entry in stack.objects(*BINDINGS)}
    stack.set({"rabbitmq.ml_audit.bindings": "hitl.approval.requested", "rabbitmq.ml_audit.prefetch": "15"})
    with nobody_changes_deployments(stack):
        stack.run("up", "--stack", stack.name, "--yes", "--skip-preview", fails=True)
    left = {(entry["spec"]["destination"], entry["spec"]["routingKey"]) for entry in stack.objects(*BINDINGS)}
    assert ("logging_ml_audit", key) in bound - left

    stack.unset("rabbitmq.ml_audit.bindings", "rabbitmq.ml_audit.prefetch")
    stack.up()

    now = {(entry["spec"]["destination"], entry["spec"]["routingKey"]) for entry in stack.objects(*BINDINGS)}
    assert bound == now


@contextmanager
def nobody_changes_deployments(stack: ClusterStack) -> Iterator[None]:
    """The API server refuses every update of a Deployment in the stack's namespace, as a broken webhook would."""
    name, kind = f"frozen-{stack.namespace}", "admissionregistration.k8s.io/v1"
    rule = {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["deployments"]}
    where = {"matchLabels": {"kubernetes.io/metadata.name": stack.namespace}}
    policy = {
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": [rule]},
        "validations": [{"expression": "false", "message": "frozen"}],
    }
    binding = {
        "policyName": name,
        "validationActions": ["Deny"],
        "matchResources": {"namespaceSelector": where},
    }
    kinds = {"ValidatingAdmissionPolicy": policy, "ValidatingAdmissionPolicyBinding": binding}
    for made, spec in kinds.items():
        stack.server.apply({"apiVersion": kind, "kind": made, "metadata": {"name": name}, "spec": spec})
    give_up = time.monotonic() + 30
    while not refused(stack):  # the server takes a policy up a moment later
        assert time.monotonic() < give_up
        time.sleep(0.2)
    yield
    for plural in ("validatingadmissionpolicybindings", "validatingadmissionpolicies"):
        stack.server.request("DELETE", f"/apis/{kind}/{plural}/{name}")
    while refused(stack):
        time.sleep(0.2)


def refused(stack: ClusterStack) -> bool:
    """Whether a change of a Deployment would be refused now; asked without making one."""
    path = stack.path("apps/v1", "deployments", "logging")
    change = {"metadata": {"annotations": {"asked": "now"}}}
    merge = {"Content-Type": "application/merge-patch+json"}
    try:
        stack.server.request("PATCH", path, params={"dryRun": "All"}, json=change, headers=merge)
    except Refused:
        return True
    return False


def test_destroy_leaves_the_namespace_and_the_exchange(stack: ClusterStack) -> None:
    """Both are not ours to delete; a stack that is made again takes the exchange over as it is."""
    before = namespace_of(stack)

    stack.destroy()

    assert ["Exchange"] == [name.partition("/")[0] for name in stack.versions()]
    assert before == namespace_of(stack)
    assert Step("create", "Exchange", "exchange/coder_events") in stack.up()


def namespace_of(stack: ClusterStack) -> dict[str, Any]:
    return stack.server.request("GET", f"/api/v1/namespaces/{stack.namespace}")
