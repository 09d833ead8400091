"""The consumers' image: what it holds, that it runs as a cluster runs it, and that a Dockerfile makes the same."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tools import image, oci, rootfs, sbom
from tools.cache import ROOT
from tools.image import Image, build

pytestmark = pytest.mark.servers

LIMIT = 600_000_000  # bytes, unpacked
MOUNTED = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Image:
    return build(tmp_path_factory.mktemp("image") / "image.tar")


@pytest.fixture(scope="module")
def root(made: Image, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image's file system, unpacked."""
    root = tmp_path_factory.mktemp("root")
    root.chmod(0o755)
    with tarfile.open(made.archive) as archive:
        for _, layer in oci.layers(archive):
            layer.extraction_filter = lambda entry, _: entry  # an argument only since 3.11.4
            layer.extractall(root)
    return root


def files(made: Image) -> Iterator[tarfile.TarInfo]:
    with tarfile.open(made.archive) as archive:
        for _, layer in oci.layers(archive):
            yield from layer


def digests(made: Image) -> list[str]:
    """Those of the layers, lowest first."""
    with tarfile.open(made.archive) as archive:
        index = json.load(archive.extractfile("index.json"))  # type: ignore[arg-type]
        blob = "blobs/" + index["manifests"][0]["digest"].replace(":", "/")
        return [layer["digest"] for layer in json.load(archive.extractfile(blob))["layers"]]  # type: ignore[arg-type]


def run(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program of the image as its user on a read-only root, with what its configuration says."""
    config = image.configuration(image.DOCKERFILE.read_text())
    user = config["User"]
    own = [] if os.geteuid() == 0 else ["--user", f"--map-user={rootfs.USER}", f"--map-group={rootfs.USER}"]
    as_user = ["chroot", f"--userspec={user}", root] if os.geteuid() == 0 else ["chroot", root]
    keep = ["--keep-caps"] if own else []
    return subprocess.run(
        ["unshare", *own, *keep, "--mount", "sh", "-c", MOUNTED, root, *as_user, *arguments],
        env=dict(pair.split("=", 1) for pair in config["Env"]),
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_entry_point_runs_as_nobody_on_a_root_it_cannot_write(root: Path) -> None:
    """As a restricted pod runs it: no user but its own, nothing to write to."""
    entry = image.configuration(image.DOCKERFILE.read_text())["Entrypoint"]
    helped = run(root, *entry, "--help")
    who = "import os; print(os.getuid(), os.getgid()); open('/app/here', 'w')"
    refused = run(root, "python", "-c", who)

    assert (0, "") == (helped.returncode, helped.stderr)
    assert helped.stdout.startswith("usage: python -m consumers SERVICE")
    assert f"{rootfs.USER} {rootfs.USER}\n" == refused.stdout
    assert "Read-only file system: '/app/here'" in refused.stderr


def test_what_the_consumers_import_is_there(root: Path) -> None:
    """Every module loads with what slim.py has left, from bytecode, and knows the authorities of the public web."""
    modules = [".".join(source.with_suffix("").parts) for source in image.sources() if source.suffix == ".py"]
    program = f"""
import importlib, os, ssl
for name in {[name.removesuffix(".__init__") for name in modules if not name.endswith("__main__")]}:
    assert os.path.exists(importlib.import_module(name).__cached__), name
import azure.identity.aio, pyarrow.parquet
print(ssl.create_default_context().cert_store_stats()["x509_ca"] > 100)
"""
    done = run(root, "python", "-c", program)

    assert ("True\n", "") == (done.stdout, done.stderr)


def test_equal_sources_give_an_equal_digest(made: Image, tmp_path: Path) -> None:
    """Nothing of the time or the place of a build is in it."""
    assert made.reference == build(tmp_path / "again.tar").reference


def test_a_changed_source_changes_the_last_layer_only(
    made: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is pulled after a change is our own code, less than a megabyte."""
    fewer = image.sources()[1:]
    monkeypatch.setattr(image, "sources", lambda: fewer)
    other = build(tmp_path / "other.tar")

    assert digests(made)[:-1] == digests(other)[:-1]
    assert digests(made)[-1] != digests(other)[-1]


def test_an_image_is_small_and_without_rights(made: Image) -> None:
    """No set-uid program, no time stamp, no owner but root; bytecode for every source."""
    held = list(files(made))
    compiled = {entry.name for entry in held if entry.name.endswith(".pyc")}

    assert sum(entry.size for entry in held) < LIMIT
    assert {(0, 0, 0)} == {(entry.uid, entry.gid, entry.mtime) for entry in held}
    assert [] == [entry.name for entry in held if entry.mode & 0o6000]
    assert {"app/consumers/__pycache__/worker.cpython-311.pyc"} <= compiled
    assert {"catalog", "consumers"} == {entry.name.split("/")[1] for entry in held if entry.name.startswith("app/")}


def test_the_dockerfile_takes_the_same_inputs() -> None:
    """Its files, its Python, its folders and its clean-up are those of the image made without it."""
    text = image.DOCKERFILE.read_text()
    rules = (ROOT / ".dockerignore").read_text().splitlines()[1:]
    there = [file for folder in ("catalog", "consumers") for file in (ROOT / folder).rglob("*") if file.is_file()]
    lasting = {str(file.relative_to(ROOT)) for file in there if file.parent.name != "__pycache__"}
    copied = {word for line in re.findall(r"^COPY (?!--)(.*) \S+$", text, re.MULTILINE) for word in line.split()}

    assert {"!catalog", "!consumers", "!tools/slim.py"} == {rule for rule in rules if rule.startswith("!")}
    assert set(map(str, image.sources())) == lasting - set(rules)
    assert {"consumers/requirements.txt", "tools/slim.py", "catalog/", "consumers/"} == copied
    assert f"ARG BASE=python:{rootfs.PYTHON}-slim-{rootfs.SUITE}\n" in text
    assert f'"--require-hashes", "--only-binary", ":all:", \\\n     "--target", "{rootfs.DEPENDENCIES}"' in text
    assert image.configuration(text)["User"] == f"{rootfs.USER}:{rootfs.USER}"


def test_the_bill_names_what_is_held(made: Image) -> None:
    """Every pinned distribution and Debian's own packages, valid CycloneDX, the same text for the same image."""
    text = sbom.bill(made)
    held = {unquote(component["purl"]) for component in json.loads(text)["components"]}
    pinned = re.findall(r"^([\w.-]+)==([^ ]+)", rootfs.REQUIREMENTS.read_text(), re.MULTILINE)

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    assert {f"pkg:pypi/{name}@{version}" for name, version in pinned} == {p for p in held if p.startswith("pkg:pypi")}
    assert set(rootfs.PACKAGES) == {re.split("[/@]", purl)[2] for purl in held if purl.startswith("pkg:deb")}
    assert text == sbom.bill(made)
