"""Between two versions of a stack: bindings that nobody wants any more go before the services change."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, Resource, ResourceProvider, UpdateResult

from infra.broker_api import Api, remove

if TYPE_CHECKING:  # see infra/broker.py
    from infra.topology import Object

Props = dict[str, Any]

GROUP, VERSION, PLURAL = "rabbitmq.com", "v1beta1", "bindings"
GONE_WITHIN = 60  # seconds; the operator needs one
POLL = 0.2
TIMEOUT = 10  # seconds for one question


class StillThere(Exception):
    """A custom resource was deleted and does not go; the text says what to look at."""


def retired(before: Iterable[str], after: Iterable[str]) -> list[str]:
    """The bindings, by path, whose queue stays and does without their key from now on.

    One whose queue goes, or whose key moves to another queue, has to stay until its successor brings events: the engine
    deletes it at the end.
    """
    old, new = {_ends(path): path for path in before}, {_ends(path) for path in after}
    queues, moved = {queue for queue, _ in new}, {key for _, key in new - set(old)}
    return [old[queue, key] for queue, key in sorted(set(old) - new) if queue in queues and key not in moved]


class _Retirements(ResourceProvider):
    """Bindings are resources of their own, which the engine deletes last; this one is updated before the services."""

    serialize_as_secret_always = False

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        return DiffResult(changes=any(olds.get(key) != news[key] for key in news if not key.startswith("__")))

    def create(self, props: Props) -> CreateResult:
        return CreateResult("bindings", props)

    def update(self, _id: str, olds: Props, news: Props) -> UpdateResult:
        for path in retired(olds["bindings"], news["bindings"]):
            self.remove(olds["bindings"][path], news)
        return UpdateResult(news)

    def remove(self, address: str, props: Props) -> None:
        """Make one binding go."""
        raise NotImplementedError


class _OverTheApi(_Retirements):
    def remove(self, address: str, props: Props) -> None:
        remove(Api(**props["api"]), address)


class _CustomResources(_Retirements):
    def remove(self, address: str, props: Props) -> None:
        _delete(address, props["namespace"], props["context"])


def _delete(name: str, namespace: str, context: str) -> None:
    """Delete a binding's custom resource and wait until the operator let it go, and with it the binding itself."""
    from kubernetes import client, config  # noqa: PLC0415 - it takes a second to load, and local stacks need none

    with config.new_client_from_config(context=context or None) as connection:
        api, where = client.CustomObjectsApi(connection), (GROUP, VERSION, namespace, PLURAL, name)
        give_up = time.monotonic() + GONE_WITHIN
        try:
            api.delete_namespaced_custom_object(*where, _request_timeout=TIMEOUT)
            while api.get_namespaced_custom_object(*where, _request_timeout=TIMEOUT):
                if time.monotonic() > give_up:
                    raise StillThere(
                        f"binding {name} in namespace {namespace} was deleted and is there after {GONE_WITHIN} s: is"
                        f" the topology operator running, and does it reach the broker? `kubectl describe binding"
                        f" {name} --namespace {namespace}` has its last words"
                    )
                time.sleep(POLL)
        except client.ApiException as absent:
            if absent.status != 404:
                raise


class Retirement(Resource, module="broker", name="Retirement"):
    """What services wait for: the bindings that only their former versions want are gone."""

    @classmethod
    def over_the_api(
        cls, wanted: Iterable[Object], api: pulumi.Input[Props], opts: pulumi.ResourceOptions
    ) -> Retirement:
        return cls(_OverTheApi(), {"bindings": {entry.path: entry.path for entry in wanted}, "api": api}, opts)

    @classmethod
    def of_custom_resources(
        cls, names: Mapping[str, str], context: str, namespace: str, opts: pulumi.ResourceOptions
    ) -> Retirement:
        """`names` are those of the custom resources by the path of their binding."""
        return cls(_CustomResources(), {"bindings": dict(names), "context": context, "namespace": namespace}, opts)

    def __init__(self, provider: _Retirements, props: Props, opts: pulumi.ResourceOptions) -> None:
        super().__init__(provider, "retired-bindings", props, opts)


def _ends(path: str) -> tuple[str, str]:
    """(queue, key) of bindings/%2F/e/EXCHANGE/q/QUEUE/KEY."""
    _, _, _, _, _, queue, key = path.split("/")
    return queue, key
