"""The whole program of every stack on Kubernetes, without an engine: it asks for what the catalog resolves to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import pulumi
import pytest

from catalog import Catalog, environment
from catalog.broker import Capabilities
from infra import render
from infra.cluster.settings import ClusterSettings
from infra.recorder import SECRET, Registered, record
from infra.settings import Settings
from infra.topology import policy_of, topology
from tests.infra import stacks
from tests.infra.review import CONTAINER, POD, Manifest, at, name_of

BROKER_KINDS = {"Exchange", "Queue", "Policy", "Binding", "User", "Permission", "TopicPermission"}
PAIR = {"username": SECRET, "password": SECRET}


@pytest.fixture(params=stacks.STACKS)
def name(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def asked(name: str) -> tuple[Registered, ...]:
    return stacks.registered(name)


@pytest.fixture(params=[name for name in stacks.STACKS if name != "a managed broker"])
def by_operator(request: pytest.FixtureRequest) -> tuple[tuple[Registered, ...], Settings]:
    """Only stacks whose broker objects are custom resources: what is asked, and the settings."""
    return stacks.registered(request.param), stacks.stack(request.param)


@pytest.fixture
def stack(name: str) -> Settings:
    return stacks.stack(name)


@pytest.fixture
def catalog(stack: Settings) -> Catalog:
    return stack.catalog


@pytest.fixture
def cluster(stack: Settings) -> ClusterSettings:
    assert stack.cluster
    return stack.cluster


def kind(entry: Registered) -> str:
    """The last part of a type: Deployment, Object, Workload."""
    return entry.type.rpartition(":")[2]


def of(asked: Iterable[Registered], *kinds: str) -> dict[str, Manifest]:
    """The inputs of every Kubernetes object of some kinds, by its name in the cluster."""
    return {
        name_of(dict(entry.inputs)): dict(entry.inputs)
        for entry in asked
        if entry.type.startswith(render.KUBERNETES) and kind(entry) in kinds
    }


def specs(asked: Iterable[Registered], *kinds: str) -> list[Manifest]:
    return [entry["spec"] for entry in of(asked, *kinds).values()]


def upstream(asked: Iterable[Registered], entry: Registered) -> set[str]:
    """Everything that one resource waits for, directly or not, as `kind name`."""
    by_urn = {other.urn: other for other in asked}
    seen: set[str] = set()
    left = set(entry.after)
    while left:
        seen.add(urn := left.pop())
        left |= set(by_urn[urn].after) - seen
    return {f"{kind(by_urn[urn])} {by_urn[urn].name}" for urn in seen}


def test_the_broker_gets_the_topology_and_nothing_else(
    asked: tuple[Registered, ...], stack: Settings, cluster: ClusterSettings
) -> None:
    """Whichever way its objects are made, and without the shared exchange where it is not ours."""
    wanted = topology(
        stack.catalog, Capabilities.of(stack.broker_version), stack.generation, autoscaled=bool(cluster.autoscaled)
    )
    ours = {entry.name for entry in wanted.objects} - (
        set() if cluster.broker.manages_exchange else {wanted.shared.name}
    )
    made = BROKER_KINDS if cluster.broker.operator else {"Object"}

    assert ours == {entry.name for entry in asked if kind(entry) in made}
    assert cluster.broker.operator == bool(of(asked, *BROKER_KINDS))


def test_a_managed_broker_gets_the_same_bodies() -> None:
    """Over the management API, with each user's password as a secret."""
    stack, asked = stacks.stack("a managed broker"), stacks.registered("a managed broker")
    wanted = topology(stack.catalog, Capabilities.of(stack.broker_version), stack.generation)
    made = {entry.name: entry.inputs for entry in asked if kind(entry) == "Object"}

    for entry in wanted.objects:
        if entry != wanted.shared:
            assert (entry.path, entry.body) == (made[entry.name]["path"], made[entry.name]["body"])
            assert (SECRET if entry.owner else "") == made[entry.name]["password"]
            assert {SECRET} == set(made[entry.name]["api"].values())


def test_queues_and_policies(by_operator: tuple[tuple[Registered, ...], Settings]) -> None:
    """Each queue with its dead letters, and the limits that the broker's version knows."""
    asked, stack = by_operator
    catalog, can = stack.catalog, Capabilities.of(stack.broker_version)
    limits = {spec["name"]: spec["definition"] for spec in specs(asked, "Policy")}
    names = {name for queue in catalog.queues for name in (queue.name, queue.dead)}

    assert names == {spec["name"] for spec in specs(asked, "Queue")} == set(limits)
    for queue in catalog.queues:
        assert policy_of(queue, catalog.exchange.dead, can) == limits[queue.name]


def test_bindings_are_the_keys(by_operator: tuple[tuple[Registered, ...], Settings]) -> None:
    asked, stack = by_operator
    exchange, queues = stack.catalog.exchange, stack.catalog.queues
    wanted = {(exchange.name, queue.name, key) for queue in queues for key in queue.keys}
    dead = {(exchange.dead, queue.dead, queue.name) for queue in queues}

    assert wanted | dead == {
        (spec["source"], spec["destination"], spec["routingKey"]) for spec in specs(asked, "Binding")
    }


