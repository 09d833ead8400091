"""What a reviewer and a GitOps user are handed: every object, stable, and not one secret."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from infra import render
from infra.recorder import SECRET, Registered
from infra.settings import BadSettings
from tests.infra import stacks

PROJECT = "name: consumer-scaling\n"
HEAD = "config:\n  consumer-scaling:target: kubernetes\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project folder without stacks."""
    (tmp_path / "Pulumi.yaml").write_text(PROJECT)
    return tmp_path


def with_stack(folder: Path, **values: str) -> Path:
    """The same with stack `test`: YAML text by setting, dots as __."""
    plain = {key: value for key, value in stacks.VARIANTS["workload identity"].items() if key != "target"}
    lines = [f"  consumer-scaling:{key}: '{value}'\n" for key, value in plain.items()]
    lines += [f"  consumer-scaling:{key.replace('__', '.')}: {value}\n" for key, value in values.items()]
    (folder / "Pulumi.test.yaml").write_text(HEAD + "".join(lines))
    return folder


def entry(kind: str, name: str, **fields: object) -> Registered:
    """An object as the recorder has it."""
    inputs = {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": "bi-risk"}, **fields}
    return Registered(
        type=f"kubernetes:core/v1:{kind}",
        name=name,
        urn=name,
        parent="",
        after=frozenset(),
        inputs=inputs,
        custom=True,
        ignores=(),
        kept=False,
        timeouts={},
    )


@pytest.mark.parametrize("name", stacks.COMMITTED)
def test_the_committed_renders_are_current(name: str) -> None:
    """Each shows in a review what a change does to a stack."""
    file = render.GOLDEN / f"{name}.yaml"
    wanted = render.golden(stacks.stack(name), stacks.registered(name))

    assert file.exists(), f"{file.name} is missing in tests/render: `make generate` writes it, commit it"
    assert wanted == file.read_text(), f"stack {name} renders something else: `make generate` writes it, commit it"


def test_no_render_is_left_over() -> None:
    assert {path.stem for path in render.GOLDEN.iterdir()} <= set(stacks.COMMITTED)


@pytest.mark.parametrize("name", ["everything on", "a managed broker"])
def test_a_second_run_says_the_same(name: str) -> None:
    """Nothing in it depends on time, chance or order."""
    stack = stacks.stack(name)

    assert render.render(stack, stacks.registered(name)) == render.render(stack, render.registered(stack))


@pytest.mark.parametrize("name", stacks.STACKS)
def test_no_secret_has_a_value(name: str) -> None:
    """Each value of a Secret is a Pulumi secret before, and a placeholder after."""
    text = render.render(stacks.stack(name), stacks.registered(name))
    secrets = [found for found in yaml.safe_load_all(text) if found and found["kind"] == "Secret"]

    assert secrets
    assert {SECRET} == {value for found in secrets for value in found["stringData"].values()}
    assert "c2VjcmV0" not in text
    for found in stacks.registered(name):
        if found.inputs.get("kind") == "Secret":
            assert {SECRET} == set(found.inputs["stringData"].values())


def test_encrypted_values_are_not_needed(folder: Path) -> None:
    """A reviewer has no passphrase: a placeholder stands for what is encrypted, and looks right where it must."""
    plain = "broker.cluster: rabbitmq\n" + "".join(
        f"  consumer-scaling:{key}: '{value}'\n" for key, value in stacks.PLAIN.items() if key != "target"
    )
    secure = "".join(f"  consumer-scaling:{key}:\n    secure: v1:abc:def\n" for key in stacks.KEYS)
    (folder / "Pulumi.test.yaml").write_text(f"{HEAD}  consumer-scaling:{plain}{secure}")

    stack = render.load("test", folder)

    assert stack.cluster
    assert SECRET == stack.cluster.sinks.cosmos_key
    assert "v1:abc" not in render.render(stack, render.registered(stack))


def test_values_arrive_as_pulumi_would_hand_them_over(folder: Path) -> None:
    """Text stays text, whatever YAML makes of `on`; lists and objects come as JSON."""
    stack = render.load("test", with_stack(folder, scheduler="off", network__egress='["10.0.0.0/8:443"]'))

    assert stack.cluster
    assert not stack.scheduler
    assert [("10.0.0.0/8", 443)] == [(place.cidr, place.port) for place in stack.cluster.egress]


def test_an_unknown_stack_is_told_which_there_are(folder: Path) -> None:
    with pytest.raises(render.RenderError, match=r"^there is no Pulumi.prd.yaml: the stacks are test$"):
        render.load("prd", with_stack(folder))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            "config:\n  consumer-scaling:image: a\n  consumer-scaling:image: b\n",
            "image is given twice.*line 3, column 3",
        ),
        ("config: [\n", "cannot be read: .*line 2, column 1"),
        ("- config\n", "holds list instead of an object"),
    ],
    ids=["twice", "no YAML", "no object"],
)
def test_a_file_that_nobody_can_mean_is_told_with_its_place(folder: Path, text: str, fault: str) -> None:
    """The last of two values would win in silence."""
    with_stack(folder)
    (folder / "Pulumi.test.yaml").write_text(text)

    with pytest.raises(render.RenderError, match=f"(?s)^Pulumi.test.yaml .*{fault}"):
        render.load("test", folder)


