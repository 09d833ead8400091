"""One real Kubernetes node as processes: etcd, containerd, the control plane, kubelet, proxy and DNS."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.kubectl import Kubectl
from tests.cluster.programs import Programs, flags
from tests.cluster.world import ADDRESS, BRIDGE, NODE, RESOLVER
from tools import folder, path
from tools.foreground import LOOPBACK
from tools.image import Image

API = 6443
PODS = "10.244.0.0/24"
SERVICES = "10.96.0.0/16"
TOKEN = "admin"  # of a cluster that lives for minutes and that nobody else can reach
SOCKET = "/run/containerd/containerd.sock"


@dataclass(frozen=True)
class Node:
    """A node whose files are below `home`."""

    home: Path
    programs: Programs
    pause: Image

    @property
    def kubeconfig(self) -> Path:
        return self.home / "kubeconfig"

    @property
    def pki(self) -> Path:
        return self.home / "pki"

    @property
    def kubectl(self) -> Kubectl:
        return Kubectl(self.kubeconfig)

    def start(self, *images: Image) -> None:
        """Start everything; return when the node is Ready and has the images. Raises Failed."""
        self.pki.mkdir(parents=True)
        self._keys()
        start, wait = self.programs.start, self.programs.wait
        start("etcd", _etcd())
        start("containerd", [str(path("containerd")), "--config", self._file("containerd.toml", self._containerd())])
        start("kube-apiserver", self._apiserver())
        wait("containerd answers", Path(SOCKET).exists)
        for image in (self.pause, *images):
            _import(image.archive)
        wait("the API server is ready", lambda: self.kubectl.succeeds("get", "--raw", "/readyz"))
        for name, command in self._controllers().items():
            start(name, command)
        wait("the node is Ready", self._is_ready)
        account = ("get", "serviceaccount", "default", "--namespace", "default")
        wait("there is a default service account", lambda: self.kubectl.succeeds(*account))

    def _is_ready(self) -> bool:
        found = self.kubectl.find("node", NODE) or {"status": {"conditions": []}}
        return any(is_true(condition, "Ready") for condition in found["status"]["conditions"])

    def _keys(self) -> None:
        """A key for service accounts, and one certificate for all that is only between the node's own programs."""
        self._file("tokens.csv", f'{TOKEN},admin,admin,"system:masters"\n')
        self._file("kubeconfig", json.dumps(_kubeconfig()))
        account, certificate = ["-out", f"{self.home}/accounts.key", "2048"], self.pki / "tls.crt"
        names = f"subjectAltName=DNS:localhost,DNS:{NODE},IP:{LOOPBACK},IP:{ADDRESS}"
        openssl("genrsa", *account)
        openssl(
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={NODE}", "-addext", names,
            "-keyout", f"{self.pki}/tls.key", "-out", str(certificate),
        )  # fmt: skip
        (self.pki / "ca.crt").write_bytes(certificate.read_bytes())  # it vouches for itself

    def _apiserver(self) -> list[str]:
        return flags(
            "kube-apiserver",
            etcd_servers=f"http://{LOOPBACK}:2379",
            bind_address="0.0.0.0",
            advertise_address=ADDRESS,
            secure_port=API,
            tls_cert_file=self.pki / "tls.crt",
            tls_private_key_file=self.pki / "tls.key",
            kubelet_preferred_address_types="InternalIP",  # nobody resolves the node's name
            token_auth_file=self.home / "tokens.csv",
            authorization_mode="Node,RBAC",
            service_cluster_ip_range=SERVICES,
            service_account_issuer="https://kubernetes.default.svc",
            service_account_key_file=self.home / "accounts.key",
            service_account_signing_key_file=self.home / "accounts.key",
            # the aggregation layer, through which the autoscaler asks KEDA's adapter
            requestheader_client_ca_file=self.pki / "ca.crt",
            requestheader_username_headers="X-Remote-User",
            requestheader_group_headers="X-Remote-Group",
            requestheader_extra_headers_prefix="X-Remote-Extra-",
            proxy_client_cert_file=self.pki / "tls.crt",
            proxy_client_key_file=self.pki / "tls.key",
            enable_aggregator_routing="true",
        )

    def _controllers(self) -> dict[str, list[str]]:
        config = {"kubeconfig": self.kubeconfig}
        alone = {**config, "leader_elect": "false", "cert_dir": self.home / "certs"}
        named = {"hostname_override": NODE}
        return {
            "kube-controller-manager": flags(
                "kube-controller-manager",
                **alone,
                service_account_private_key_file=self.home / "accounts.key",
                root_ca_file=self.pki / "ca.crt",
                horizontal_pod_autoscaler_sync_period="3s",
            ),
            "kube-scheduler": flags("kube-scheduler", **alone),
            "kubelet": flags(
                "kubelet",
                **config,
                **named,
                config=self._file("kubelet.json", json.dumps(self._kubelet())),
                root_dir=self.home / "kubelet",
                cert_dir=self.home / "kubelet-certs",
                node_ip=ADDRESS,
            ),
            "kube-proxy": flags("kube-proxy", **named, config=self._file("proxy.json", json.dumps(self._proxy()))),
            "coredns": [str(path("coredns")), "-conf", self._file("Corefile", self._corefile())],
        }

    def _containerd(self) -> str:
        self._file("cni/10-bridge.conflist", json.dumps(_network()))
        return f"""\
version = 2
root = "{self.home}/containerd"
state = "/run/containerd"
[grpc]
  address = "{SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{self.pause.reference}"
  disable_hugetlb_controller = true
  restrict_oom_score_adj = true # without CAP_SYS_RESOURCE nobody lowers it
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{folder("node-programs")}/usr/lib/cni"
    conf_dir = "{self.home}/cni"
"""

    def _kubelet(self) -> dict[str, Any]:
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
            "authorization": {"mode": "AlwaysAllow"},
            "containerRuntimeEndpoint": f"unix://{SOCKET}",
            "cgroupDriver": "cgroupfs",
            "failCgroupV1": False,
            "failSwapOn": False,
            "featureGates": {"KubeletInUserNamespace": True},  # forgives what CAP_SYS_RESOURCE would be needed for
            "oomScoreAdj": 0,
            "clusterDomain": "cluster.local",
            "clusterDNS": [ADDRESS],
            "resolvConf": str(RESOLVER),
            "podLogsDir": f"{self.programs.logs}/pods",
            "evictionHard": {
                "memory.available": "100Mi",
                "nodefs.available": "1%",
                "imagefs.available": "1%",
                "nodefs.inodesFree": "1%",
            },
            "imageGCHighThresholdPercent": 100,
            "nodeStatusUpdateFrequency": "10s",
        }

    def _proxy(self) -> dict[str, Any]:
        return {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "clientConnection": {"kubeconfig": str(self.kubeconfig)},
            "mode": "iptables",
            "clusterCIDR": PODS,
            "conntrack": {"maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
            "iptables": {"syncPeriod": "30s", "minSyncPeriod": "0s"},
        }

    def _corefile(self) -> str:
        zones = "cluster.local in-addr.arpa"
        return f".:53 {{\n bind {ADDRESS}\n kubernetes {zones} {{\n  kubeconfig {self.kubeconfig}\n  ttl 1\n }}\n}}\n"

    def _file(self, name: str, text: str) -> str:
        file = self.home / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return str(file)


def is_true(condition: dict[str, str], kind: str) -> bool:
    """Whether a condition of a Kubernetes object is of this kind, and holds."""
    return condition["type"] == kind and condition["status"] == "True"


def _import(archive: Path) -> None:
    command: list[str | Path] = [path("ctr"), "--address", SOCKET, "--namespace", "k8s.io", "images", "import", archive]
    subprocess.run(command, check=True, capture_output=True)


def openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


def _etcd() -> list[str]:
    """In memory: the run needs its answers, and nobody its data."""
    clients, peers = f"http://{LOOPBACK}:2379", f"http://{LOOPBACK}:2380"
    return flags(
        "etcd",
        data_dir="/run/etcd",
        listen_client_urls=clients,
        advertise_client_urls=clients,
        listen_peer_urls=peers,
        initial_advertise_peer_urls=peers,
        initial_cluster=f"default={peers}",
    )


def _network() -> dict[str, Any]:
    """Pods on the bridge. It knows no policies: a NetworkPolicy is admitted, and not enforced."""
    addresses = {
        "type": "host-local",
        "dataDir": "/run/cni",
        "ranges": [[{"subnet": PODS}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {"type": "bridge", "bridge": BRIDGE, "isGateway": True, "ipMasq": False, "hairpinMode": True}
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "0.4.0", "name": "pods", "plugins": [{**bridge, "ipam": addresses}, ports]}


def _kubeconfig() -> dict[str, Any]:
    cluster = {"server": f"https://{LOOPBACK}:{API}", "insecure-skip-tls-verify": True}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": NODE,
        "clusters": [{"name": NODE, "cluster": cluster}],
        "users": [{"name": "admin", "user": {"token": TOKEN}}],
        "contexts": [{"name": NODE, "context": {"cluster": NODE, "user": "admin"}}],
    }
