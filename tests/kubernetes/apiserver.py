"""A real Kubernetes API server without a node: it admits, validates and stores what it is given, and runs nothing."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import requests
import yaml
from kubernetes import client, config

import tools
from tests.brokers import eventually
from tools.servers import LOOPBACK, Server, free_ports, running

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
DEFINED = (  # what we write and look at; all that the parts bring would make the start three times as long
    "rabbitmq.com_*.yaml",
    "keda.sh_scaledobjects.yaml",
    "keda.sh_*triggerauthentications.yaml",
    "monitoring.coreos.com_*monitors.yaml",
    "monitoring.coreos.com_prometheusrules.yaml",
)
DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


class Refused(Exception):
    """The API server said no; the text is its message."""


@dataclass(frozen=True)
class ApiServer:
    """A running API server with RBAC, Pod Security and the operators' CRDs, seen as its administrator.

    No controller runs: a Deployment makes no pods, nothing becomes Ready, a deleted namespace stays Terminating. So a
    test takes a namespace of its own, and admits the pod of a Deployment by applying `pod_of` it.
    """

    url: str
    kubeconfig: Path
    api: client.ApiClient
    session: requests.Session

    def namespace(self, name: str = "", *, enforce: str = "restricted") -> str:
        """A namespace that enforces a Pod Security level, new under a name of its own unless `name` is given."""
        name = name or f"test-{secrets.token_hex(4)}"
        labels = {"pod-security.kubernetes.io/enforce": enforce}
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
        # the controller manager makes this one elsewhere
        self.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": name}})
        return name

    def apply(
        self, manifest: Mapping[str, Any], *, manager: str = "tests", force: bool = False, dry_run: bool = False
    ) -> dict[str, Any]:
        """The object as the server holds it after a server-side apply; raises Refused.

        Unknown fields are refused, as `kubectl apply` does.
        """
        query = {"fieldManager": manager, "force": str(force).lower(), "fieldValidation": "Strict"}
        return self.request(
            "PATCH", self.path(manifest), params=query | ({"dryRun": "All"} if dry_run else {}),
            data=json.dumps(manifest), headers={"Content-Type": "application/apply-patch+yaml"},
        )  # fmt: skip

    def path(self, manifest: Mapping[str, Any]) -> str:
        """Where an object is served, e.g. /apis/apps/v1/namespaces/NAMESPACE/deployments/NAME; raises Refused."""
        version, kind, metadata = manifest["apiVersion"], manifest["kind"], manifest["metadata"]
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        served = [r for r in self.request("GET", root)["resources"] if r["kind"] == kind and "/" not in r["name"]]
        if not served:
            raise Refused(f"{version} has no kind {kind}")
        within = f"/namespaces/{metadata['namespace']}" if served[0]["namespaced"] else ""
        return f"{root}{within}/{served[0]['name']}/{metadata['name']}"

    def user(self, namespace: str, rules: Sequence[Mapping[str, Any]]) -> Path:
        """The kubeconfig of a new user who may do in `namespace` what the RBAC rules allow, and nothing else."""
        metadata = {"name": f"user-{secrets.token_hex(4)}", "namespace": namespace}
        rbac = "rbac.authorization.k8s.io"
        subject = {"kind": "ServiceAccount", **metadata}
        role = {"apiGroup": rbac, "kind": "Role", "name": metadata["name"]}
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}
        self.apply(account)
        self.apply({"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": metadata, "rules": rules})
        binding = {"metadata": metadata, "subjects": [subject], "roleRef": role}
        self.apply({"apiVersion": f"{rbac}/v1", "kind": "RoleBinding", **binding})
        token = self.request("POST", f"{self.path(account)}/token", json={})["status"]["token"]
        theirs = self.kubeconfig.with_name(f"{metadata['name']}.yaml")
        mine = yaml.safe_load(self.kubeconfig.read_text())
        theirs.write_text(yaml.safe_dump(mine | {"users": [{"name": "user", "user": {"token": token}}]}))
        return theirs

    def request(self, method: str, path: str, **how: Any) -> dict[str, Any]:
        """The server's answer to one request (`how` as for requests); raises Refused."""
        answer = self.session.request(method, self.url + path, timeout=30, **how)
        body: dict[str, Any] = answer.json()
        if not answer.ok:
            raise Refused(body["message"])
        return body

    def serves(self, path: str) -> bool:
        """Whether a path is answered with success, soon."""
        try:
            return self.session.get(self.url + path, timeout=5).ok
        except requests.Timeout:
            return False


def pod_of(workload: Mapping[str, Any]) -> dict[str, Any]:
    """The pod that a controller would make of a Deployment or a Job."""
    template, metadata = workload["spec"]["template"], workload["metadata"]
    named = {"name": f"{metadata['name']}-{secrets.token_hex(3)}", "namespace": metadata["namespace"]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {**template.get("metadata", {}), **named}} | {
        "spec": template["spec"]
    }


