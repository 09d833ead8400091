"""Between the topology and a broker without an operator: the broker, and each object in it, as resources."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, cast

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, ResourceProvider, UpdateResult

from infra.broker_api import Api, Refused, Unreachable, fits, live_of, put, remove

if TYPE_CHECKING:  # a stack can be destroyed however broken the catalog is: providers import nothing of it
    from infra.topology import Body, Object

Props = dict[str, Any]

READY_WITHIN = 30  # seconds


class _Reached(ResourceProvider):
    serialize_as_secret_always = False

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        return DiffResult(changes=any(olds.get(key) != news[key] for key in ("api", "version")))

    def create(self, props: Props) -> CreateResult:
        api = Api(**props["api"])
        return CreateResult(api.url, {**props, "announced": announced(api, props["version"])})

    def update(self, _id: str, _olds: Props, news: Props) -> UpdateResult:
        return UpdateResult({**news, "announced": announced(Api(**news["api"]), news["version"])})

    def read(self, id_: str, props: Props) -> ReadResult:
        try:
            overview = Api(**props["api"]).get("overview")
        except Unreachable:
            return ReadResult(None, {})
        return ReadResult(id_, {**props, "announced": overview["rabbitmq_version"]})


def announced(api: Api, expected: str) -> str:
    """The version that the broker announces. Raises Refused where it can do other things than `expected` can."""
    give_up = time.monotonic() + READY_WITHIN
    while not (overview := _reached(api, give_up)):
        time.sleep(0.2)
    announced = str(overview["rabbitmq_version"])
    check_version(api, announced, expected)
    return announced


def check_version(api: Api, announced: str, expected: str) -> None:
    """Raises Refused where a broker can do other things than the stack was made for, or is too old for any."""
    from catalog.broker import Capabilities, UnsupportedBroker  # noqa: PLC0415 - see above

    try:
        fits = Capabilities.of(announced) == Capabilities.of(expected)
    except UnsupportedBroker as error:
        raise Refused(f"RabbitMQ at {api.url}: {error}") from None
    if not fits:
        raise Refused(
            f"RabbitMQ at {api.url} announces version {announced}, the stack is made for {expected}:"
            f" pulumi config set broker.version {'.'.join(announced.split('.')[:2])}"
        )


def _reached(api: Api, give_up: float) -> Body | None:
    try:
        return cast("Body", api.get("overview"))
    except Unreachable:
        if time.monotonic() > give_up:
            raise
        return None


class Broker(Resource, module="broker", name="Broker"):
    """The broker reached: it answers, takes our password, and is of the version that the topology was made for."""

    api: pulumi.Output[Props]

    def __init__(self, name: str, api: pulumi.Input[Props], version: str, opts: pulumi.ResourceOptions) -> None:
        super().__init__(_Reached(), name, {"api": api, "version": version, "announced": None}, opts)


class _Objects(ResourceProvider):
    serialize_as_secret_always = False

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        keys = ("path", "body", "password", "api")
        replaces = ["path"] if olds["path"] != news["path"] else []
        return DiffResult(changes=any(olds.get(key) != news.get(key) for key in keys), replaces=replaces)

    def create(self, props: Props) -> CreateResult:
        put(Api(**props["api"]), props["path"], props["body"], props["password"])
        return CreateResult(props["path"], props)

    def update(self, _id: str, _olds: Props, news: Props) -> UpdateResult:
        put(Api(**news["api"]), news["path"], news["body"], news["password"])
        return UpdateResult(news)

    def read(self, id_: str, props: Props) -> ReadResult:
        try:
            live = live_of(Api(**props["api"]), props["path"])
        except (
            Unreachable
        ):  # nobody knows; forgotten, it would stay in the broker's data for ever once it is not wanted
            return ReadResult(id_, props)
        if live is None:
            return ReadResult(None, {})
        password = props["password"]
        if password and not fits(password, live["password_hash"]):
            password = "changed by hand"  # noqa: S105  # differs from the one that is wanted: a refresh shows an update
        return ReadResult(id_, {**props, "body": {key: live.get(key) for key in props["body"]}, "password": password})

    def delete(self, _id: str, props: Props) -> None:
        try:
            remove(Api(**props["api"]), props["path"])
        except Unreachable as error:
            print(f"{props['path']} is left in place: {error}", file=sys.stderr)


class BrokerObject(Resource, module="broker", name="Object"):
    """One object of the topology in the broker at hand."""

    def __init__(
        self, wanted: Object, api: pulumi.Input[Props], opts: pulumi.ResourceOptions, password: pulumi.Input[str] = ""
    ) -> None:
        props = {"path": wanted.path, "body": wanted.body, "password": password, "api": api}
        super().__init__(_Objects(), wanted.name, props, opts)
