"""How a strict reviewer reads a stack: its objects, the ways through them, and a list of sentences that must hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

from catalog import Catalog

Manifest = dict[str, Any]
MISSING = object()


@dataclass(frozen=True)
class Container:
    """A container of a Deployment: `where` for people, `spec` its own and `pod` that of its pod."""

    where: str
    spec: Manifest
    pod: Manifest

    def security(self, path: str) -> Any:
        """A field of the security context in effect: the container's own, else the pod's."""
        own = at(self.spec, f"securityContext {path}")
        return at(self.pod, f"securityContext {path}") if own is MISSING else own

    @property
    def env(self) -> dict[str, str]:
        """Its variables with a plain value."""
        return {entry["name"]: entry["value"] for entry in self.spec.get("env", ()) if "value" in entry}


@dataclass(frozen=True)
class Reviewed:
    """All objects of a stack, the catalog that they were made from, and the Secrets that somebody else makes."""

    objects: list[Manifest]
    catalog: Catalog
    given: frozenset[str] = frozenset()

    def of(self, *kinds: str) -> list[Manifest]:
        return [entry for entry in self.objects if entry["kind"] in kinds]

    def named(self, kind: str, name: str) -> Manifest | None:
        return next((entry for entry in self.of(kind) if name_of(entry) == name), None)

    @property
    def pods(self) -> list[tuple[str, Manifest]]:
        """(Deployment, pod template) of each."""
        return [(name_of(entry), at(entry, "spec template")) for entry in self.of("Deployment")]

    @property
    def containers(self) -> list[Container]:
        return [
            Container(f"{name}/{container['name']}", container, pod["spec"])
            for name, pod in self.pods
            for container in [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]
        ]

    def selected(self, selector: Manifest) -> list[str]:
        """The Deployments whose pods a selector (matchLabels, or plain labels) takes."""
        wanted = selector.get("matchLabels", selector) if "matchExpressions" not in selector else {"?": "?"}
        return [name for name, pod in self.pods if wanted.items() <= at(pod, "metadata labels").items()]


Finds = Callable[[Reviewed], Iterator[str]]
Breaks = Callable[[list[Manifest]], None]


@dataclass(frozen=True)
class Check:
    """A sentence, what contradicts it in a stack, and a change that must make it untrue."""

    sentence: str
    finds: Finds
    broken_by: Breaks

    def findings(self, stack: Reviewed) -> list[str]:
        return list(self.finds(stack))

    def findings_when_broken(self, stack: Reviewed) -> list[str]:
        """What it says about the same stack with its counter-example in it."""
        objects = deepcopy(stack.objects)
        self.broken_by(objects)
        assert objects != stack.objects, f"the counter-example changed nothing: {self.sentence}"
        return self.findings(replace(stack, objects=objects))


CHECKS: list[Check] = []


def check(sentence: str, broken_by: Breaks) -> Callable[[Finds], Finds]:
    """Add a check to the list."""

    def add(finds: Finds) -> Finds:
        CHECKS.append(Check(sentence, finds, broken_by))
        return finds

    return add


def name_of(manifest: Manifest) -> str:
    return str(manifest["metadata"]["name"])


def where(manifest: Manifest) -> str:
    return f"{manifest['kind']} {name_of(manifest)}"


def at(value: Any, path: str) -> Any:
    """What stands at a path, its steps separated by spaces; MISSING where nothing does."""
    for step in path.split():
        try:
            value = value[int(step) if isinstance(value, list) else step]
        except (KeyError, IndexError, TypeError):
            return MISSING
    return value


def setting(kind: str, path: str, new: Any) -> Breaks:
    """A counter-example: every object of a kind has something else at a path; MISSING takes it away."""

    def change(objects: list[Manifest]) -> None:
        *steps, last = path.split()
        for entry in (entry for entry in objects if entry["kind"] == kind):
            inner: Any = entry
            for step in steps:
                inner = inner[int(step)] if isinstance(inner, list) else inner.setdefault(step, {})
            key = int(last) if isinstance(inner, list) else last
            if new is MISSING:
                inner.pop(key, None)
            else:
                inner[key] = deepcopy(new)

    return change


def without(kind: str) -> Breaks:
    """A counter-example: no object of a kind."""

    def change(objects: list[Manifest]) -> None:
        objects[:] = [entry for entry in objects if entry["kind"] != kind]

    return change


def adding(manifest: Manifest) -> Breaks:
    """A counter-example: one object too many."""
    return lambda objects: objects.append(deepcopy(manifest))


POD = "spec template spec"
CONTAINER = f"{POD} containers 0"
