"""`python -m infra.render STACK`: every Kubernetes object of a stack as YAML, without a cluster, a CLI or a secret."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pulumi
import yaml

from infra import settings, targets
from infra.program import build
from infra.recorder import SECRET, Registered, record
from infra.settings import Settings

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests/render"
KUBERNETES = "kubernetes:"
DYNAMIC = "pulumi-python:dynamic/"
# What is encrypted can be checked only by those who hold the passphrase; here it has to look right.
FORMS = {"data_lake.connection_string": f"AccountName=account;AccountKey=c2VjcmV0;From={SECRET}"}
LONG_TEXT = 20_000  # characters; only boards are longer, and a review reads those where they are made

Manifest = Mapping[str, Any]


class RenderError(Exception):
    """The stack cannot be rendered; the text says what to do."""


class _Dumper(yaml.SafeDumper):
    """YAML for readers: texts of several lines stay such, nothing is an alias of something else."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None),
)


class _Texts(yaml.BaseLoader):
    """Every value as the text that it is in the file; a key that is given twice is a fault, and not its last value."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value} is given twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def load(stack: str, root: Path = ROOT) -> Settings:
    """The settings of a stack as its file has them, a placeholder for each secret. Raises RenderError, BadSettings."""
    file = root / f"Pulumi.{stack}.yaml"
    if not file.exists():
        raise RenderError(f"there is no {file.name}: the stacks are {', '.join(_stacks(root))}")
    project = _read(root / "Pulumi.yaml")["name"]
    config = _read(file).get("config", {})
    own = {key.removeprefix(f"{project}:"): value for key, value in config.items() if key.startswith(f"{project}:")}
    values = {key: _value(key, value) for key, value in own.items()}
    return settings.parse(values, {key for key in own if _is_secret(own[key])}, stack=stack, root=root)


def registered(stack: Settings) -> list[Registered]:
    """Everything that the program of a stack asks Pulumi for. Raises RenderError where it is not for a cluster."""
    if stack.target != "kubernetes":
        named = f"Pulumi.{stack.stack}.yaml has target {stack.target}"
        raise RenderError(f"{named}, and only kubernetes has objects to render: {', '.join(clustered())}")
    return record("consumer-scaling", stack.stack, lambda: build(targets.of(stack)))


def manifests(found: Sequence[Registered]) -> list[Manifest]:
    """The Kubernetes objects in it, sorted by kind, namespace and name; no Secret has a value.

    Raises RenderError where a secret would stand in an object that is none.
    """
    objects = [_without_values(entry.inputs) for entry in found if entry.type.startswith(KUBERNETES)]
    if leaks := [file_name(entry) for entry in objects if entry["kind"] != "Secret" and SECRET in json.dumps(entry)]:
        raise RenderError(f"a secret stands in the open in {', '.join(leaks)}: only a Secret may hold one")
    return sorted(objects, key=file_name)


def render(stack: Settings, found: Sequence[Registered]) -> str:
    """The whole stack as one text: a head for its readers, then each object as a document."""
    return "---\n".join([head(stack, found), *(dump(manifest) for manifest in manifests(found))])


def head(stack: Settings, found: Sequence[Registered]) -> str:
    """What a reader has to know first, as comments: what this is, how it was made, and what is not in it."""
    return "".join(f"# {line}".rstrip() + "\n" for line in _head(stack, found))


def _head(stack: Settings, found: Sequence[Registered]) -> Iterator[str]:
    cluster = stack.cluster
    assert cluster  # a stack of another target is refused before
    objects = manifests(found)
    given = [name for name in (cluster.broker.connection_secret, cluster.sinks.secret, cluster.pull_secret) if name]
    yield f"Stack {stack.stack}: {len(objects)} objects, image {cluster.image}"
    yield f"Must exist: {', '.join([f'namespace {cluster.namespace}', *(f'Secret {name}' for name in given)])}."
    yield f"Made by `make render STACK={stack.stack}` from Pulumi.{stack.stack}.yaml and the catalog."
    yield "What `pulumi up` does besides, and whoever applies this otherwise has to (docs/environments.md, GitOps):"
    yield from (
        f"  Secret {name_of(entry)}: values for {', '.join(sorted(entry['stringData']))}"
        for entry in objects
        if entry["kind"] == "Secret"
    )
    yield from sorted(f"  {entry.type.rpartition('/')[2]} {entry.name}" for entry in found if DYNAMIC in entry.type)


def name_of(manifest: Manifest) -> str:
    return str(manifest["metadata"]["name"])


def file_name(manifest: Manifest) -> str:
    """A name that no other object has: kind, namespace and name."""
    metadata = manifest["metadata"]
    return "_".join([manifest["kind"].lower(), metadata.get("namespace", ""), name_of(manifest)]) + ".yaml"


def dump(manifest: Manifest) -> str:
    return yaml.dump(manifest, Dumper=_Dumper, allow_unicode=True, width=116)


def write_into(folder: Path, stack: Settings, found: Sequence[Registered]) -> list[Path]:
    """One file for each object, for those who keep a folder of them; files of objects that are no more are removed.

    Secrets are left out: applied as they are here, every password would be the placeholder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mark = f"# Stack {stack.stack}: see README.txt\n"
    applied = [manifest for manifest in manifests(found) if manifest["kind"] != "Secret"]
    texts = {folder / file_name(manifest): mark + dump(manifest) for manifest in applied}
    for old in set(folder.glob("*.yaml")) - set(texts):
        if old.read_text().startswith(mark):
            old.unlink()
    for path, text in texts.items():
        path.write_text(text)
    (folder / "README.txt").write_text("".join(line.removeprefix("# ") for line in head(stack, found).splitlines(True)))
    return sorted(texts)