def test_users_and_permissions(by_operator: tuple[tuple[Registered, ...], Settings]) -> None:
    """A user of the present generation for each service, whose password is a Pulumi secret in a Secret of its own."""
    asked, stack = by_operator
    assert stack.cluster
    owners = [service.name for service in stack.catalog.services]
    owners += ["autoscaler"] if stack.cluster.autoscaled else []
    secrets = of(asked, "Secret")

    assert {f"{owner}-rabbitmq-{stack.generation}" for owner in owners} == {
        spec["importCredentialsSecret"]["name"] for spec in specs(asked, "User")
    }
    assert {f"{owner}-{stack.generation}" for owner in owners} == {spec["user"] for spec in specs(asked, "Permission")}
    for spec in specs(asked, "User"):
        assert PAIR == secrets[spec["importCredentialsSecret"]["name"]]["stringData"]
    for service in stack.catalog.services:
        reads = [
            spec["permissions"]["read"]
            for spec in specs(asked, "Permission")
            if spec["user"] == f"{service.name}-{stack.generation}"
        ]
        assert [f"^({'|'.join(sorted(queue.name for queue in stack.catalog.queues_of(service.name)))})$"] == reads


def test_deployments(asked: tuple[Registered, ...], stack: Settings) -> None:
    """Replicas, names, prefetches, time to end, memory, port and image of each service."""
    found = of(asked, "Deployment")

    assert {service.name for service in stack.catalog.services} == set(found)
    for service in stack.catalog.services:
        deployment = found[service.name]
        queues = stack.catalog.queues_of(service.name)
        told = {entry["name"]: entry.get("value") for entry in at(deployment, f"{CONTAINER} env")}
        wanted = environment(stack.catalog, service.name)

        assert service.replicas == at(deployment, "spec replicas")
        assert wanted == {key: told[key] for key in wanted}
        assert {str(queue.prefetch) for queue in queues} <= set(wanted.values())
        assert str(service.port) == told["PORT"]
        assert [service.port] == [port["containerPort"] for port in at(deployment, f"{CONTAINER} ports")]
        assert max(queue.grace.total_seconds() for queue in queues) == at(
            deployment, f"{POD} terminationGracePeriodSeconds"
        )
        assert f"{service.memory_request}Mi" == at(deployment, f"{CONTAINER} resources requests memory")
        assert stack.cluster
        assert stack.cluster.image == at(deployment, f"{CONTAINER} image")


def test_each_service_has_what_belongs_to_it(asked: tuple[Registered, ...], catalog: Catalog) -> None:
    names = {service.name for service in catalog.services}

    for each in ("ServiceAccount", "Service", "PodDisruptionBudget", "NetworkPolicy"):
        assert names == set(of(asked, each))


def test_autoscalers(asked: tuple[Registered, ...], catalog: Catalog, cluster: ClusterSettings) -> None:
    """Where it is on, KEDA asks about every queue, and the program lets the number of replicas alone."""
    found = of(asked, "ScaledObject")

    assert cluster.autoscaled == set(found) == set(of(asked, "TriggerAuthentication"))
    for name in cluster.autoscaled:
        service, spec = catalog.service(name), found[name]["spec"]
        assert (service.replicas, service.most_replicas) == (spec["minReplicaCount"], spec["maxReplicaCount"])
        assert {queue.name: str(queue.backlog_per_replica) for queue in catalog.queues_of(name)} == {
            trigger["metadata"]["queueName"]: trigger["metadata"]["value"] for trigger in spec["triggers"]
        }
    assert cluster.autoscaled == {
        entry.name for entry in asked if kind(entry) == "Deployment" and "spec.replicas" in entry.ignores
    }


def test_containers_are_made_only_with_keys(
    asked: tuple[Registered, ...], catalog: Catalog, cluster: ClusterSettings
) -> None:
    made = {entry.inputs["name"] for entry in asked if kind(entry) in ("BlobContainer", "CosmosContainer")}

    assert ({store.name for store in catalog.stores} if cluster.sinks.create else set()) == made
    assert cluster.sinks.create == bool(cluster.sinks.cosmos_key)


def test_fault_11_every_environment_is_code() -> None:
    """Three environments on Kubernetes, and the services of the last one scale by themselves."""
    scaled = {name: set(of(stacks.registered(name), "ScaledObject")) for name in stacks.COMMITTED}

    assert {"dev", "staging", "prod"} <= set(scaled)
    assert {service.name for service in stacks.stack("prod").catalog.services} == scaled["prod"]
    assert set() == scaled["dev"]