def test_a_folder_that_cannot_be_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file in its place, for instance."""
    (tmp_path / "taken").write_text("")

    assert 1 == render.main(["dev", "--into", str(tmp_path / "taken")])
    assert f"{tmp_path / 'taken'} cannot be written: File exists" in capsys.readouterr().err


def test_a_stack_of_this_machine_has_nothing_to_render(capsys: pytest.CaptureFixture[str]) -> None:
    assert 1 == render.main(["local"])
    assert (
        "Pulumi.local.yaml has target local, and only kubernetes has objects to render: dev, prod, staging\n"
        == capsys.readouterr().err
    )


def test_faults_of_settings_are_told_as_they_are(folder: Path) -> None:
    with pytest.raises(BadSettings, match=r"(?s)Pulumi.test.yaml has 2 problems:.*replicas.logging.*prefetch"):
        render.load("test", with_stack(folder, replicas__logging="many", rabbitmq__usage__prefetch="0"))


def test_a_secret_in_the_open_is_refused() -> None:
    """A password that got into a ConfigMap would be one in the cluster, too."""
    found = [entry("Secret", "right", stringData={"a": SECRET}), entry("ConfigMap", "wrong", data={"a": SECRET})]

    with pytest.raises(render.RenderError, match=r"in the open in configmap_bi-risk_wrong.yaml"):
        render.manifests(found)


def test_objects_come_sorted() -> None:
    found = [entry("Service", "b"), entry("ConfigMap", "z"), entry("Service", "a")]

    assert ["z", "a", "b"] == [manifest["metadata"]["name"] for manifest in render.manifests(found)]


def test_a_folder_holds_what_the_stack_holds(tmp_path: Path) -> None:
    """One file for each object; what is no longer in the stack goes, what somebody else put there stays.

    No Secret is among them: with a placeholder as its password a user would be anybody's.
    """
    stack = stacks.stack("workload identity")
    (tmp_path / "theirs.yaml").write_text("kind: ConfigMap\n")
    gone = tmp_path / "service_bi-risk_gone.yaml"
    gone.write_text(f"# Stack {stack.stack}: see README.txt\nkind: Service\n")

    written = render.write_into(tmp_path, stack, stacks.registered("workload identity"))

    assert {*written, tmp_path / "theirs.yaml", tmp_path / "README.txt"} == set(tmp_path.iterdir())
    assert [found for found in stacks.manifests("workload identity") if found["kind"] != "Secret"] == [
        yaml.safe_load(path.read_text()) for path in written
    ]
    left = (tmp_path / "README.txt").read_text()
    assert "machine:Password password/logging-1" in left
    assert "Secret logging-rabbitmq-1: values for password, username" in left
