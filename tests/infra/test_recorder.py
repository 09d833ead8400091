"""What is recorded of a program: its inputs as they are, and never a secret."""

from __future__ import annotations

from collections.abc import Callable

import pulumi
import pulumi_kubernetes as k8s
import pytest
from pulumi import Output, ResourceOptions

from infra.files import Password
from infra.recorder import SECRET, Registered, UnexpectedCall, record


class Pair(pulumi.ComponentResource):
    """A Secret, and a ConfigMap that waits for it."""

    def __init__(self, name: str, text: pulumi.Input[str]) -> None:
        super().__init__("tests:index:Pair", name)
        hidden = k8s.core.v1.Secret(
            f"{name}-hidden",
            metadata={"name": "hidden"},
            string_data={"text": text, "plain": "too"},
            opts=ResourceOptions(parent=self, retain_on_delete=True),
        )
        opts = ResourceOptions(parent=self, depends_on=[hidden], ignore_changes=["data"])
        k8s.core.v1.ConfigMap(f"{name}-shown", metadata={"name": "shown"}, data={"text": "1"}, opts=opts)
        self.register_outputs({})


def recorded(text: Callable[[], pulumi.Input[str]]) -> dict[str, Registered]:
    def program() -> None:
        Pair("pair", text())

    return {entry.name: entry for entry in record("project", "stack", program)}


def test_inputs_are_recorded_as_the_cluster_would_get_them() -> None:
    """With the names of the API, and numbers that are whole."""

    def program() -> None:
        k8s.core.v1.Service("web", metadata={"name": "web"}, spec={"ports": [{"port": 80, "target_port": "http"}]})

    assert {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web"},
        "spec": {"ports": [{"port": 80, "targetPort": "http"}]},
    } == record("project", "stack", program)[0].inputs


def test_a_secret_is_never_recorded() -> None:
    """Its keys stay readable; the library makes a whole Secret one."""
    hidden = recorded(lambda: Output.secret("hunter2"))["pair-hidden"]

    assert {"text": SECRET, "plain": SECRET} == hidden.inputs["stringData"]


def test_what_is_made_of_a_secret_is_a_secret() -> None:
    def address() -> Output[str]:
        return Output.secret("hunter2").apply(lambda password: f"amqp://user:{password}@host")

    assert {"text": SECRET, "plain": SECRET} == recorded(address)["pair-hidden"].inputs["stringData"]


def test_a_password_of_the_engine_is_a_secret() -> None:
    """Nobody has made it up yet, and still it cannot end up in the open."""

    def program() -> None:
        k8s.core.v1.ConfigMap("open", metadata={"name": "open"}, data={"text": Password("somebody").text})

    found = {entry.name: entry for entry in record("project", "stack", program)}

    assert {"text": SECRET} == found["open"].inputs["data"]


def test_order_and_options_are_recorded() -> None:
    found = recorded(lambda: "text")
    hidden, shown = found["pair-hidden"], found["pair-shown"]

    assert {found["pair"].urn} == {hidden.parent, shown.parent}
    assert hidden.urn in shown.after
    assert ("data",) == shown.ignores
    assert [False, True, False] == [found["pair"].kept, hidden.kept, shown.kept]


def test_a_program_that_asks_a_provider_is_refused() -> None:
    """A render that needed a cluster would not be one."""

    def program() -> None:
        pulumi.runtime.invoke("kubernetes:helm:template", {})

    with pytest.raises(UnexpectedCall, match="kubernetes:helm:template"):
        record("project", "stack", program)