@pytest.fixture
def made_within(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of resources that are made within an `apply` from now on."""
    names: list[str] = []
    depth = 0
    apply, begin = pulumi.Output.apply, pulumi.Resource.__init__

    def watched(self: Any, func: Any, *rest: Any, **more: Any) -> Any:
        def call(value: Any) -> Any:
            nonlocal depth
            depth += 1
            try:
                return func(value)
            finally:
                depth -= 1

        return apply(self, call, *rest, **more)

    def noted(self: Any, typ: str, name: str, *rest: Any, **more: Any) -> None:
        names.extend([name] if depth else [])
        begin(self, typ, name, *rest, **more)

    monkeypatch.setattr(pulumi.Output, "apply", watched)
    monkeypatch.setattr(pulumi.Resource, "__init__", noted)
    return names


def test_no_resource_is_made_within_an_apply(made_within: list[str]) -> None:
    """A preview would not show it: before the first `up` nobody knows the value that is waited for."""
    assert render.registered(stacks.stack("everything on"))
    assert [] == made_within


def test_one_that_is_would_be_found(made_within: list[str]) -> None:
    def program() -> None:
        pulumi.Output.from_input("late").apply(lambda name: pulumi.ComponentResource("tests:index:Late", name))

    record("project", "stack", program)

    assert ["late"] == made_within


def test_secrets_are_pulumi_secrets(asked: tuple[Registered, ...]) -> None:
    """In a Secret, or in what a provider of ours is told; in plain text nowhere."""
    for entry in asked:
        if kind(entry) == "Secret":
            assert {SECRET} == set(entry.inputs["stringData"].values())
        assert "c2VjcmV0" not in str(entry.inputs)


def test_pods_come_after_what_they_need(asked: tuple[Registered, ...], catalog: Catalog) -> None:
    """Queues and permissions before the pods, and bindings that nobody wants any more are gone."""
    for entry in (entry for entry in asked if kind(entry) == "Deployment"):
        before = upstream(asked, entry)
        needed = {
            *(f"queue/{queue.name}" for queue in catalog.queues_of(entry.name)),
            *(f"policy/{queue.name}" for queue in catalog.queues_of(entry.name)),
            "retired-bindings",
        }
        assert needed <= {other.partition(" ")[2] for other in before}
        assert any(other.partition(" ")[2].startswith(f"permissions/{entry.name}-") for other in before)


def test_events_come_after_the_pods(asked: tuple[Registered, ...], catalog: Catalog) -> None:
    """No key is bound before those run who understand it; dead letters have their way before."""
    pods = {f"Deployment {service.name}" for service in catalog.services}
    keys = {f"binding/{queue.name}/{key}" for queue in catalog.queues for key in queue.keys}
    bindings = [entry for entry in asked if entry.name.startswith("binding/")]

    assert keys == {entry.name for entry in bindings if pods <= upstream(asked, entry)}
    assert {f"binding/{queue.dead}/{queue.name}" for queue in catalog.queues} == {
        entry.name for entry in bindings if not pods & upstream(asked, entry)
    }


def test_what_others_use_outlives_the_stack(asked: tuple[Registered, ...], stack: Settings) -> None:
    """The shared exchange where it is ours; queues too, by their own policy or ours."""
    assert stack.cluster
    exchange = f"exchange/{stack.catalog.exchange.name}"
    queues = {entry.name for entry in asked if entry.name.startswith("queue/")}
    wanted: set[str] = {exchange} if stack.cluster.broker.manages_exchange else set()

    assert wanted | (set() if stack.cluster.broker.operator else queues) == {
        entry.name for entry in asked if entry.kept
    }


def test_each_part_of_a_service_belongs_to_it(asked: tuple[Registered, ...]) -> None:
    """What has a service's name is a child of its component, so that a preview reads as a tree."""
    components = {entry.name: entry.urn for entry in asked if kind(entry) == "Workload"}

    for entry in asked:
        if entry.name in components and kind(entry) != "Workload":
            assert components[entry.name] == entry.parent
    assert len({entry.parent for entry in asked} - set(components.values())) == 1


def test_nothing_is_there_twice(asked: tuple[Registered, ...]) -> None:
    """Neither for Pulumi nor in the cluster."""
    urns = Counter(entry.urn for entry in asked if not entry.type.startswith("pulumi:providers:"))
    objects = Counter(map(render.file_name, render.manifests(asked)))

    assert {1} == {*urns.values(), *objects.values()}


@pytest.mark.parametrize("name", ["prod", "everything on", "a managed broker"])
def test_a_second_run_asks_for_the_same(name: str) -> None:
    """Nothing depends on time, chance or order: a no-change `up` has nothing to do."""

    def inputs(asked: Iterable[Registered]) -> dict[str, Any]:
        return {
            f"{entry.urn} {entry.parent}": (entry.inputs, entry.after, entry.ignores, entry.timeouts) for entry in asked
        }

    assert inputs(stacks.registered(name)) == inputs(render.registered(stacks.stack(name)))


def test_one_prefetch_changes_one_deployment() -> None:
    """And nothing else: no other pod is restarted, no binding touched, no alert rewritten but what is said of it."""
    before = {entry.urn: entry.inputs for entry in stacks.registered("workload identity")}
    changed = stacks.parsed({**stacks.VARIANTS["workload identity"], "rabbitmq.usage.prefetch": "11"})
    after = {entry.urn: entry.inputs for entry in render.registered(changed)}

    assert set(before) == set(after)
    assert ["Deployment::analytics-service"] == [
        urn.rpartition("/v1:")[2] for urn in before if before[urn] != after[urn]
    ]
