"""What a stack on Kubernetes says beyond the catalog: its place, broker and sinks, and who watches and scales it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import partial

from catalog import Catalog
from catalog.links import LINKS, Links
from infra import formats
from infra.formats import Destination
from infra.reading import Reading, one_of

PRODUCTION = "prod"  # the stack in which every image is named by its digest


@dataclass(frozen=True, kw_only=True)
class Admin:
    """The broker's management API as seen from where Pulumi runs, and who may change objects there."""

    url: str
    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class BrokerAccess:
    """`amqp` and `http` are addresses as pods see them, without credentials; `http` is needed by the autoscaler only.

    `operator` tells whether the topology operator makes the objects, in the broker of a RabbitmqCluster (`cluster` in
    `cluster_namespace`) or one outside that Secret `connection_secret` leads to; else we do, as `admin`.
    """

    operator: bool
    cluster: str
    cluster_namespace: str
    connection_secret: str
    amqp: str
    http: str
    admin: Admin | None
    manages_exchange: bool

    @property
    def reference(self) -> dict[str, object]:
        """How custom resources name the broker: their `rabbitmqClusterReference`."""
        if self.cluster:
            return {"name": self.cluster, "namespace": self.cluster_namespace}
        return {"connectionSecret": {"name": self.connection_secret}}


@dataclass(frozen=True, kw_only=True)
class Sinks:
    """Who we are to the stores: by connection string and key, by those in Secret `secret`, or by workload identity.

    `create` tells whether Pulumi makes the containers; it needs the first way.
    """

    connection_string: str = field(repr=False)
    cosmos_endpoint: str
    cosmos_key: str = field(repr=False)
    secret: str
    client_id: str
    account: str
    create: bool


@dataclass(frozen=True, kw_only=True)
class Watching:
    """`labels` are those by which the Prometheus operator finds what is its own, `dashboard_label` Grafana's sidecar.

    `namespace` is where both run, `folder` the one for our boards.
    """

    labels: Mapping[str, str]
    namespace: str
    dashboard_label: tuple[str, str]
    folder: str
    links: Links


@dataclass(frozen=True, kw_only=True)
class ClusterSettings:
    """`namespace` is given: never made and never deleted by us. `context` is empty for kubeconfig's current one.

    `egress` is where the stores are; `broker_network` where a broker outside the cluster is, empty where none is.
    """

    namespace: str
    context: str
    image: str
    pull_secret: str
    broker: BrokerAccess
    sinks: Sinks
    autoscaled: frozenset[str]
    deletion_cost: bool
    watching: Watching
    egress: tuple[Destination, ...]
    broker_network: str


def read(reading: Reading, catalog: Catalog, stack: str) -> ClusterSettings:
    """Everything that only a stack on Kubernetes may set; what is wrong is in `reading.faults` afterwards."""
    autoscaled = frozenset(
        service.name for service in catalog.services if reading.switch(f"autoscaling.{service.name}")
    )
    namespace = reading.value("kubernetes.namespace", formats.label, "")
    reading.need(["kubernetes.namespace"], "name the one that was made for this stack; never made or deleted here")
    by_tag = reading.switch("image.by_tag")
    if by_tag and stack == PRODUCTION:
        reading.faults.append(f"image.by_tag is on: stack {PRODUCTION} takes no tags, name the image by its digest")
    image = reading.value("image", formats.image_by_tag if by_tag else formats.image, "")
    reading.need(["image"], "push consumers/Dockerfile's image, then set NAME@sha256:DIGEST as the push prints it")
    return ClusterSettings(
        namespace=namespace,
        context=reading.value("kubernetes.context", formats.text, ""),
        image=image,
        pull_secret=reading.value("image.pull_secret", formats.object_name, ""),
        broker=_broker(reading, namespace, autoscaled),
        sinks=_sinks(reading),
        autoscaled=autoscaled,
        deletion_cost=reading.switch("autoscaling.deletion_cost"),
        watching=_watching(reading),
        egress=reading.value("network.egress", formats.destinations, (Destination("0.0.0.0/0", 443),)),
        broker_network=_broker_network(reading),
    )


OPERATOR = ("broker.cluster", "broker.cluster_namespace", "broker.connection_secret")
ADMIN = ("broker.admin_url", "broker.admin_user", "broker.admin_password")


