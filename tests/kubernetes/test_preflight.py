"""What is missing is told in one message before anything is made: by a real API server, and by a real broker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pulumi
import pytest
from urllib3.exceptions import ReadTimeoutError

from catalog import CATALOG
from infra import preflight
from infra.broker_api import Api
from infra.cluster import checks, kinds
from infra.cluster.checks import VERBS
from infra.cluster.kinds import OPERATOR
from infra.cluster.place import OPERATOR_READS
from infra.settings import Settings, parse
from tests.brokers import LiveBroker
from tests.infra.test_differences import PLATFORM
from tests.kubernetes.apiserver import ApiServer
from tests.kubernetes.surroundings import secret, surround
from tools.servers import free_ports

pytestmark = pytest.mark.servers

CONFIG = {
    "target": "kubernetes",
    "image": "registry.example/consumers@sha256:" + "5" * 64,
    "broker.cluster": "rabbitmq",
    "cosmos_db.endpoint": "https://risk.documents.azure.com",
    "sinks.secret": "sinks",
}
OUTSIDE = {
    "broker.connection_secret": "broker",
    "broker.amqp": "amqp://rabbitmq:5672/%2F",
    "network.broker": "10.0.0.0/8",
}
EVERYTHING = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}


def stack(namespace: str, without: str = "", **more: str) -> Settings:
    """Settings as a stack file has them; keys of `more` with `__` for the dot."""
    config = {
        **CONFIG,
        "kubernetes.namespace": namespace,
        **{key.replace("__", "."): text for key, text in more.items()},
    }
    config.pop(without, None)
    return parse(config, {"broker.admin_password"}, stack="test", root=Path("/project"))


def told(settings: Settings) -> list[str]:
    """The sentences of the refusal, without its head; none where nothing is missing."""
    try:
        preflight.check(settings)
    except pulumi.RunError as refusal:
        head, *sentences = str(refusal).split("\n  ")
        count = "1 problem" if len(sentences) == 1 else f"{len(sentences)} problems"
        assert f"Stack test cannot be built, {count}:" == head
        return sentences
    return []


@pytest.fixture
def become(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Ask as whom a kubeconfig names; the client library read the variable when it was imported."""
    return lambda kubeconfig: monkeypatch.setattr(
        "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(kubeconfig)
    )


@pytest.fixture(autouse=True)
def administrator(api_server: ApiServer, become: Any) -> None:
    become(api_server.kubeconfig)


@pytest.fixture
def namespace(api_server: ApiServer) -> str:
    """One in which nothing is missing."""
    name = api_server.namespace()
    surround(api_server, name)
    return name


def test_nothing_is_told_where_everything_is_there(namespace: str) -> None:
    assert [] == told(stack(namespace))


def test_a_stack_of_this_machine_is_not_asked() -> None:
    preflight.check(parse({"target": "local"}, (), stack="local", root=Path("/project")))


def test_a_cluster_that_does_not_answer_is_named(api_server: ApiServer, become: Any, tmp_path: Path) -> None:
    """With its address and context; what else may be missing nobody can know."""
    (nobody,) = free_ports(1)
    address = f"https://127.0.0.1:{nobody}"
    become(altered(api_server, tmp_path, api_server.url, address))

    assert [
        (f"the cluster at {address} (kubeconfig's current context) does not answer (NewConnectionError):"
        " is it running, and are you in its network? `kubectl cluster-info` asks the same")
    ] == told(stack("any"))  # fmt: skip


