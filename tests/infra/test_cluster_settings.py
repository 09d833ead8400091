"""What a person is told about a wrong stack on Kubernetes: exact sentences, all at once, before anything runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from catalog.links import Links
from infra.cluster.settings import Admin, ClusterSettings
from infra.formats import Destination
from infra.settings import BadSettings, Settings, parse

ROOT = Path("/project")
DIGEST = "registry.example/consumers@sha256:" + "5" * 64
ACCOUNT = "DefaultEndpointsProtocol=https;AccountName=lake;AccountKey=c2VjcmV0;EndpointSuffix=core.windows.net"
GOOD = {
    "target": "kubernetes",
    "kubernetes.namespace": "bi-risk",
    "image": DIGEST,
    "broker.cluster": "rabbitmq",
    "cosmos_db.endpoint": "https://risk.documents.azure.com",
    "sinks.secret": "sinks",
}
STRINGS = {"data_lake.connection_string": ACCOUNT, "cosmos_db.key": "c2VjcmV0"}
IDENTITY = {
    "azure.client_id": "11111111-2222-3333-4444-555555555555",
    "data_lake.account": "https://lake.blob.core.windows.net",
}
OUTSIDE = {
    "broker.connection_secret": "broker",
    "broker.amqp": "amqps://rabbitmq.example:5671/%2F",
    "network.broker": "10.1.2.0/24",
}
ADMIN = {
    "broker.admin_url": "https://rabbitmq.example:15671",
    "broker.admin_user": "admin",
    "broker.admin_password": "hidden",
}
SECRETS = ("data_lake.connection_string", "cosmos_db.key", "broker.admin_password")

NAME = "it has 1 to 63 lower-case letters, digits and, inside, '-'"
OBJECT = "it has 1 to 253 lower-case letters, digits and, inside, '-' and '.'"
BY_DIGEST = "give NAME@sha256:DIGEST, 64 hexadecimal digits, as a push prints it"
HIDDEN = "no address (not shown: it may be secret)"
AMQP = "give amqp://HOST:5672/%2F"
HTTP = "give http://HOST:15672"
NETWORK = "give a network such as 10.1.2.0/24, its host bits zero"
EGRESS = "give CIDR:PORT, host bits zero, such as 20.60.0.0/16:443"
WHOLE = "copy the whole connection string of the storage account (Azure portal, Access keys)"
LABEL = "it is text of at most 63 letters, digits, '-', '_', '.'"
WAYS = (
    "the sinks have no credentials: give the secrets data_lake.connection_string and cosmos_db.key, or sinks.secret"
    " with the name of a Secret that has both, or azure.client_id and data_lake.account"
)

# One wrong value on top of a stack that is right.
BAD = [
    ("kubernetes.namespace", "BI_Risk", f"kubernetes.namespace is 'BI_Risk': {NAME}"),
    ("kubernetes.context", " ", "kubernetes.context is empty: give it a value, or take the setting out"),
    (
        "image",
        "registry.example/consumers:1.4",
        f"image is 'registry.example/consumers:1.4': a tag may be another image tomorrow; {BY_DIGEST}",
    ),
    (
        "image",
        "registry.example/consumers@sha256:beef",
        f"image is 'registry.example/consumers@sha256:beef': this names no image for sure; {BY_DIGEST}",
    ),
    ("image", "consumers", f"image is 'consumers': this names no image for sure; {BY_DIGEST}"),
    ("image.by_tag", "yes", "image.by_tag is 'yes': it is on or off"),
    ("image.pull_secret", "Registry", f"image.pull_secret is 'Registry': {OBJECT}"),
    ("broker.objects", "hand", "broker.objects is 'hand': it is operator or api"),
    ("broker.cluster", "Rabbit", f"broker.cluster is 'Rabbit': {NAME}"),
    (
        "broker.connection_secret",
        "broker",
        "broker.cluster and broker.connection_secret are both there: a stack has one broker",
    ),
    ("broker.amqp", "rabbitmq:5672", f"broker.amqp is 'rabbitmq:5672': {AMQP}"),
    ("broker.amqp", "amqp://rabbitmq:amqp/", f"broker.amqp is {HIDDEN}: {AMQP}"),
    (
        "broker.amqp",
        "amqp://ada:p/sesame@rabbitmq:5672/",
        f"broker.amqp has a user or password in it: {AMQP}, the credentials are kept elsewhere",
    ),
    (
        "broker.amqp",
        "amqp://admin:hidden@rabbitmq/%2F",
        f"broker.amqp has a user or password in it: {AMQP}, the credentials are kept elsewhere",
    ),
    (
        "broker.amqp",
        "amqp://rabbitmq/events",
        "broker.amqp names virtual host 'events': all objects are in '/', end it with /%2F",
    ),
    ("broker.http", "amqp://rabbitmq", f"broker.http is 'amqp://rabbitmq': {HTTP}"),
    ("broker.version", "3.13", "broker.version is '3.13': it is 4.3 or 4.0"),
    ("exchange.manage", "true", "exchange.manage is 'true': it is on or off"),
    (
        "credentials.generation",
        "0",
        "credentials.generation is '0': it is 1, and one more for each set of passwords since",
    ),
    (
        "cosmos_db.endpoint",
        "risk.documents.azure.com",
        "cosmos_db.endpoint is 'risk.documents.azure.com': give https://NAME...",
    ),
    ("sinks.secret", "My Sinks", f"sinks.secret is 'My Sinks': {OBJECT}"),
    (
        "stores",
        "create",
        (
            "stores is create: that needs data_lake.connection_string and cosmos_db.key here; make the containers with"
            " the account, then set stores to provisioned"
        ),
    ),
    ("stores", "made", "stores is 'made': it is create or provisioned"),
    ("autoscaling.logging", "yes", "autoscaling.logging is 'yes': it is on or off"),
    ("autoscaling.loging", "on", "autoscaling.loging is no setting: did you mean autoscaling.logging?"),
    (
        "monitoring.labels",
        '{"release": 7}',
        f"monitoring.labels gives label release the value 7: {LABEL}",
    ),
    (
        "monitoring.labels",
        '{"my release": "prometheus"}',
        (
            "monitoring.labels has the label 'my release': a key has 1 to 63 letters, digits, '-', '_', '.', and may"
            " begin with DOMAIN/"
        ),
    ),
    (
        "monitoring.labels",
        "release=prometheus",
        "monitoring.labels is 'release=prometheus': give labels as an object, such as release: prometheus",
    ),
    ("monitoring.namespace", "Monitoring", f"monitoring.namespace is 'Monitoring': {NAME}"),
    (
        "monitoring.dashboard_label",
        "grafana_dashboard=is a board",
        f"monitoring.dashboard_label gives label grafana_dashboard the value 'is a board': {LABEL}",
    ),
    ("links.grafana", "grafana.example", "links.grafana is 'grafana.example': give https://HOST/..."),
    (
        "network.egress",
        "0.0.0.0/0:443",
        "network.egress is '0.0.0.0/0:443': give a list of CIDR:PORT, such as 20.60.0.0/16:443",
    ),
    ("network.egress", '["20.60.0.0/16"]', f"network.egress has '20.60.0.0/16': {EGRESS}"),
    ("network.egress", '["20.60.0.0/16:0"]', f"network.egress has '20.60.0.0/16:0': {EGRESS}"),
    (
        "network.egress",
        '["20.60.0.1/16:443", "10.0.0.0/8:443", "nowhere"]',
        f"network.egress has '20.60.0.1/16:443', 'nowhere': {EGRESS}",
    ),
    ("network.broker", "10.1.2.3/24", f"network.broker is '10.1.2.3/24': {NETWORK}"),
    ("replicas.logging", "7", "replicas.logging is 7: it is 1 to 6 (`most_replicas` in catalog/services.py)"),
    ("rabbitmq.data_lake.prefetch", "0", "rabbitmq.data_lake.prefetch is 0: it is 1 to 300"),
    (
        "rabbitmq.data_lake.bindings",
        "risk.evaluated, risk.evaluated",
        "rabbitmq.data_lake.bindings names risk.evaluated 2 times: bind a key once",
    ),
    ("local.port_offset", "100", "local.port_offset is not for target kubernetes: take it out"),
    ("kubernetes.namespce", "x", "kubernetes.namespce is no setting: did you mean kubernetes.namespace?"),
]

# Several values that do not go together: what is set, what is taken out, and what is told.
TOGETHER: dict[str, tuple[dict[str, str], tuple[str, ...], list[str]]] = {
    "nothing at all": (
        {},
        tuple(set(GOOD) - {"target"}),
        [
            "kubernetes.namespace is missing: name the one that was made for this stack; never made or deleted here",
            "image is missing: push consumers/Dockerfile's image, then set NAME@sha256:DIGEST as the push prints it",
            (
                "broker.cluster is missing: name the RabbitmqCluster, or for a broker outside, as"
                " broker.connection_secret, the Secret that leads to it"
            ),
            "broker.amqp is missing: give the broker's address as pods see it, such as amqp://rabbitmq.example:5672/%2F",
            "cosmos_db.endpoint is missing: give the account's address, https://NAME.documents.azure.com",
            WAYS,
            "network.broker is missing: pods talk only to whom they have to; give the broker's network, as 10.1.2.0/24",
        ],
    ),
    "a tag": (
        {"image": "registry.example/consumers:1.4", "image.by_tag": "on"},
        (),
        [],
    ),
    "an autoscaler that cannot ask": (
        {**OUTSIDE, "autoscaling.logging": "on"},
        ("broker.cluster",),
        ["broker.http is missing: KEDA counts messages there, give it as http://rabbitmq.example:15672"],
    ),
    "a namespace of no cluster": (
        {**OUTSIDE, "broker.cluster_namespace": "messaging"},
        ("broker.cluster",),
        ["broker.cluster_namespace is of no use without broker.cluster: take it out"],
    ),
    "half an administrator": (
        {"broker.admin_url": ADMIN["broker.admin_url"]},
        (),
        [
            f"{key} is missing: broker.admin_url, broker.admin_user, broker.admin_password go together, all or none"
            for key in ("broker.admin_user", "broker.admin_password")
        ],
    ),
    "objects over the API without an administrator": (
        {**OUTSIDE, "broker.objects": "api"},
        ("broker.cluster",),
        [
            "broker.connection_secret is for broker.objects operator: take it out",
            *(
                f"{key} is missing: broker.objects is api, so Pulumi itself makes the objects over the management API"
                for key in ADMIN
            ),
        ],
    ),
    "two ways to the sinks": (
        {**STRINGS, **IDENTITY},
        ("sinks.secret",),
        [
            (
                "data_lake.connection_string, cosmos_db.key, azure.client_id, data_lake.account: these are 2 ways to"
                " the sinks, a stack has one; take the others out"
            )
        ],
    ),
    "half of a way": (
        {"azure.client_id": IDENTITY["azure.client_id"]},
        ("sinks.secret",),
        ["data_lake.account is missing: azure.client_id and data_lake.account go together"],
    ),
    "a client id that is none": (
        {**IDENTITY, "azure.client_id": "risk"},
        ("sinks.secret",),
        ["azure.client_id is 'risk': give the client id of the managed identity, 8-4-4-4-12 hexadecimal digits"],
    ),
    "half a connection string": (
        {**STRINGS, "data_lake.connection_string": "AccountName=lake"},
        ("sinks.secret",),
        [f"data_lake.connection_string lacks AccountKey: {WHOLE}"],
    ),
    "a key that was cut": (
        {**STRINGS, "data_lake.connection_string": "AccountName=lake;AccountKey=c2VjcmV"},
        ("sinks.secret",),
        ["data_lake.connection_string has faults: AccountKey is not base64: copy it again, with the `=` at its end"],
    ),
}  # fmt: skip


def parsed(values: Mapping[str, str], without: tuple[str, ...] = (), *, stack: str = "test") -> Settings:
    kept = {key: value for key, value in {**GOOD, **values}.items() if key not in without}
    return parse(kept, SECRETS, stack=stack, root=ROOT)


def cluster(values: Mapping[str, str], without: tuple[str, ...] = ()) -> ClusterSettings:
    found = parsed(values, without).cluster
    assert found
    return found


def told(values: Mapping[str, str], without: tuple[str, ...] = (), *, stack: str = "test") -> list[str]:
    """The faults that are told, none where there are none."""
    try:
        parsed(values, without, stack=stack)
    except BadSettings as refused:
        return [line.strip() for line in str(refused).splitlines()[1:]]
    return []


def test_a_stack_that_is_right_is_told_nothing() -> None:
    assert [] == told({})


@pytest.mark.parametrize(("key", "value", "sentence"), BAD, ids=[f"{key}={value:.30}" for key, value, _ in BAD])
def test_a_wrong_setting_is_named_with_its_value_and_the_next_step(key: str, value: str, sentence: str) -> None:
    """One wrong setting gives one sentence."""
    assert [sentence] == told({key: value})


@pytest.mark.parametrize("case", TOGETHER)
def test_settings_that_do_not_go_together_are_named(case: str) -> None:
    """What is missing, or is there twice, is said for each."""
    values, without, sentences = TOGETHER[case]

    assert sentences == told(values, without)


def test_production_takes_no_tags() -> None:
    """Where the image is a tag there, the switch that allows it elsewhere is refused by name."""
    tagged = {"image": "registry.example/consumers:1.4", "image.by_tag": "on"}

    assert ["image.by_tag is on: stack prod takes no tags, name the image by its digest"] == told(tagged, stack="prod")


@pytest.mark.parametrize("key", SECRETS)
def test_a_secret_in_plain_text_is_refused_without_being_repeated(key: str) -> None:
    values = {**GOOD, **STRINGS, **ADMIN}
    del values["sinks.secret"]

    with pytest.raises(BadSettings) as refused:
        parse(values, set(SECRETS) - {key}, stack="test", root=ROOT)

    assert (
        f"Pulumi.test.yaml has 1 problem:\n  {key} is stored in plain text: pulumi config set --secret {key}"
    ) == str(refused.value)


def test_no_text_form_has_a_secret() -> None:
    """Settings may be shown in a log or a traceback."""
    shown = repr(parsed({**STRINGS, **ADMIN}, ("sinks.secret",)))

    assert [] == [value for value in (*STRINGS.values(), "hidden") if value in shown]


def test_what_is_for_a_cluster_is_not_for_a_machine() -> None:
    with pytest.raises(BadSettings) as refused:
        parse({"target": "local", "kubernetes.namespace": "bi-risk"}, (), stack="local", root=ROOT)

    assert ("Pulumi.local.yaml has 1 problem:\n  kubernetes.namespace is not for target local: take it out") == str(
        refused.value
    )


def test_a_cluster_of_the_operator_gives_its_addresses() -> None:
    """The name of a RabbitmqCluster, and of its namespace, is all that has to be said about a broker."""
    broker = cluster({"broker.cluster_namespace": "messaging"}).broker

    assert {"name": "rabbitmq", "namespace": "messaging"} == broker.reference
    assert ("amqp://rabbitmq.messaging.svc:5672/%2F", "http://rabbitmq.messaging.svc:15672") == (
        broker.amqp,
        broker.http,
    )


def test_a_broker_outside_is_reached_through_a_secret() -> None:
    found = cluster(OUTSIDE, ("broker.cluster",))

    assert {"connectionSecret": {"name": "broker"}} == found.broker.reference
    assert ("amqps://rabbitmq.example:5671/%2F", "10.1.2.0/24") == (found.broker.amqp, found.broker_network)


def test_a_managed_broker_has_an_administrator() -> None:
    found = cluster({**OUTSIDE, **ADMIN, "broker.objects": "api"}, ("broker.cluster", "broker.connection_secret"))

    assert not found.broker.operator
    assert Admin(url="https://rabbitmq.example:15671", user="admin", password="hidden") == found.broker.admin


def test_containers_are_made_only_with_keys_at_hand() -> None:
    """A Secret or an identity is for the pods; the containers then come with the account."""
    without = ("sinks.secret",)

    assert cluster(STRINGS, without).sinks.create
    assert not cluster({**STRINGS, "stores": "provisioned"}, without).sinks.create
    assert not cluster(IDENTITY, without).sinks.create
    assert not cluster({}).sinks.create


def test_every_setting_is_read() -> None:
    found = cluster({
        "kubernetes.context": "production",
        "image.pull_secret": "registry",
        "exchange.manage": "on",
        "autoscaling.logging": "on",
        "autoscaling.deletion_cost": "on",
        "monitoring.labels": json.dumps({"release": "prometheus"}),
        "monitoring.namespace": "observability",
        "monitoring.dashboard_label": "board=yes",
        "monitoring.folder": "BI",
        "links.runbooks": "https://git.example/runbooks",
        "links.grafana": "https://grafana.example/",
        "network.egress": json.dumps(["20.60.0.0/16:443", "fd00::/8:8081"]),
    })  # fmt: skip

    assert ("production", "registry", True, {"logging"}, True) == (
        found.context,
        found.pull_secret,
        found.broker.manages_exchange,
        found.autoscaled,
        found.deletion_cost,
    )
    assert ({"release": "prometheus"}, "observability", ("board", "yes"), "BI") == (
        found.watching.labels,
        found.watching.namespace,
        found.watching.dashboard_label,
        found.watching.folder,
    )
    assert Links("https://git.example/runbooks", "https://grafana.example") == found.watching.links
    assert (Destination("20.60.0.0/16", 443), Destination("fd00::/8", 8081)) == found.egress
