"""What the stand-in for the Kubernetes plugin does with property values, before any cluster is asked."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kubernetes.standin.provider import ALWAYS_REPLACED, REPLACED, Provider
from tests.kubernetes.standin.values import UNKNOWN, cut, differences, marked, plain, secret, unknown

BEFORE = {
    "kind": "Deployment",
    "metadata": {"name": "logging", "annotations": {"pulumi.com/patchForce": "true"}},
    "spec": {"replicas": 3, "template": {"spec": {"containers": [{"env": [{"name": "A", "value": "1"}]}]}}},
}


def changed(*path: str | int, to: Any) -> dict[str, Any]:
    """The Deployment above with one value changed."""

    def below(value: Any, path: tuple[str | int, ...]) -> Any:
        if not path:
            return to
        first, *rest = path
        copy = dict(value) if isinstance(value, dict) else list(value)
        copy[first] = below(value[first], tuple(rest)) if first in value or isinstance(value, list) else to
        return copy

    found: dict[str, Any] = below(BEFORE, path)
    return found


def test_a_manifest_has_no_marks_and_whole_numbers() -> None:
    """What is sent to the API server is the value itself."""
    sent = {"data": secret({"key": secret("hidden")}), "replicas": 3.0, "share": 0.5, "on": True}
    assert {"data": {"key": "hidden"}, "replicas": 3, "share": 0.5, "on": True} == plain(sent)


def test_outputs_are_secret_where_inputs_are() -> None:
    """A value that the API server returns is marked as its input was, wherever it stands."""
    inputs = {"spec": {"env": [{"value": "seen"}, {"value": secret("hidden")}], "whole": secret({"a": "b"})}}
    live = {"spec": {"env": [{"value": "seen"}, {"value": "hidden"}, {"value": "more"}], "whole": {"a": "b"}}}
    expected = {
        "spec": {
            "env": [{"value": "seen"}, {"value": secret("hidden")}, {"value": "more"}],
            "whole": secret({"a": "b"}),
        }
    }
    assert expected == marked(live, inputs)


def test_a_refresh_takes_over_only_what_was_ours() -> None:
    """Defaults and other managers' fields stay out, a removed field is missed, secrets stay secret."""
    inputs = {"spec": {"replicas": 3, "paused": False}, "data": secret({"a": "old"}), "ports": [{"port": 1}]}
    live = {
        "spec": {"replicas": 5, "strategy": {}},
        "data": {"a": "new", "b": "theirs"},
        "ports": [{"port": 1, "p": 2}],
    }
    assert {"spec": {"replicas": 5}, "data": secret({"a": "new"}), "ports": [{"port": 1}]} == cut(live, inputs)


def test_differences_name_each_path() -> None:
    """Paths are those of Pulumi's detailed diff: keys with dots in brackets, list entries by their number."""
    cases = {
        "spec.replicas": changed("spec", "replicas", to=4),
        'metadata.annotations["pulumi.com/patchForce"]': changed(
            "metadata", "annotations", "pulumi.com/patchForce", to="false"
        ),
        "spec.template.spec.containers[0].env[0].value": changed(
            "spec", "template", "spec", "containers", 0, "env", 0, "value", to="2"
        ),
    }
    assert {path: [(path, "UPDATE")] for path in cases} == {
        path: list(differences(BEFORE, after)) for path, after in cases.items()
    }
    assert [] == list(differences(BEFORE, BEFORE))
    assert [("a", "DELETE"), ("b", "ADD"), ("c[1]", "ADD")] == list(
        differences({"a": 1, "c": [1]}, {"b": 1, "c": [1, 2]})
    )


def test_unknown_is_found_at_any_depth() -> None:
    """A manifest that waits for another resource is not sent to the API server in a preview."""
    assert (True, False) == (unknown({"a": [{"b": secret(UNKNOWN)}]}), unknown(BEFORE))


@pytest.mark.parametrize(
    ("after", "replaces", "first_deleted"),
    [
        (changed("spec", "replicas", to=4), [], False),
        (changed("metadata", "name", to="other"), ["metadata.name"], False),
        (changed("spec", "selector", to={"app": "b"}), ["spec.selector"], True),
    ],
    ids=["replicas", "name", "selector"],
)
def test_what_is_replaced(after: dict[str, Any], replaces: list[str], first_deleted: bool) -> None:
    """A new name makes a new object before the old one goes; one of the same name has to go first."""
    found = Provider._diff(BEFORE, after, (*ALWAYS_REPLACED, *REPLACED["Deployment"]))
    assert (replaces, first_deleted) == (list(found.replaces), found.deleteBeforeReplace)
