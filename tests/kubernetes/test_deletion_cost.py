"""The deletion cost of our own pod, on a real API server with the least rights that do."""

from __future__ import annotations

import asyncio
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from consumers.deletion_cost import ANNOTATION, Pod, keep
from tests.brokers import lines
from tests.kubernetes.apiserver import ApiServer
from tools import servers

pytestmark = pytest.mark.servers

PATCH = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["patch"]}]
CONTAINER = {
    "name": "main",
    "image": "example.org/consumers@sha256:" + 64 * "0",
    "securityContext": {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    },
}


class Place:
    """A pod on the API server, and the account it acts by."""

    def __init__(self, api: ApiServer, folder: Path, rules: list[dict[str, list[str]]]) -> None:
        self._api, namespace = api, api.namespace()
        spec = {"containers": [CONTAINER], "automountServiceAccountToken": False}
        self._manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "batch-1", "namespace": namespace}}
        api.apply({**self._manifest, "spec": spec})
        user = yaml.safe_load(api.user(namespace, rules).read_text())
        (folder / "token").write_text(user["users"][0]["user"]["token"])
        authority = user["clusters"][0]["cluster"]["certificate-authority"]
        (folder / "ca.crt").write_bytes(Path(authority).read_bytes())
        where = urlsplit(api.url)
        assert where.hostname
        assert where.port
        self.pod = Pod(namespace, "batch-1", where.hostname, where.port, folder)

    def version(self) -> tuple[str | None, str]:
        """(the annotation, the version of the object)."""
        metadata = self._api.request("GET", self._api.path(self._manifest))["metadata"]
        return metadata.get("annotations", {}).get(ANNOTATION), metadata["resourceVersion"]


async def settled(place: Place, cost: str) -> None:
    async with asyncio.timeout(10):
        while (await asyncio.to_thread(place.version))[0] != cost:  # noqa: ASYNC110 - it happens in the API server
            await asyncio.sleep(0.02)


def test_the_annotation_follows_the_work_in_hand(api_server: ApiServer, tmp_path: Path) -> None:
    """Written when the cost changes, and not again while it stays."""
    place = Place(api_server, tmp_path, PATCH)
    costs = {"now": 0}

    async def story() -> None:
        keeping = asyncio.create_task(keep(place.pod, lambda: costs["now"], every=0.02))
        await settled(place, "0")
        costs["now"] = 7200
        await settled(place, "7200")
        before = place.version()
        await asyncio.sleep(0.5)
        assert before == place.version()
        keeping.cancel()

    asyncio.run(story())


def test_a_failure_is_said_once_and_disturbs_nothing(
    api_server: ApiServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Without the right, or without a server, the rest of the process goes on."""
    refused = Place(api_server, tmp_path, []).pod
    (port,) = servers.free_ports(1)
    away = Pod(refused.namespace, refused.name, refused.host, port, refused.account)

    async def story(pod: Pod) -> None:
        keeping = asyncio.create_task(keep(pod, lambda: 1, every=0.02))
        await asyncio.sleep(1)
        assert not keeping.done()
        keeping.cancel()

    said = []
    for pod in (refused, away):
        asyncio.run(story(pod))
        said += lines(capfd.readouterr().out)

    assert 2 * ["the pod's deletion cost is not kept"] == [line["message"] for line in said]
    assert 'cannot patch resource \\"pods\\"' in said[0]["detail"]
    assert "Connection refused" in said[1]["detail"]
    assert (tmp_path / "token").read_text() not in str(said)
