"""The stand-in's hands: server-side apply, reading, deleting and waiting at one API server."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import yaml
from urllib3.exceptions import HTTPError

MANAGER = "pulumi-kubernetes-standin"
APPLY = "application/apply-patch+yaml"  # JSON is YAML
LOOK_AGAIN = 0.2  # seconds

Manifest = Mapping[str, Any]


class Refused(Exception):
    """What the API server said, and its HTTP status; 0 where nobody answered."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(said)
        self.status = status


class NotReady(Exception):
    """An object that exists and did not become what it should; `live` is what it was when time was up."""

    def __init__(self, said: str, live: Manifest) -> None:
        super().__init__(said)
        self.live = live


@dataclass
class Cluster:
    """The cluster of a kubeconfig (its text, a path, or empty for the usual places) and a context of it."""

    kubeconfig: str = ""
    context: str | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)
    kinds: dict[str, dict[str, tuple[str, bool]]] = field(default_factory=dict)

    @cached_property
    def _client(self) -> Any:
        from kubernetes import config  # noqa: PLC0415 - half of a start; of a command's four, one asks the cluster

        try:
            if self.kubeconfig and not Path(self.kubeconfig.partition("\n")[0]).is_file():
                return config.new_client_from_config_dict(yaml.safe_load(self.kubeconfig), self.context)
            return config.new_client_from_config(self.kubeconfig or None, self.context)
        except config.ConfigException as fault:
            raise _unreachable(fault) from fault

    def call(self, method: str, path: str, body: Manifest | None = None, **query: str) -> dict[str, Any]:
        """One request. Raises Refused."""
        applies = method == "PATCH"
        request = self._client.param_serialize(
            method,
            f"{path}?{urlencode(query)}",
            header_params={"Accept": "application/json", "Content-Type": APPLY if applies else "application/json"},
            body=json.dumps(body) if applies else body,
            auth_settings=["BearerToken"],
        )
        try:
            answer = self._client.call_api(*request, _request_timeout=30)
            answer.read()
        except HTTPError as fault:
            raise _unreachable(fault) from fault
        if answer.status >= 400:
            raise Refused(answer.status, _message(answer.data))
        found: dict[str, Any] = json.loads(answer.data)
        return found

    def kind_of(self, manifest: Manifest) -> tuple[str, bool]:
        """(resource name in addresses, True when it lives in a namespace). Raises Refused where no CRD brings it."""
        version, kind = manifest["apiVersion"], manifest["kind"]
        if kind not in self.kinds.get(version, {}):
            offered = self.call("GET", _root(version))["resources"]
            self.kinds[version] = {
                entry["kind"]: (entry["name"], entry["namespaced"]) for entry in offered if "/" not in entry["name"]
            }
        if kind not in self.kinds[version]:
            raise Refused(404, f'no matches for kind "{kind}" in version "{version}"')
        return self.kinds[version][kind]

    def address(self, manifest: Manifest) -> str:
        plural, namespaced = self.kind_of(manifest)
        place = f"/namespaces/{manifest['metadata']['namespace']}" if namespaced else ""
        return f"{_root(manifest['apiVersion'])}{place}/{plural}/{manifest['metadata']['name']}"

    def get(self, manifest: Manifest) -> dict[str, Any] | None:
        """The live object, None where there is none, be it because its CRD is gone."""
        try:
            return self.call("GET", self.address(manifest))
        except Refused as refusal:
            if refusal.status == 404:
                return None
            raise

    def apply(self, manifest: Manifest, *, force: bool, preview: bool) -> dict[str, Any]:
        """Server-side apply; in a preview the server only says what would become of it."""
        dry = {"dryRun": "All"} if preview else {}
        return self.call(
            "PATCH", self.address(manifest), manifest, fieldManager=MANAGER, force=str(force).lower(), **dry
        )

    def delete(self, manifest: Manifest, timeout: float) -> None:
        """Delete and wait until it is gone; what is gone already is fine."""
        live = self.get(manifest)
        if live is None:
            return
        uid = live["metadata"]["uid"]
        self.call("DELETE", self.address(manifest), {"preconditions": {"uid": uid}}, propagationPolicy="Background")
        self._until(lambda: _gone(self.get(manifest), uid), timeout, manifest, "is still there")

    def wait(self, manifest: Manifest, timeout: float) -> dict[str, Any]:
        """The live object once it is what its kind and annotations ask for. Raises NotReady."""
        rules = [*_ROLLED_OUT.get(manifest["kind"], ()), *_wanted(manifest["metadata"].get("annotations", {}))]
        for rule in rules:
            self._until(lambda rule=rule: rule(self.get(manifest) or {}), timeout, manifest, "is not ready")
        return self.get(manifest) or {}

    def _until(self, done: Callable[[], bool], timeout: float, manifest: Manifest, fault: str) -> None:
        deadline = time.monotonic() + timeout
        while not done():
            if self.cancelled.wait(LOOK_AGAIN) or time.monotonic() > deadline:
                live = self.get(manifest) or {}
                conditions = live.get("status", {}).get("conditions", [])
                said = [f"{entry['type']}={entry['status']}: {entry.get('message', '')}" for entry in conditions]
                name = f"{manifest['kind']} {manifest['metadata']['name']}"
                raise NotReady("; ".join([f"{name} {fault} after {timeout:.0f} s", *said]), live)


def _root(version: str) -> str:
    return f"/apis/{version}" if "/" in version else f"/api/{version}"


def _unreachable(fault: Exception) -> Refused:
    return Refused(0, f"configured Kubernetes cluster is unreachable: {fault}")


def _message(data: bytes) -> str:
    try:
        return str(json.loads(data)["message"])
    except (ValueError, KeyError):
        return data.decode(errors="replace")


def _gone(live: Manifest | None, uid: str) -> bool:
    return live is None or live["metadata"]["uid"] != uid


def _rolled_out(live: Manifest) -> bool:
    """As `kubectl rollout status`: the newest template runs everywhere, nothing older does."""
    status, replicas = live.get("status", {}), live["spec"]["replicas"]
    seen = status.get("observedGeneration", 0) >= live["metadata"]["generation"]
    counts = [status.get(name, 0) for name in ("replicas", "updatedReplicas", "availableReplicas")]
    return seen and counts == [replicas] * 3


_ROLLED_OUT: Mapping[str, tuple[Callable[[Manifest], bool], ...]] = {"Deployment": (_rolled_out,)}


def _wanted(annotations: Mapping[str, str]) -> list[Callable[[Manifest], bool]]:
    """`pulumi.com/waitFor: condition=TYPE[=STATUS]`, the one form that our program uses."""
    if "pulumi.com/waitFor" not in annotations:
        return []
    keyword, kind, *status = annotations["pulumi.com/waitFor"].split("=")
    if keyword != "condition":
        raise Refused(400, f"the stand-in only waits for a condition, not for {keyword}")
    wanted = (kind, status[0] if status else "True")
    return [lambda live: wanted in {(c["type"], c["status"]) for c in live.get("status", {}).get("conditions", [])}]
