"""No secret of a stack is anywhere that the real CLI and engine write or print, and the cluster's Secrets have each."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest

from infra import render
from tests.brokers import LiveBroker
from tests.kubernetes.apiserver import ApiServer
from tests.kubernetes.stack import ClusterStack
from tools.cache import ROOT

pytestmark = [pytest.mark.servers, pytest.mark.broker, pytest.mark.slow]

ACCOUNT_KEY = b64encode(b"planted account key").decode()
CONNECTION = f"DefaultEndpointsProtocol=https;AccountName=lake;AccountKey={ACCOUNT_KEY};EndpointSuffix=core.windows.net"
COSMOS_KEY = b64encode(b"planted cosmos key").decode()
LOUD = ("--diff", "--verbose=8", "--logtostderr", "--logflow")  # from 9 on the engine shows what it sends to plugins


@pytest.fixture
def stack(api_server: ApiServer, broker: LiveBroker, tmp_path_factory: pytest.TempPathFactory) -> ClusterStack:
    """A stack that has every secret that a stack can have: those of the sinks, and an administrator of its broker."""
    config = {
        "broker.objects": "api",
        "broker.admin_url": broker.api.url,
        "broker.admin_user": broker.api.user,
        "broker.amqp": "amqp://rabbitmq.example:5672/%2F",
        "network.broker": "10.1.2.0/24",
        "stores": "provisioned",
    }
    stack = replace(ClusterStack.made(tmp_path_factory.mktemp("secrets"), "dev", api_server, config), stays=())
    stack.unset("broker.cluster", "sinks.secret")
    stack.hide({
        "data_lake.connection_string": CONNECTION,
        "cosmos_db.key": COSMOS_KEY,
        "broker.admin_password": broker.api.password,
    })  # fmt: skip
    return stack


def in_the_cluster(stack: ClusterStack) -> dict[str, str]:
    """{Secret and key: text} of what the stack has put into the cluster."""
    return {
        f"{entry['metadata']['name']}/{key}": b64decode(value).decode()
        for entry in stack.objects("v1", "secrets")
        for key, value in entry["data"].items()
        if entry["metadata"]["name"] != "sinks"
    }


def written(stack: ClusterStack) -> Iterator[tuple[str, str]]:
    """(where, text) of every file of the stack and of the CLI's own folder."""
    for folder in (stack.folder, ROOT / ".local/pulumi-home"):
        for file in folder.rglob("*"):
            if file.is_file() and not file.is_symlink():
                yield str(file), file.read_text(errors="replace")


def rendered(folder: Path) -> str:
    settings = render.load("dev", folder)
    return render.render(settings, render.registered(settings))


def forms(secret: str) -> set[str]:
    """How a secret may stand in a text: as it is, in an address, in a Secret's data."""
    return {secret, quote(secret), quote(secret, safe=""), b64encode(secret.encode()).decode()}


def test_no_secret_is_written_or_printed(stack: ClusterStack, broker: LiveBroker) -> None:
    """Through preview, up, a change with a refresh, export, render and destroy."""
    events = ("--event-log", str(stack.folder / "events.jsonl"))
    up = ("up", "--stack", "dev", "--yes", "--skip-preview")
    said = [
        stack.run("preview", "--stack", "dev", "--diff"),
        stack.run(*up, *events, *LOUD),
        stack.run("stack", "export", "--stack", "dev"),
        stack.run("stack", "output", "--stack", "dev", "--json"),
    ]
    held = in_the_cluster(stack)
    stack.set({"credentials.generation": "2"})
    said.append(stack.run(*up, *LOUD))
    held |= in_the_cluster(stack)
    (stack.folder / "rendered.yaml").write_text(rendered(stack.folder))
    said.append(stack.destroy())

    assert {CONNECTION, COSMOS_KEY} < set(held.values())
    passwords = {value for name, value in held.items() if name.endswith("/password")}
    assert 6 == len(passwords)  # two generations of three users
    texts = [*written(stack), *((f"said {index}", text) for index, text in enumerate(said))]
    secrets = {CONNECTION, ACCOUNT_KEY, COSMOS_KEY, broker.api.password, *passwords}
    hidden = {form for secret in secrets for form in forms(secret)}
    assert set() == {(where, form) for where, text in texts for form in hidden if form in text}
    assert any("ciphertext" in text for where, text in texts if "/state/.pulumi/" in where)  # the search went there
