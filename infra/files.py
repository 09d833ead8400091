"""What a local stack writes for people and programs to read, and the passwords it makes up: each as a resource."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import pulumi
import requests
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, ResourceProvider, UpdateResult

Props = dict[str, Any]


def write(path: Path, text: str) -> None:
    """Replace a file at once, for its owner only: some hold passwords, and nobody must ever see half of one."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.new")
    draft.touch(mode=0o600)
    draft.write_text(text)
    draft.replace(path)


class _Files(ResourceProvider):
    serialize_as_secret_always = False

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        changes = any(olds.get(key) != news[key] for key in ("path", "text", "reload"))
        return DiffResult(changes=changes, replaces=["path"] if olds["path"] != news["path"] else [])

    def create(self, props: Props) -> CreateResult:
        _put(props)
        return CreateResult(props["path"], props)

    def update(self, _id: str, _olds: Props, news: Props) -> UpdateResult:
        _put(news)
        return UpdateResult(news)

    def read(self, id_: str, props: Props) -> ReadResult:
        path = Path(props["path"])
        return ReadResult(id_, {**props, "text": path.read_text()}) if path.exists() else ReadResult(None, {})

    def delete(self, _id: str, props: Props) -> None:
        Path(props["path"]).unlink(missing_ok=True)


class File(Resource, module="machine", name="File"):
    """A file with a text; a server whose configuration it is reads it anew from a POST to `reload`."""

    def __init__(
        self, name: str, path: Path, text: pulumi.Input[str], opts: pulumi.ResourceOptions, reload: str = ""
    ) -> None:
        super().__init__(_Files(), name, {"path": str(path), "text": text, "reload": reload}, opts)


def _put(props: Props) -> None:
    write(Path(props["path"]), props["text"])
    if not props["reload"]:
        return
    try:
        answer = requests.post(props["reload"], timeout=30)
    except requests.ConnectionError:  # it does not run yet, and will read the file when it starts
        return
    if not answer.ok:
        raise ValueError(f"{props['reload']} refuses {props['path']}: {answer.text.strip()}")


class _Passwords(ResourceProvider):
    serialize_as_secret_always = False

    def create(self, props: Props) -> CreateResult:
        return CreateResult(props["user"], {**props, "text": secrets.token_urlsafe(24)})

    def diff(self, _id: str, _olds: Props, _news: Props) -> DiffResult:
        return DiffResult(changes=False)


class Password(Resource, module="machine", name="Password"):
    """A password made up once and kept, encrypted, in the stack's state."""

    text: pulumi.Output[str]

    def __init__(self, user: str) -> None:
        opts = pulumi.ResourceOptions(additional_secret_outputs=["text"])
        super().__init__(_Passwords(), f"password/{user}", {"user": user, "text": None}, opts)