@contextmanager
def api_server(home: Path) -> Iterator[ApiServer]:
    """An API server with a store of its own below `home`, ready with all definitions; both end with the block."""
    store, peers, port = free_ports(3)
    token = secrets.token_urlsafe(12)
    with ExitStack() as started:
        started.enter_context(running(_etcd(home, store, peers)))
        started.enter_context(running(_kube_apiserver(home, port, store, token)))
        session = started.enter_context(requests.Session())
        session.headers["Authorization"] = f"Bearer {token}"
        session.trust_env = False  # a REQUESTS_CA_BUNDLE would win over the next line
        session.verify = str(home / "certificates/apiserver.crt")
        kubeconfig = _kubeconfig(home, port, token)
        api = config.new_client_from_config(str(kubeconfig))
        started.callback(api.rest_client.pool_manager.clear)
        server = ApiServer(f"https://{LOOPBACK}:{port}", kubeconfig, api, session)
        eventually(lambda: server.serves("/readyz"), 60)
        _install_definitions(server)
        yield server


def definitions() -> list[Path]:
    """The operators' own CRD files of the kinds that are served, <group>_<plural>.yaml."""
    return [file for pattern in DEFINED for file in tools.folder("crds").glob(pattern)]


def _install_definitions(server: ApiServer) -> None:
    files = definitions()
    create = partial(server.request, "POST", CRDS, headers={"Content-Type": "application/yaml"})
    with ThreadPoolExecutor(max_workers=4) as pool:
        list(pool.map(lambda file: create(data=file.read_bytes()), files))
    wanted = {tuple(file.stem.split("_")) for file in files}

    def served() -> dict[tuple[str, ...], str]:
        groups = server.request("GET", "/apis", headers={"Accept": DISCOVERY})["items"]
        found = {
            (group["metadata"]["name"], resource["resource"]): version["version"]
            for group in groups for version in group["versions"] for resource in version["resources"]
        }  # fmt: skip
        return {kind: found[kind] for kind in wanted} if wanted <= found.keys() else {}

    for (group, plural), version in eventually(served, 30).items():  # what is announced may not be stored yet
        eventually(partial(server.serves, f"/apis/{group}/{version}/{plural}?limit=1"), 30)


def _etcd(home: Path, port: int, peers: int) -> Server:
    here, there = f"http://{LOOPBACK}:{port}", f"http://{LOOPBACK}:{peers}"
    return Server(
        name="etcd",
        command=(
            str(tools.path("etcd")), f"--data-dir={home / 'etcd'}", "--unsafe-no-fsync", "--log-level=warn",
            f"--listen-client-urls={here}", f"--advertise-client-urls={here}", f"--listen-peer-urls={there}",
            f"--initial-advertise-peer-urls={there}", f"--initial-cluster=default={there}",
        ),
        ready=f"{here}/health",
        ports=(port, peers),
        directory=home,
    )  # fmt: skip


def _kube_apiserver(home: Path, port: int, store: int, token: str) -> Server:
    certificates, tokens = home / "certificates", home / "tokens.csv"
    key = certificates / "apiserver.key"  # its own: it makes it before it needs it here
    return Server(
        name="kube-apiserver",
        command=(
            str(tools.path("kube-apiserver")), f"--etcd-servers=http://{LOOPBACK}:{store}",
            f"--bind-address={LOOPBACK}", f"--secure-port={port}", f"--cert-dir={certificates}",
            "--allow-privileged",  # so that it is Pod Security that refuses
            "--endpoint-reconciler-type=none",  # it refuses to announce a loopback address
            f"--token-auth-file={tokens}", "--authorization-mode=RBAC",
            "--service-account-issuer=https://kubernetes.default.svc", f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}", "--service-cluster-ip-range=10.96.0.0/16",
        ),
        ready=f"tcp://{LOOPBACK}:{port}",
        ports=(port,),
        directory=home,
        files={tokens: f'{token},admin,admin,"system:masters"\n'},
    )  # fmt: skip


def _kubeconfig(home: Path, port: int, token: str) -> Path:
    """Tests do not read ~/.kube/config, and this one needs no `current-context` from anyone."""
    file = home / "kubeconfig.yaml"
    cluster = {
        "server": f"https://{LOOPBACK}:{port}",
        "certificate-authority": str(home / "certificates/apiserver.crt"),
    }
    file.touch(mode=0o600)
    file.write_text(yaml.safe_dump({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "tests",
        "clusters": [{"name": "tests", "cluster": cluster}],
        "users": [{"name": "user", "user": {"token": token}}],
        "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "user"}}],
    }))  # fmt: skip
    return file
