"""What a person is told about a wrong stack configuration: exact sentences, all of them at once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from catalog import CATALOG, resolve
from infra.settings import BadSettings, Settings, parse

ROOT = Path("/project")
CONNECTION = "data_lake.connection_string"
ACCOUNT = "DefaultEndpointsProtocol=https;AccountName=lake;AccountKey=c2VjcmV0;EndpointSuffix=core.windows.net"

HOME = "give a folder of its own, such as .local; `make clean` removes it"
SOCKET = "the socket in it would have a path of 115 bytes, the system allows 107; choose a folder nearer to the root"
LAKE = "handler lake knows only risk.evaluated, ml.prediction.completed, recommendation.feedback.received"
BUDGET = "it is more than 0 and at most the longest run of its queue, 3600s"
OFFSET = "it is added to every port, 0 to 39863"
WHOLE_STRING = "copy the whole connection string of the storage account (Azure portal, Access keys)"
NAME = "a queue name has 1 to 200 letters, digits, '_', '.', '-' and does not begin with 'amq.'"
KEYS = "give routing keys as a list, or as text with commas"
DURATION = "give a duration such as 90s, 15m or 1h30m"
REPLICAS = "it is 1 to 6 (`most_replicas` in catalog/services.py)"
CONTAINER = "the name of a blob container has 3 to 63 lower-case letters, digits and single '-'"
ALL_OWN = (
    "target, broker.version, credentials.generation, scheduler, local.port_offset, local.home,"
    " data_lake.connection_string"
)

BAD = [
    ("target", "cloud", "target is 'cloud': it is local or kubernetes"),
    ("local.port_offset", "-1", f"local.port_offset is '-1': {OFFSET}"),
    ("local.port_offset", "39864", f"local.port_offset is '39864': {OFFSET}"),
    ("local.port_offset", "many", f"local.port_offset is 'many': {OFFSET}"),
    ("local.home", "", f"local.home is '': {HOME}"),
    ("local.home", ".", f"local.home is '.': {HOME}"),
    ("local.home", "/", f"local.home is '/': {HOME}"),
    (
        "local.home",
        "x" * 90,
        f"local.home is '{'x' * 90}': {SOCKET}",
    ),
    ("broker.version", "3.13", "broker.version is '3.13': it is 4.3 or 4.0"),
    ("scheduler", "yes", "scheduler is 'yes': it is on or off"),
    (
        CONNECTION,
        "UseDevelopmentStorage=true",
        f"{CONNECTION} names the emulator: leave the setting out, stack `local` brings its own",
    ),
    (CONNECTION, "https://lake.example", f"{CONNECTION} lacks AccountName and AccountKey: {WHOLE_STRING}"),
    (CONNECTION, "AccountName=lake", f"{CONNECTION} lacks AccountKey: {WHOLE_STRING}"),
    ("rabbitmq.data_lake.prefetch", "0", "rabbitmq.data_lake.prefetch is 0: it is 1 to 300"),
    ("rabbitmq.data_lake.prefetch", "ten", "rabbitmq.data_lake.prefetch is 'ten': give a whole number"),
    (
        "rabbitmq.batch_jobs.prefetch",
        "6",
        "rabbitmq.batch_jobs.prefetch is 6: it is 1 to 5 (a higher one lets a long job block others)",
    ),
    ("rabbitmq.data_lake.queue", "", "rabbitmq.data_lake.queue is '': give a name"),
    ("rabbitmq.data_lake.queue", "my queue", f"rabbitmq.data_lake.queue is 'my queue': {NAME}"),
    ("rabbitmq.data_lake.queue", "amq.lake", f"rabbitmq.data_lake.queue is 'amq.lake': {NAME}"),
    (
        "rabbitmq.data_lake.bindings",
        "[]",
        "rabbitmq.data_lake.bindings is empty: without a key nothing reaches logging_data_lake",
    ),
    (
        "rabbitmq.data_lake.bindings",
        '["risk.evaluated", 7]',
        f"rabbitmq.data_lake.bindings is ['risk.evaluated', 7]: {KEYS}",
    ),
    (
        "rabbitmq.data_lake.bindings",
        "risk.evaluated, risk.evaluated",
        "rabbitmq.data_lake.bindings names risk.evaluated 2 times: bind a key once",
    ),
    (
        "rabbitmq.ml_audit.bindings",
        "risk.#",
        "rabbitmq.ml_audit.bindings has 'risk.#': a key is words joined by '.', without wildcards; name each key",
    ),
    (
        "rabbitmq.data_lake.bindings",
        "llm.inference.completed",
        f"rabbitmq.data_lake.bindings has 'llm.inference.completed': {LAKE}",
    ),
    ("rabbitmq.data_lake.drain_within", "900", f"rabbitmq.data_lake.drain_within is '900': {DURATION}"),
    (
        "rabbitmq.data_lake.drain_within",
        "10s",
        "rabbitmq.data_lake.drain_within is 10s: one event alone may take 30s; promise no less",
    ),
    ("replicas.logging", "0", f"replicas.logging is 0: {REPLICAS}"),
    ("replicas.logging", "7", f"replicas.logging is 7: {REPLICAS}"),
    ("replicas.loging", "2", "replicas.loging is no setting: did you mean replicas.logging?"),
    ("jobs.risk-snapshot-backfill.budget", "soon", f"jobs.risk-snapshot-backfill.budget is 'soon': {DURATION}"),
    (
        "jobs.risk-snapshot-backfill.budget",
        "2h",
        f"jobs.risk-snapshot-backfill.budget is 7200s: {BUDGET}",
    ),
    ("data_lake.container", "Risk", f"data_lake.container is 'Risk': {CONTAINER}"),
    (
        "cosmos_db.containers.usage_ml",
        "risk_snapshots",
        (
            "cosmos_db.containers.usage_ml and cosmos_db.containers.risk_snapshots are both 'risk_snapshots':"
            " each container has a name of its own"
        ),
    ),
    (
        "credentials.generation",
        "0",
        "credentials.generation is '0': it is 1, and one more for each set of passwords since",
    ),
    ("local.port_ofset", "5", "local.port_ofset is no setting: did you mean local.port_offset?"),
    ("colour", "red", f"colour is no setting: `python -m catalog settings` lists them, besides {ALL_OWN}"),
]


def parsed(values: Mapping[str, str], secret: tuple[str, ...] = (CONNECTION,)) -> Settings:
    return parse({"target": "local", **values}, set(secret), stack="local", root=ROOT)


def refusal(values: Mapping[str, str], secret: tuple[str, ...] = (CONNECTION,)) -> str:
    with pytest.raises(BadSettings) as refused:
        parsed(values, secret)
    return str(refused.value)


@pytest.mark.parametrize(("key", "value", "sentence"), BAD, ids=[f"{key}={value:.20}" for key, value, _ in BAD])
def test_a_wrong_setting_is_named_with_its_value_and_the_next_step(key: str, value: str, sentence: str) -> None:
    """One wrong setting gives one sentence; Pulumi hands over text, lists as JSON."""
    assert f"Pulumi.local.yaml has 1 problem:\n  {sentence}" == refusal({key: value})


def test_all_faults_are_told_at_once() -> None:
    """Faults of the stack's own settings and of the catalog's come in one message."""
    told = refusal({
        "colour": "red", "local.port_offset": "many", "rabbitmq.data_lake.prefetch": "0", "replicas.logging": "9",
    })  # fmt: skip

    assert [
        "Pulumi.local.yaml has 4 problems:",
        f"  colour is no setting: `python -m catalog settings` lists them, besides {ALL_OWN}",
        "  rabbitmq.data_lake.prefetch is 0: it is 1 to 300",
        f"  replicas.logging is 9: {REPLICAS}",
        f"  local.port_offset is 'many': {OFFSET}",
    ] == told.splitlines()


def test_a_stack_without_a_target_is_told_how_to_set_one() -> None:
    with pytest.raises(BadSettings) as refused:
        parse({}, set(), stack="dev", root=ROOT)

    assert (
        "Pulumi.dev.yaml has 1 problem:\n"
        "  target is missing: pulumi config set target local (this machine) or kubernetes"
    ) == str(refused.value)


def test_a_secret_in_plain_text_is_refused_without_being_repeated() -> None:
    told = refusal({CONNECTION: ACCOUNT}, secret=())

    assert (
        f"Pulumi.local.yaml has 1 problem:\n  {CONNECTION} is stored in plain text:"
        f" pulumi config set --secret {CONNECTION}"
    ) == told


def test_no_message_repeats_a_connection_string() -> None:
    assert "c2VjcmV0" not in refusal({CONNECTION: "AccountKey=c2VjcmV0"})


def test_an_empty_stack_has_the_defaults() -> None:
    """A stack that names only its target is complete."""
    settings = parsed({})

    assert CATALOG == settings.catalog
    assert {} == settings.overrides
    assert (0, ROOT / ".local", "4.3", True, "") == (
        settings.port_offset,
        settings.home,
        settings.broker_version,
        settings.scheduler,
        settings.connection_string,
    )


def test_every_setting_is_read() -> None:
    """Lists come as JSON from a YAML list, or as text with commas."""
    overrides = {
        "rabbitmq.data_lake.bindings": '["risk.evaluated", "ml.prediction.completed"]',
        "rabbitmq.bindings": "llm.inference.completed, embedding.generated",
        "rabbitmq.data_lake.prefetch": "20",
        "replicas.logging": "3",
    }
    own = {"local.port_offset": "100", "local.home": "elsewhere", "broker.version": "4.0", "scheduler": "off"}

    settings = parsed({**overrides, **own, CONNECTION: ACCOUNT})

    assert resolve(
        CATALOG, {**overrides, "rabbitmq.data_lake.bindings": ["risk.evaluated", "ml.prediction.completed"]}
    ) == (settings.catalog)
    assert (100, ROOT / "elsewhere", "4.0", False, ACCOUNT) == (
        settings.port_offset,
        settings.home,
        settings.broker_version,
        settings.scheduler,
        settings.connection_string,
    )
