"""Folders as an image: reproducible layers in an OCI archive, which `ctr images import` and `skopeo` take."""

import hashlib
import io
import json
import platform
import stat
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
OCI = "application/vnd.oci.image"


def pack(layer: Path, root: Path) -> None:
    """Write a folder as a layer: sorted, owned by root, without times, so that equal folders are equal bytes."""
    with tarfile.open(layer, "w", format=tarfile.GNU_FORMAT) as tar:
        for found in sorted(root.rglob("*")):
            entry = tar.gettarinfo(found, str(found.relative_to(root)))
            entry.uid = entry.gid = entry.mtime = 0
            entry.uname = entry.gname = ""
            entry.mode = 0o1777 if entry.mode & stat.S_ISVTX else 0o755 if entry.mode & stat.S_IXUSR else 0o644
            if entry.islnk():  # a second name for a file: sorted before or after it by chance
                entry.type, entry.size = tarfile.REGTYPE, found.stat().st_size
            with found.open("rb") if entry.isreg() else io.BytesIO() as content:
                tar.addfile(entry, content)


def archive(out: Path, name: str, config: Mapping[str, Any], layers: Mapping[str, Path]) -> str:
    """Write an image and return its digest, `sha256:...`; it is imported under `NAME@<digest>`.

    `config` is that of the OCI image specification; `layers` maps what made a layer to its tar file, lowest first.
    """
    sizes = {_digest_of(file): file for file in layers.values()}
    described = [_described("layer.v1.tar", digest, file.stat().st_size) for digest, file in sizes.items()]
    settings = _json({
        "architecture": MACHINES[platform.machine()],
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": list(sizes)},
        "history": [{"created_by": made} for made in layers],
    })  # fmt: skip
    manifest = _json({
        "schemaVersion": 2,
        "mediaType": f"{OCI}.manifest.v1+json",
        "config": _described("config.v1+json", _digest(settings), len(settings)),
        "layers": described,
    })  # fmt: skip
    image = _described("manifest.v1+json", _digest(manifest), len(manifest))
    image["annotations"] = {"io.containerd.image.name": f"{name}@{image['digest']}"}
    with tarfile.open(out, "w") as tar:
        _add(tar, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
        _add(tar, "index.json", _json({"schemaVersion": 2, "manifests": [image]}))
        for content in (settings, manifest):
            _add(tar, _blob(_digest(content)), content)
        for digest, file in sizes.items():
            tar.add(file, _blob(digest))
    return str(image["digest"])


def layers(image: tarfile.TarFile) -> Iterator[tuple[str, tarfile.TarFile]]:
    """What made each layer of an archive, and the layer itself, lowest first."""
    manifest = _read(image, _read(image, "index.json")["manifests"][0]["digest"])
    made = [step["created_by"] for step in _read(image, manifest["config"]["digest"])["history"]]
    for step, layer in zip(made, manifest["layers"], strict=True):
        with tarfile.open(fileobj=image.extractfile(_blob(layer["digest"]))) as content:
            yield step, content


def _read(image: tarfile.TarFile, name: str) -> Any:
    content = image.extractfile(_blob(name) if ":" in name else name)
    assert content
    return json.load(content)


def _described(kind: str, digest: str, size: int) -> dict[str, Any]:
    return {"mediaType": f"{OCI}.{kind}", "digest": digest, "size": size}


def _json(content: Any) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _digest_of(file: Path) -> str:
    with file.open("rb") as content:
        return f"sha256:{hashlib.file_digest(content, 'sha256').hexdigest()}"


def _blob(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))
