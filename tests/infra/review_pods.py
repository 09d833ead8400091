"""What kube-linter, kube-score, polaris and checkov ask of pods, and what they forget: each with what breaks it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.infra.review import CONTAINER, MISSING, POD, Reviewed, at, check, name_of, setting, where

DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")
HIDDEN = re.compile(r"AccountKey=|SharedAccessSignature=|://[^/\s]+:[^/\s]+@|BEGIN [A-Z ]*PRIVATE KEY")
SPEAKS_OF_A_SECRET = re.compile(r"PASSWORD|TOKEN|SECRET|_KEY\b|CONNECTION_STRING")


@check(
    "An image is named by its digest: a tag may be another image tomorrow",
    broken_by=setting("Deployment", f"{CONTAINER} image", "registry.example/consumers:1.4"),
)
def images(stack: Reviewed) -> Iterator[str]:
    for container in stack.containers:
        if not DIGEST.search(container.spec["image"]):
            yield f"{container.where}: image {container.spec['image']} has no digest"


@check(
    "A container does not run as root, and its uid is none that the node uses",
    broken_by=setting("Deployment", f"{CONTAINER} securityContext runAsUser", 0),
)
def root(stack: Reviewed) -> Iterator[str]:
    for container in stack.containers:
        if container.security("runAsNonRoot") is not True:
            yield f"{container.where}: may run as root"
        if not isinstance(uid := container.security("runAsUser"), int) or uid < 10_000:
            yield f"{container.where}: uid is {uid}"


@check(
    "A container writes nothing into its image",
    broken_by=setting("Deployment", f"{CONTAINER} securityContext readOnlyRootFilesystem", False),
)
def read_only(stack: Reviewed) -> Iterator[str]:
    for container in stack.containers:
        if container.security("readOnlyRootFilesystem") is not True:
            yield f"{container.where}: its root file system can be written"


@check(
    "A container cannot gain privileges",
    broken_by=setting("Deployment", f"{CONTAINER} securityContext allowPrivilegeEscalation", True),
)
def escalation(stack: Reviewed) -> Iterator[str]:
    for container in stack.containers:
        if container.security("allowPrivilegeEscalation") is not False:
            yield f"{container.where}: may gain privileges"
        if container.security("privileged") is True:
            yield f"{container.where}: is privileged"


@check(
    "A container has no capability",
    broken_by=setting("Deployment", f"{CONTAINER} securityContext capabilities", {"drop": ["NET_RAW"]}),
)
def capabilities(stack: Reviewed) -> Iterator[str]:
    for container in stack.containers:
        if container.security("capabilities") != {"drop": ["ALL"]}:
            yield f"{container.where}: capabilities are {container.security('capabilities')}"


@check(
    "The runtime's seccomp profile is on",
    broken_by=setting("Deployment", f"{CONTAINER} securityContext seccompProfile", {"type": "Unconfined"}),
)
def seccomp(stack: Reviewed) -> Iterator[str]:
    for container in stack.containers:
        if container.security("seccompProfile type") != "RuntimeDefault":
            yield f"{container.where}: seccomp is {container.security('seccompProfile type')}"


@check(
    "A pod shares nothing with its node",
    broken_by=setting("Deployment", f"{POD} hostNetwork", True),
)
def node(stack: Reviewed) -> Iterator[str]:
    for name, pod in stack.pods:
        for field in ("hostNetwork", "hostPID", "hostIPC"):
            if pod["spec"].get(field):
                yield f"{name}: {field} is on"
        folders = [volume["name"] for volume in pod["spec"].get("volumes", ()) if "hostPath" in volume]
        yield from (f"{name}: volume {volume} is a folder of the node" for volume in folders)
    for container in stack.containers:
        taken = [port["hostPort"] for port in container.spec.get("ports", ()) if "hostPort" in port]
        yield from (f"{container.where}: takes port {port} of the node" for port in taken)


@check(
    "A container asks for CPU and memory, and is ended before it takes a node's memory",
    broken_by=setting("Deployment", f"{CONTAINER} resources limits", {"cpu": "1"}),
)
def resources(stack: Reviewed) -> Iterator[str]:
    for container in stack.containers:
        asked, limit = at(container.spec, "resources requests"), at(container.spec, "resources limits memory")
        if at(asked, "cpu") is MISSING or at(asked, "memory") is MISSING:
            yield f"{container.where}: asks for {asked}"
        elif limit is MISSING or not _mebibytes(asked["memory"]) <= _mebibytes(limit) <= 1024:
            yield f"{container.where}: asks for {asked['memory']} and its memory is limited to {limit}"


def _mebibytes(text: str) -> int:
    return int(text.removesuffix("Mi"))


@check(
    "Nothing that a pod writes to can fill its node",
    broken_by=setting("Deployment", f"{POD} volumes", [{"name": "scratch", "emptyDir": {}}]),
)
def scratch(stack: Reviewed) -> Iterator[str]:
    for name, pod in stack.pods:
        for volume in pod["spec"].get("volumes", ()):
            if "emptyDir" in volume and not volume["emptyDir"].get("sizeLimit"):
                yield f"{name}: volume {volume['name']} has no limit"


@check(
    "A pod is alive while its loop turns, and ready while it consumes: a paused queue restarts nobody",
    broken_by=setting("Deployment", f"{CONTAINER} livenessProbe httpGet path", "/health/ready"),
)
def probes(stack: Reviewed) -> Iterator[str]:
    wanted = {"startupProbe": "/health/live", "livenessProbe": "/health/live", "readinessProbe": "/health/ready"}
    for container in stack.containers:
        ports = {port["name"]: port["containerPort"] for port in container.spec.get("ports", ())}
        for probe, path in wanted.items():
            if at(container.spec, f"{probe} httpGet path") != path:
                yield f"{container.where}: {probe} asks {at(container.spec, f'{probe} httpGet path')}"
            port = at(container.spec, f"{probe} httpGet port")
            if ports.get(port, port) != int(container.env["PORT"]):
                yield f"{container.where}: {probe} asks port {port}, the app listens on {container.env['PORT']}"


@check(
    "A secret is never a variable: those are inherited, dumped and shown by `kubectl describe`",
    broken_by=setting("Deployment", f"{CONTAINER} env 0", {"name": "COSMOS_DB_KEY", "value": "a2V5"}),
)
def variables(stack: Reviewed) -> Iterator[str]:
    for container in stack.containers:
        for entry in container.spec.get("env", ()):
            if "secretKeyRef" in entry.get("valueFrom", {}):
                yield f"{container.where}: {entry['name']} is a secret in a variable"
            points = entry["name"].endswith("_FILE") or str(entry.get("value", "")).startswith("/")
            if SPEAKS_OF_A_SECRET.search(entry["name"]) and not points:
                yield f"{container.where}: {entry['name']} has a value, a path to one was expected"
        if container.spec.get("envFrom"):
            yield f"{container.where}: takes whole objects as variables"


@check(
    "No object but a Secret has anything that looks like a credential",
    broken_by=setting("ConfigMap", "data", {"url": "amqp://logging:hunter2@rabbitmq:5672/"}),
)
def credentials(stack: Reviewed) -> Iterator[str]:
    for entry in stack.objects:
        if entry["kind"] != "Secret" and (found := HIDDEN.search(str(entry))):
            yield f"{where(entry)}: has {found[0]!r} in it"


@check(
    "Secrets are mounted whole and read-only: a file behind a subPath is never renewed",
    broken_by=setting("Deployment", f"{CONTAINER} volumeMounts 1 readOnly", False),
)
def mounts(stack: Reviewed) -> Iterator[str]:
    for container in stack.containers:
        volumes = {volume["name"]: volume for volume in container.pod.get("volumes", ())}
        for mount in container.spec.get("volumeMounts", ()):
            if mount["name"] not in volumes:
                yield f"{container.where}: mounts {mount['name']}, which is no volume"
            elif not {"secret", "projected"} & set(volumes[mount["name"]]):
                continue
            elif mount.get("readOnly") is not True or "subPath" in mount:
                yield f"{container.where}: secret {mount['name']} is mounted writable or by subPath"


@check(
    "A pod has an account of its own, and a token of it only where it talks to the API server",
    broken_by=setting("Deployment", f"{POD} serviceAccountName", "default"),
)
def accounts(stack: Reviewed) -> Iterator[str]:
    for name, pod in stack.pods:
        account = pod["spec"].get("serviceAccountName")
        if account in (None, "default") or not (made := stack.named("ServiceAccount", account)):
            yield f"{name}: runs as {account}, which is not its own"
        elif made.get("automountServiceAccountToken") is not False:
            yield f"{name}: {account} gives its token to every pod"
        speaks = any("DELETION_COST" in container.env for container in stack.containers if container.pod is pod["spec"])
        if bool(pod["spec"].get("automountServiceAccountToken", True)) != speaks:
            yield f"{name}: token mounted is {not speaks}, talks to the API server is {speaks}"


@check(
    "A rollout takes no replica away before another is ready",
    broken_by=setting("Deployment", "spec strategy", {"type": "Recreate"}),
)
def rollout(stack: Reviewed) -> Iterator[str]:
    for entry in stack.of("Deployment"):
        strategy = entry["spec"].get("strategy", {})
        update = strategy.get("rollingUpdate", {})
        if strategy.get("type", "RollingUpdate") != "RollingUpdate" or update.get("maxUnavailable") != 0:
            yield f"{name_of(entry)}: strategy is {strategy}"


@check(
    "A pod may take as long to end as the slowest of its queues, else a run is killed at every deploy",
    broken_by=setting("Deployment", f"{POD} terminationGracePeriodSeconds", 30),
)
def grace(stack: Reviewed) -> Iterator[str]:
    for name, pod in stack.pods:
        needed = max(queue.grace.total_seconds() for queue in stack.catalog.queues_of(name))
        if pod["spec"].get("terminationGracePeriodSeconds", 30) < needed:
            yield f"{name}: has {pod['spec'].get('terminationGracePeriodSeconds')} s to end, {needed:.0f} s are needed"


@check(
    "Replicas are spread over nodes, as far as there are nodes",
    broken_by=setting("Deployment", f"{POD} topologySpreadConstraints", []),
)
def spread(stack: Reviewed) -> Iterator[str]:
    for name, pod in stack.pods:
        constraints = pod["spec"].get("topologySpreadConstraints", ())
        ours = [entry for entry in constraints if stack.selected(entry["labelSelector"]) == [name]]
        if not any(entry["topologyKey"] == "kubernetes.io/hostname" for entry in ours):
            yield f"{name}: nothing keeps its replicas on different nodes"