def _broker(reading: Reading, namespace: str, autoscaled: Collection[str]) -> BrokerAccess:
    operator = reading.value("broker.objects", one_of("operator", "api"), "operator") == "operator"
    cluster = reading.value("broker.cluster", formats.label, "")
    home = reading.value("broker.cluster_namespace", formats.label, namespace)
    found = BrokerAccess(
        operator=operator,
        cluster=cluster,
        cluster_namespace=home,
        connection_secret=reading.value("broker.connection_secret", formats.object_name, ""),
        amqp=reading.value("broker.amqp", formats.amqp, f"amqp://{cluster}.{home}.svc:5672/%2F" if cluster else ""),
        http=reading.value("broker.http", formats.management, f"http://{cluster}.{home}.svc:15672" if cluster else ""),
        admin=_admin(reading),
        manages_exchange=reading.switch("exchange.manage"),
    )
    _check_way_to_broker(reading, operator=operator)
    if not reading.has("broker.cluster"):
        reading.need(
            ["broker.amqp"], "give the broker's address as pods see it, such as amqp://rabbitmq.example:5672/%2F"
        )
        if autoscaled:
            reading.need(["broker.http"], "KEDA counts messages there, give it as http://rabbitmq.example:15672")
    return found


def _check_way_to_broker(reading: Reading, *, operator: bool) -> None:
    ways = [key for key in ("broker.cluster", "broker.connection_secret") if reading.has(key)]
    if not operator:
        reading.refuse(OPERATOR, "is for broker.objects operator: take it out")
        reading.need(ADMIN, "broker.objects is api, so Pulumi itself makes the objects over the management API")
        return
    if not ways:
        reading.faults.append(
            "broker.cluster is missing: name the RabbitmqCluster, or for a broker outside, as broker.connection_secret,"
            " the Secret that leads to it"
        )
    if len(ways) == 2:
        reading.faults.append("broker.cluster and broker.connection_secret are both there: a stack has one broker")
    if reading.has("broker.cluster_namespace") and not reading.has("broker.cluster"):
        reading.faults.append("broker.cluster_namespace is of no use without broker.cluster: take it out")
    if any(reading.has(key) for key in ADMIN):
        reading.need(ADMIN, f"{', '.join(ADMIN)} go together, all or none")


def _admin(reading: Reading) -> Admin | None:
    admin = Admin(
        url=reading.value("broker.admin_url", formats.management, ""),
        user=reading.value("broker.admin_user", formats.text, ""),
        password=reading.hidden("broker.admin_password", formats.text),
    )
    return admin if admin.url else None


def _broker_network(reading: Reading) -> str:
    if not reading.has("broker.cluster"):
        why = "pods talk only to whom they have to; give the broker's network, as 10.1.2.0/24"
        reading.need(["network.broker"], why)
    return reading.value("network.broker", formats.cidr, "")


STRINGS = ("data_lake.connection_string", "cosmos_db.key")
SECRET = ("sinks.secret",)
IDENTITY = ("azure.client_id", "data_lake.account")


def _sinks(reading: Reading) -> Sinks:
    found = partial(
        Sinks,
        connection_string=reading.hidden("data_lake.connection_string", formats.connection),
        cosmos_endpoint=reading.value("cosmos_db.endpoint", formats.https, ""),
        cosmos_key=reading.hidden("cosmos_db.key", formats.text),
        secret=reading.value("sinks.secret", formats.object_name, ""),
        client_id=reading.value("azure.client_id", formats.client_id, ""),
        account=reading.value("data_lake.account", formats.https, ""),
    )
    stores = reading.value("stores", one_of("create", "provisioned"), "")
    ways = [way for way in (STRINGS, SECRET, IDENTITY) if any(reading.has(key) for key in way)]
    reading.need(["cosmos_db.endpoint"], "give the account's address, https://NAME.documents.azure.com")
    if not ways:
        reading.faults.append(
            "the sinks have no credentials: give the secrets data_lake.connection_string and cosmos_db.key, or"
            " sinks.secret with the name of a Secret that has both, or azure.client_id and data_lake.account"
        )
    elif len(ways) > 1:
        given = ", ".join(key for way in ways for key in way if reading.has(key))
        reading.faults.append(f"{given}: these are {len(ways)} ways to the sinks, a stack has one; take the others out")
    else:
        reading.need(ways[0], f"{' and '.join(ways[0])} go together")
        if stores == "create" and ways[0] is not STRINGS:
            reading.faults.append(
                "stores is create: that needs data_lake.connection_string and cosmos_db.key here; make the containers"
                " with the account, then set stores to provisioned"
            )
    return found(create=bool(reading.has(STRINGS[0])) and stores != "provisioned")


def _watching(reading: Reading) -> Watching:
    return Watching(
        labels=reading.value("monitoring.labels", formats.labels, {}),
        namespace=reading.value("monitoring.namespace", formats.label, "monitoring"),
        dashboard_label=reading.value("monitoring.dashboard_label", formats.one_label, ("grafana_dashboard", "1")),
        folder=reading.value("monitoring.folder", formats.text, ""),
        links=Links(
            runbooks=reading.value("links.runbooks", formats.link, LINKS.runbooks),
            grafana=reading.value("links.grafana", formats.link, LINKS.grafana),
        ),
    )