def golden(stack: Settings, found: Sequence[Registered]) -> str:
    """What is committed of a stack's render: all of it, except that a board is told by its digest."""
    objects = [_shortened(manifest) for manifest in manifests(found)]
    return "---\n".join([head(stack, found), *(dump(manifest) for manifest in objects)])


def golden_files(root: Path = ROOT) -> Iterator[tuple[Path, str]]:
    """Each committed render with what it should say."""
    for name in clustered(root):
        stack = load(name, root)
        yield GOLDEN / f"{name}.yaml", golden(stack, registered(stack))


def clustered(root: Path = ROOT) -> list[str]:
    """The stacks that have something to render."""
    return [name for name in _stacks(root) if load(name, root).target == "kubernetes"]


def _shortened(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _shortened(entry) for key, entry in value.items()}
    if isinstance(value, str) and len(value) > LONG_TEXT:
        return f"({len(value)} characters, sha256 {sha256(value.encode()).hexdigest()[:16]})"
    return value


def _without_values(inputs: Manifest) -> Manifest:
    if inputs["kind"] != "Secret":
        return inputs
    hidden = {field: dict.fromkeys(inputs[field], SECRET) for field in ("data", "stringData") if field in inputs}
    return {**inputs, **hidden}


def _stacks(root: Path) -> list[str]:
    return sorted(file.name.split(".")[1] for file in root.glob("Pulumi.*.yaml"))


def _read(file: Path) -> dict[str, Any]:
    """Raises RenderError, with line and column, for what is no YAML or no object."""
    try:
        found = yaml.load(file.read_text(encoding="utf-8"), _Texts) or {}  # noqa: S506 - yields only text
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RenderError(f"{file.name} cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise RenderError(f"{file.name} holds {type(found).__name__} instead of an object with `config:`")
    return found


def _is_secret(value: Any) -> bool:
    if isinstance(value, dict):
        return set(value) == {"secure"} or any(map(_is_secret, value.values()))
    return isinstance(value, list) and any(map(_is_secret, value))


def _value(key: str, value: Any) -> str:
    """A value as Pulumi would hand it over, lists and objects as JSON, a placeholder for what is encrypted."""
    if _is_secret(value):
        return FORMS.get(key, SECRET)
    return value if isinstance(value, str) else json.dumps(value)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m infra.render", description=__doc__)
    parser.add_argument("stack", nargs="?", help=f"one of {', '.join(_stacks(ROOT))}")
    parser.add_argument("--into", type=Path, metavar="FOLDER", help="one file for each object, instead of one text")
    parser.add_argument("--golden", action="store_true", help="write the renders in tests/render/ anew")
    options = parser.parse_args(arguments)
    if bool(options.stack) == options.golden:
        parser.error("give a stack, or --golden")
    try:
        _do(options)
    except (RenderError, pulumi.RunError) as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{options.into} cannot be written: {error.strerror} ({error.filename})", file=sys.stderr)
        return 1
    return 0


def _do(options: argparse.Namespace) -> None:
    if options.golden:
        for path, text in golden_files():
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        return
    stack = load(options.stack)
    found = registered(stack)
    if options.into:
        written = write_into(options.into, stack, found)
        print(f"{len(written)} objects in {options.into}, and what else is to be done in its README.txt")
    else:
        print(render(stack, found), end="")


if __name__ == "__main__":
    sys.exit(main())