def test_a_cluster_that_falls_silent_leaves_what_was_found(
    namespace: str, api_server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever question it does not answer any more: the same sentence, behind what is known by then."""

    def silent(_: Any) -> str:
        raise ReadTimeoutError(None, "", "")  # type: ignore[arg-type]

    monkeypatch.setattr(checks._Cluster, "namespace", silent)
    nobody = "registry.example/consumers@sha256:" + "0" * 64

    image, cluster = told(stack(namespace, image=nobody))

    assert image.startswith(f"image is {nobody}")
    assert cluster.startswith(f"the cluster at {api_server.url} (kubeconfig's current context) does not answer (Read")


def test_a_broker_that_nobody_may_look_into_is_told(namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A preview that says nothing of it would be taken for one that saw nothing."""
    heard: list[str] = []
    monkeypatch.setattr("pulumi.log.info", heard.append)

    assert [] == told(stack(namespace))

    (sentence,) = heard
    assert sentence.startswith("The broker is not looked into: ")
    assert all(f"broker.admin_{what}" in sentence for what in ("url", "user", "password"))


def test_a_login_that_has_ended_is_told(api_server: ApiServer, become: Any, tmp_path: Path) -> None:
    become(altered(api_server, tmp_path, "token: ", "token: old"))

    assert [
        (f"the cluster at {api_server.url} (kubeconfig's current context) answers 401 to us:"
        " log in anew; `kubectl auth whoami` asks the same")
    ] == told(stack("any"))  # fmt: skip


def altered(api_server: ApiServer, folder: Path, old: str, new: str) -> Path:
    file = folder / "kubeconfig"
    file.write_text(api_server.kubeconfig.read_text().replace(old, new))
    return file


def test_a_context_that_does_not_exist_is_told() -> None:
    (sentence,) = told(stack("any", kubernetes__context="elsewhere"))

    assert sentence.startswith("the kubeconfig does not lead to a cluster (")
    assert sentence.endswith(
        "): `kubectl config get-contexts` lists what there is; then pulumi config set kubernetes.context NAME"
    )


def test_a_namespace_that_does_not_exist_is_told() -> None:
    assert [
        ("namespace absent does not exist: kubectl create namespace absent; it is given to a stack, never made or"
        " deleted by one")
    ] == told(stack("absent"))  # fmt: skip


def test_a_namespace_that_goes_is_told(api_server: ApiServer) -> None:
    """No controller runs here, so that it goes for ever."""
    going = api_server.namespace()
    api_server.request("DELETE", f"/api/v1/namespaces/{going}")

    assert [f"namespace {going} is being deleted: wait for its end, then make it anew"] == told(stack(going))


def test_kinds_that_nobody_brought_are_told_with_who_brings_them(
    namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked of a version that no operator serves, since the definitions here serve other tests as well."""
    monkeypatch.setattr(kinds.autoscaling, "API", "keda.sh/v9")
    monkeypatch.setitem(kinds.BROUGHT_BY, "keda.sh/v9", kinds.BROUGHT_BY["keda.sh/v1alpha1"])

    assert [] == told(stack(namespace))
    assert [
        ("ScaledObject, TriggerAuthentication (keda.sh/v9) are not served: KEDA brings them"
        " (https://keda.sh/docs/latest/deploy); to do without it take the autoscaling settings out")
    ] == told(stack(namespace, autoscaling__logging="on"))  # fmt: skip


def test_an_operator_that_would_delete_queues_is_refused(namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An old one drops the field with which we ask it to leave them; told by the schema that the cluster publishes."""
    monkeypatch.setattr(checks, "KEEPS", "stays")

    assert [
        ("the topology operator here is too old to leave a queue in place when its custom resource goes (Queue has no"
        f" stays): upgrade it ({OPERATOR}/install-topology-operator)")
    ] == told(stack(namespace))  # fmt: skip


def test_what_one_may_not_do_is_told_kind_by_kind(api_server: ApiServer, namespace: str, become: Any) -> None:
    """Every verb that is missing; kinds and Secrets that one may not even see are not called missing."""
    become(
        api_server.user(namespace, [{"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "list"]}])
    )

    sentences = told(stack(namespace))

    assert (
        f"you may not watch, create, patch, delete deployments.apps in namespace {namespace}: ask its owner for a role"
        f" with them (`kubectl auth can-i watch deployments.apps --namespace {namespace}` asks the same)"
    ) in sentences
    assert {kind.resource for kind in kinds.kinds(cluster(stack(namespace)))} == {
        sentence.partition(" in namespace")[0].split()[-1] for sentence in sentences
    }


@pytest.mark.parametrize(
    "rules",
    [
        [EVERYTHING],
        [{**EVERYTHING, "verbs": list(VERBS)}],
    ],
    ids=["everything", "verb by verb"],
)
def test_who_may_do_everything_in_the_namespace_needs_no_right_elsewhere(
    api_server: ApiServer, namespace: str, become: Any, rules: Sequence[Mapping[str, Any]]
) -> None:
    become(api_server.user(namespace, rules))

    assert [] == told(stack(namespace))


def cluster(settings: Settings) -> Any:
    return settings.cluster


def test_a_secret_that_others_make_is_told_with_its_keys(api_server: ApiServer) -> None:
    bare = api_server.namespace()
    sinks = "Secret sinks (setting sinks.secret)"

    assert [
        f"{sinks} is not in namespace {bare}: make it with the keys data_lake_connection_string, cosmos_db_key",
        (f"Secret broker (setting broker.connection_secret) is not in namespace {bare}: make it with the keys"
        " uri, username, password"),
        f"Secret pull (setting image.pull_secret) is not in namespace {bare}: make it with the keys .dockerconfigjson",
    ] == told(stack(bare, "broker.cluster", image__pull_secret="pull", **outside()))  # fmt: skip

    api_server.apply(secret(bare, "sinks", "cosmos_db_key"))
    api_server.apply(secret(bare, "broker", "uri", "username", "password"))
    assert [
        f"{sinks} lacks data_lake_connection_string: it has to have data_lake_connection_string, cosmos_db_key",
        ("Secret broker (setting broker.connection_secret) is not seen by the topology operator:"
        f" kubectl label secret broker rabbitmq.com/topology-operator=true --namespace {bare}"),
    ] == told(stack(bare, "broker.cluster", **outside()))  # fmt: skip

    api_server.apply(secret(bare, "sinks", "cosmos_db_key", "data_lake_connection_string"))
    api_server.apply(secret(bare, "broker", "uri", "username", "password", labels=OPERATOR_READS))
    assert [] == told(stack(bare, "broker.cluster", **outside()))


def outside() -> dict[str, str]:
    return {key.replace(".", "__"): text for key, text in OUTSIDE.items()}


def test_a_rabbitmq_cluster_that_is_not_there_is_told(namespace: str) -> None:
    assert [
        (f"RabbitmqCluster rabit (setting broker.cluster) is not in namespace {namespace}: `kubectl get"
        " rabbitmqclusters --all-namespaces` lists what there is; a broker that no operator runs is named by"
        " broker.connection_secret instead")
    ] == told(stack(namespace, broker__cluster="rabit"))  # fmt: skip


def test_a_rabbitmq_cluster_that_does_not_let_us_in_is_told(api_server: ApiServer, namespace: str) -> None:
    """The operator would refuse every object, one after the other."""
    home, friend = api_server.namespace(), api_server.namespace()
    surround(api_server, friend, home=home, lets_in=friend)

    assert [] == told(stack(friend, broker__cluster_namespace=home))
    assert [
        (f"RabbitmqCluster rabbitmq in namespace {home} takes no objects from namespace {namespace}: kubectl annotate"
        f" rabbitmqcluster rabbitmq --namespace {home} --overwrite"
        f" rabbitmq.com/topology-allowed-namespaces={friend},{namespace}")
    ] == told(stack(namespace, broker__cluster_namespace=home))  # fmt: skip


def admin(api: Api, **more: str) -> dict[str, str]:
    found = {"broker__admin_url": api.url, "broker__admin_user": api.user, "broker__admin_password": api.password}
    return {**found, **more}


def test_an_image_that_nobody_has_built_is_told(namespace: str) -> None:
    """The committed stacks name none; its pods would wait for it until somebody looked."""
    nobody = "registry.example/consumers@sha256:" + "0" * 64

    assert [
        (f"image is {nobody}, which no image has: push one, then `make image-digest STACK=...` writes its digest into"
        " the stack (docs/image.md)")
    ] == told(stack(namespace, image=nobody))  # fmt: skip


def test_a_broker_that_does_not_answer_or_does_not_know_us_is_told(namespace: str, broker: LiveBroker) -> None:
    """Beside what the cluster lacks, in the same message."""
    (nobody,) = free_ports(1)
    away = Api(f"http://127.0.0.1:{nobody}", "", "admin", "any")
    stranger = Api(broker.api.url, "", "admin", "guessed")

    assert [f"RabbitMQ's management API at {away.url} does not answer: is the broker running?"] == told(
        stack(namespace, **admin(away))
    )
    assert [
        ("namespace absent does not exist: kubectl create namespace absent; it is given to a stack, never made or"
        " deleted by one"),
        (f"RabbitMQ at {broker.api.url} refuses user 'admin' with that password: give broker.admin_user and"
        " broker.admin_password (--secret) of an administrator"),
    ] == told(stack("absent", **admin(stranger)))  # fmt: skip


def test_a_broker_of_another_version_is_told(namespace: str, oldest_broker: LiveBroker) -> None:
    full = oldest_broker.api.get("overview")["rabbitmq_version"]

    assert [
        (f"RabbitMQ at {oldest_broker.api.url} announces version {full}, the stack is made for 4.3:"
        " pulumi config set broker.version 4.0")
    ] == told(stack(namespace, **admin(oldest_broker.api)))  # fmt: skip


CLASSIC = {"durable": True, "auto_delete": False, "arguments": {"x-queue-type": "classic"}}
USAGE, SHARED = CATALOG.queue_of("usage").name, CATALOG.exchange.name


def test_a_shared_exchange_has_to_be_there_and_a_topic_exchange(namespace: str, broker: LiveBroker) -> None:
    """It is made where the broker is ours, and only looked at elsewhere."""
    others = "its owner creates it; where that is us: pulumi config set exchange.manage on"
    absent = f"exchange {SHARED} does not exist: {others}"
    other = (
        f"exchange {SHARED} has type fanout instead of topic: a broker never changes an exchange: ask its owner which"
        " name is meant"
    )

    broker.api.delete(f"exchanges/%2F/{SHARED}")  # the broker serves other tests too
    assert [absent] == told(stack(namespace, **admin(broker.api)))
    assert [] == told(stack(namespace, **admin(broker.api, exchange__manage="on")))
    broker.api.put(f"exchanges/%2F/{SHARED}", {"type": "fanout", "durable": True})
    found = [told(stack(namespace, **admin(broker.api, exchange__manage=manage))) for manage in ("on", "off")]
    broker.api.delete(f"exchanges/%2F/{SHARED}")
    assert [[other], [other]] == found


def test_what_no_up_can_mend_stops_it_and_the_rest_is_a_warning(
    namespace: str, broker: LiveBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A classic queue and a stronger policy stop it; a binding of nobody's, and rights that are too wide, are told."""
    warned: list[str] = []
    monkeypatch.setattr(pulumi.log, "warn", warned.append)
    broker.api.put(f"queues/%2F/{USAGE}", CLASSIC)
    broker.api.put("policies/%2F/platform", {**PLATFORM, "priority": 11})
    broker.api.post(f"bindings/%2F/e/amq.topic/q/{USAGE}", {"routing_key": "embedding.#"})
    broker.api.put("users/logging-1", {"password": "x", "tags": ["administrator"]})

    sentences = told(stack(namespace, **admin(broker.api, exchange__manage="on")))

    for path in (f"queues/%2F/{USAGE}", "policies/%2F/platform", "users/logging-1"):
        broker.api.delete(path)
    assert [
        (f"queue {USAGE} has arguments {{'x-queue-type': 'classic'}} instead of {{'x-queue-type': 'quorum'}}: a broker"
        f" never changes a queue: `oncall migrate {USAGE}` moves its events to a new one"),
        (f"policy {USAGE} is not in effect: policy platform (pattern {PLATFORM['pattern']}, priority 11) hides ours of"
        f" queue {USAGE} (priority 10), and with it the delivery limit and the dead letters: give it a priority below"
        f" 10 or a pattern that leaves {USAGE} out"),
    ] == sentences  # fmt: skip
    (warning,) = warned
    head, *rest = warning.split("\n  ")
    assert "The broker holds what this stack does not mend:" == head
    assert f"binding {USAGE}/embedding.# from amq.topic is declared by nobody" in warning
    assert "user logging-1 has tag administrator, which nobody declared" in warning
    assert [f"binding {USAGE}/{key}" for key in CATALOG.queue(USAGE).keys] == [
        sentence.partition(" from")[0] for sentence in rest if "does not exist: " in sentence
    ]
