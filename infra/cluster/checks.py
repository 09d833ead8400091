"""Before anything is made in a cluster: what it lacks for a stack, each as a sentence with the next step."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from kubernetes import client, config
from kubernetes.config import ConfigException
from urllib3.exceptions import HTTPError

from infra.cluster import custom_resources
from infra.cluster.kinds import BROUGHT_BY, OPERATOR, Kind, kinds
from infra.cluster.place import OPERATOR_READS
from infra.cluster.settings import BrokerAccess, ClusterSettings
from infra.cluster.sinks import KEYS

TIMEOUT = 10  # seconds for one question
REVIEW = "authorization.k8s.io/v1"
AT_ONCE = 8  # questions
VERBS = ("get", "list", "watch", "create", "patch", "delete")  # what Pulumi does with an object
KEEPS = "deletionPolicy"  # the field of a Queue with which we ask for it
ALLOWED = "rabbitmq.com/topology-allowed-namespaces"
CONNECTION_KEYS = ("uri", "username", "password")  # Source: messaging topology operator, connectionSecret
UNSEEN: dict[str, Any] = {}  # an object that we may not read
NO_IMAGE = f"@sha256:{'0' * 64}"  # in the stacks as they are committed


def faults(settings: ClusterSettings) -> list[str]:
    """Everything that is missing, as far as the cluster can be asked."""
    return [*_image(settings.image), *_in_the_cluster(settings)]


def _image(image: str) -> Iterator[str]:
    if image.endswith(NO_IMAGE):
        step = "push one, then `make image-digest STACK=...` writes its digest into the stack (docs/image.md)"
        yield f"image is {image}, which no image has: {step}"


def _in_the_cluster(settings: ClusterSettings) -> Iterator[str]:
    patience = client.Configuration()
    patience.retries = False  # each try may take TIMEOUT
    try:
        with config.new_client_from_config(
            context=settings.context or None, client_configuration=patience
        ) as connection:
            yield from _Cluster(connection, settings).faults()
    except ConfigException as error:
        what, step = f"the kubeconfig does not lead to a cluster ({error})", "pulumi config set kubernetes.context NAME"
        yield f"{what}: `kubectl config get-contexts` lists what there is; then {step}"


@dataclass(frozen=True)
class _Cluster:
    connection: client.ApiClient
    settings: ClusterSettings

    def faults(self) -> Iterator[str]:
        try:
            yield from self._missing_things()
        except HTTPError as error:  # at the first question, or later
            step = "is it running, and are you in its network? `kubectl cluster-info` asks the same"
            yield f"{self.where} does not answer ({type(error).__name__}): {step}"

    def _missing_things(self) -> Iterator[str]:
        if refuses := self.refuses():
            yield refuses
            return
        yield from self.kinds_not_served()
        if gone := self.namespace():
            yield gone
            return
        yield from self.rights()
        yield from self.secrets()
        if self.settings.broker.operator:
            yield from self.operator()

    @property
    def where(self) -> str:
        context = self.settings.context or "kubeconfig's current context"
        return f"the cluster at {self.connection.configuration.host} ({context})"

    def refuses(self) -> str:
        try:
            status, _ = self._ask("GET", "/version")
        except ValueError:
            return f"{self.where} does not answer as Kubernetes does: does the address lead to something else?"
        asks = "log in anew; `kubectl auth whoami` asks the same"
        return "" if status == 200 else f"{self.where} answers {status} to us: {asks}"

    def kinds_not_served(self) -> Iterator[str]:
        wanted: dict[str, list[str]] = {}
        for kind in kinds(self.settings):
            wanted.setdefault(kind.api, []).append(kind.name)
        for api, names in wanted.items():
            path = f"/apis/{api}" if "/" in api else f"/api/{api}"
            served = {entry["kind"] for entry in (self._found(path) or {"resources": []})["resources"]}
            if missing := sorted(set(names) - served):
                brought = BROUGHT_BY.get(api, "this Kubernetes is too old")
                yield f"{', '.join(missing)} ({api}) are not served: {brought}"

    def namespace(self) -> str:
        name = self.settings.namespace
        found = self._found(f"/api/v1/namespaces/{name}")
        if found is None:
            return (
                f"namespace {name} does not exist: kubectl create namespace {name}; it is given to a stack, never made"
                " or deleted by one"
            )
        if found.get("status", {}).get("phase") == "Terminating":
            return f"namespace {name} is being deleted: wait for its end, then make it anew"
        return ""

    def rights(self) -> Iterator[str]:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for kind, missing in pool.map(lambda kind: (kind, self._missing(kind)), kinds(self.settings)):
                if missing:
                    yield (
                        f"you may not {', '.join(missing)} {kind.resource} in namespace {self.settings.namespace}: ask"
                        f" its owner for a role with them (`kubectl auth can-i {missing[0]} {kind.resource}"
                        f" --namespace {self.settings.namespace}` asks the same)"
                    )

    def _missing(self, kind: Kind) -> list[str]:
        return [] if self._may("*", kind) else [verb for verb in VERBS if not self._may(verb, kind)]

    def _may(self, verb: str, kind: Kind) -> bool:
        asked = {"namespace": self.settings.namespace, "verb": verb, "group": kind.group, "resource": kind.plural}
        review = {"apiVersion": REVIEW, "kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes": asked}}
        _, answer = self._ask("POST", f"/apis/{REVIEW}/selfsubjectaccessreviews", review)
        return bool(answer["status"]["allowed"])

    def secrets(self) -> Iterator[str]:
        """Those that somebody else has to make."""
        sinks, broker = self.settings.sinks, self.settings.broker
        if sinks.secret:
            yield from self._secret("sinks.secret", sinks.secret, tuple(KEYS.values()))
        if broker.connection_secret:
            yield from self._secret(
                "broker.connection_secret", broker.connection_secret, CONNECTION_KEYS, OPERATOR_READS
            )
        if self.settings.pull_secret:
            yield from self._secret("image.pull_secret", self.settings.pull_secret, (".dockerconfigjson",))

    def _secret(
        self, setting: str, name: str, keys: tuple[str, ...], labels: Mapping[str, str] | None = None
    ) -> Iterator[str]:
        namespace = self.settings.namespace
        found = self._found(f"/api/v1/namespaces/{namespace}/secrets/{name}")
        if found is None:
            yield (
                f"Secret {name} (setting {setting}) is not in namespace {namespace}: make it with the keys"
                f" {', '.join(keys)}"
            )
            return
        if found == UNSEEN:
            return
        if missing := [key for key in keys if key not in found.get("data", {})]:
            yield f"Secret {name} (setting {setting}) lacks {', '.join(missing)}: it has to have {', '.join(keys)}"
        for label, value in (labels or {}).items():
            if found["metadata"].get("labels", {}).get(label) != value:
                yield (
                    f"Secret {name} (setting {setting}) is not seen by the topology operator:"
                    f" kubectl label secret {name} {label}={value} --namespace {namespace}"
                )

    def operator(self) -> Iterator[str]:
        """That the operator can keep queues when their custom resources go, and may use the RabbitmqCluster."""
        schemas = (
            (self._found(f"/openapi/v3/apis/{custom_resources.API}") or {}).get("components", {}).get("schemas", {})
        )
        for name, schema in schemas.items():
            if name.endswith(".Queue") and KEEPS not in schema["properties"]["spec"]["properties"]:
                yield (
                    "the topology operator here is too old to leave a queue in place when its custom resource goes"
                    f" (Queue has no {KEEPS}): upgrade it ({OPERATOR}/install-topology-operator)"
                )
        if self.settings.broker.cluster:
            yield from self._rabbitmq_cluster(self.settings.broker)

    def _rabbitmq_cluster(self, broker: BrokerAccess) -> Iterator[str]:
        name, home = broker.cluster, broker.cluster_namespace
        found = self._found(f"/apis/rabbitmq.com/v1beta1/namespaces/{home}/rabbitmqclusters/{name}")
        if found is None:
            yield (
                f"RabbitmqCluster {name} (setting broker.cluster) is not in namespace {home}: `kubectl get"
                " rabbitmqclusters --all-namespaces` lists what there is; a broker that no operator runs is named by"
                " broker.connection_secret instead"
            )
        elif found != UNSEEN and home != self.settings.namespace:
            allowed = found["metadata"].get("annotations", {}).get(ALLOWED, "")
            if not {"*", self.settings.namespace} & set(allowed.split(",")):
                both = ",".join(filter(None, [allowed, self.settings.namespace]))
                yield (
                    f"RabbitmqCluster {name} in namespace {home} takes no objects from namespace"
                    f" {self.settings.namespace}: kubectl annotate rabbitmqcluster {name} --namespace {home}"
                    f" --overwrite {ALLOWED}={both}"
                )

    def _found(self, path: str) -> dict[str, Any] | None:
        """The object at a path, None where there is none, UNSEEN where we may not look."""
        status, answer = self._ask("GET", path)
        return {404: None, 403: UNSEEN}.get(status, answer)

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """(status, answer) of one request; the client's own methods know no custom resources. Raises HTTPError."""
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        request = self.connection.param_serialize(
            method, path, header_params=headers, body=body, auth_settings=["BearerToken"]
        )
        answer = self.connection.call_api(*request, _request_timeout=TIMEOUT)
        text = answer.read()
        return answer.status, json.loads(text) if answer.status < 400 else {}
