"""Every object of every stack is admitted by a real API server that enforces `restricted`, and broken ones are not."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.infra import stacks
from tests.kubernetes.apiserver import ApiServer, Refused, pod_of

pytestmark = pytest.mark.servers

Manifest = dict[str, Any]
RUNS_PODS = "Deployment"


def placed(manifest: Manifest, namespace: str) -> Manifest:
    """The object in another namespace, and what it says about its own namespace too."""
    moved = copy.deepcopy(manifest)
    moved["metadata"]["namespace"] = namespace
    for subject in moved.get("subjects", []):
        subject["namespace"] = namespace
    return moved


@pytest.mark.parametrize("stack", stacks.STACKS)
def test_every_object_of_every_stack_is_admitted(api_server: ApiServer, stack: str) -> None:
    """The pods as well, which a controller makes: Pod Security looks at those only."""
    namespace = api_server.namespace()
    objects = [placed(manifest, namespace) for manifest in stacks.manifests(stack)]

    made = [api_server.apply(manifest) for manifest in objects]
    pods = [api_server.apply(pod_of(entry)) for entry in objects if entry["kind"] == RUNS_PODS]

    assert len(objects) == len({entry["metadata"]["uid"] for entry in made})
    assert ["Pending"] * 3 == [pod["status"]["phase"] for pod in pods]


def the(kind: str) -> Manifest:
    """The first object of a kind in the stack that has every kind."""
    return copy.deepcopy(next(entry for entry in stacks.manifests("everything on") if entry["kind"] == kind))


def pod(change: Callable[[Manifest], None]) -> Callable[[], Manifest]:
    """A pod of a Deployment of ours with its spec changed."""

    def made() -> Manifest:
        broken = pod_of(the(RUNS_PODS))
        broken["spec"]["serviceAccountName"] = "default"
        change(broken["spec"])
        return broken

    return made


def changed(kind: str, change: Callable[[Manifest], Any]) -> Callable[[], Manifest]:
    """An object of ours changed."""

    def made() -> Manifest:
        broken = the(kind)
        change(broken)
        return broken

    return made


def security(**settings: Any) -> Callable[[], Manifest]:
    return pod(lambda spec: spec["containers"][0]["securityContext"].update(settings))


BROKEN: dict[str, tuple[Callable[[], Manifest], str]] = {
    "privileged": (
        security(privileged=True, allowPrivilegeEscalation=True),
        r'violates PodSecurity "restricted:latest": privileged \(container "[a-z-]+" must not set',
    ),
    "as root": (security(runAsUser=0, runAsNonRoot=False), r"runAsNonRoot != true .* runAsUser=0"),
    "a capability": (security(capabilities={"add": ["SYS_PTRACE"], "drop": ["ALL"]}), "unrestricted capabilities"),
    "the host's network": (pod(lambda spec: spec.update(hostNetwork=True)), r"host namespaces \(hostNetwork=true\)"),
    "a folder of the host": (
        pod(lambda spec: spec["volumes"].append({"name": "host", "hostPath": {"path": "/"}})),
        r'restricted volume types \(volume "host" uses restricted volume type "hostPath"\)',
    ),
    "an unknown field": (
        changed("Deployment", lambda it: it["spec"].update(replica=2)),
        r"\.spec\.replica: field not declared in schema",
    ),
    "a selector that is not the pods'": (
        changed("Deployment", lambda it: it["spec"]["selector"]["matchLabels"].update(app="other")),
        "`selector` does not match template `labels`",
    ),
    "an unknown field of a queue": (
        changed("Queue", lambda it: it["spec"].update(durabel=True)),
        r"\.spec\.durabel: field not declared in schema",
    ),
    "a queue without a name": (changed("Queue", lambda it: it["spec"].pop("name")), r"spec\.name: Required value"),
    "a policy without a definition": (
        changed("Policy", lambda it: it["spec"].pop("definition")),
        r"spec\.definition: Required value",
    ),
    "a binding to what is neither queue nor exchange": (
        changed("Binding", lambda it: it["spec"].update(destinationType="topic")),
        r'spec\.destinationType: Unsupported value: "topic"',
    ),
    "an autoscaler without triggers": (
        changed("ScaledObject", lambda it: it["spec"].pop("triggers")),
        r"spec\.triggers: Required value",
    ),
    "an alert that waits for words": (
        changed("PrometheusRule", lambda it: it["spec"]["groups"][0]["rules"][0].update({"for": "ten minutes"})),
        r"spec\.groups\[0\]\.rules\[0\]\.for: Invalid value",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("broken", "reason"), BROKEN.values(), ids=BROKEN)
def test_what_is_broken_is_refused_with_the_reason(
    api_server: ApiServer, broken: Callable[[], Manifest], reason: str
) -> None:
    """So the test above would see it."""
    manifest = placed(broken(), api_server.namespace())

    with pytest.raises(Refused, match=reason):
        api_server.apply(manifest, dry_run=True)
