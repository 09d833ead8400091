"""`python3 -m tools.image OUT.tar`: consumers/Dockerfile's image from the same inputs, without engine or registry."""

import argparse
import json
import re
import shlex
import shutil
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tools
from tools import oci, rootfs
from tools.cache import ROOT, PartError
from tools.parts import IMAGE_BASE, IMAGE_DEPENDENCIES

NAME = "localhost/consumers"
DOCKERFILE = ROOT / "consumers/Dockerfile"
CODE = ("catalog/**/*.py", "consumers/**/*.py", "consumers/requirements.txt")  # as .dockerignore says
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SHOWN = 1_000_000  # bytes; what is smaller goes into the rest


@dataclass(frozen=True)
class Image:
    """An OCI archive; `ctr images import` gives it the name `reference`, NAME@sha256:<digest>."""

    archive: Path
    reference: str

    @property
    def name(self) -> str:
        return self.reference.partition("@")[0]

    @property
    def digest(self) -> str:
        return self.reference.partition("@")[2]


def build(archive: Path, name: str = NAME) -> Image:
    """Write the consumers' image; equal sources and parts give an equal digest. Raises PartError for a missing part."""
    with tempfile.TemporaryDirectory() as work:
        layers = {
            "Debian and Python": tools.folder(IMAGE_BASE.name) / rootfs.LAYER,
            "consumers/requirements.txt": tools.folder(IMAGE_DEPENDENCIES.name) / rootfs.LAYER,
            "catalog and consumers": _code(Path(work)),
        }
        digest = oci.archive(archive, name, configuration(DOCKERFILE.read_text()), layers)
    return Image(archive, f"{name}@{digest}")


def _code(work: Path) -> Path:
    """The layer that changes with our sources."""
    app, layer = work / "root/app", work / rootfs.LAYER
    for file in sources():
        copy = app / file
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / file, copy)
    rootfs.compiled(tools.folder(IMAGE_BASE.name) / rootfs.TREE, app, "/app")
    oci.pack(layer, work / "root")
    return layer


def sources() -> list[Path]:
    """The files of our own that an image holds, relative to the repository."""
    return sorted(file.relative_to(ROOT) for pattern in CODE for file in ROOT.glob(pattern))


def configuration(dockerfile: str) -> dict[str, Any]:
    """What the last stage of a Dockerfile says about the container, as OCI names it."""
    config: dict[str, Any] = {"Env": [f"PATH={PATH}"], "Labels": {}}
    for word, rest in _instructions(dockerfile):
        if word == "ENV":
            config["Env"] += shlex.split(rest)
        elif word == "LABEL":
            config["Labels"] |= dict(pair.split("=", 1) for pair in shlex.split(rest))
        elif word in ("USER", "WORKDIR"):
            config["User" if word == "USER" else "WorkingDir"] = rest
        elif word == "ENTRYPOINT":
            config["Entrypoint"] = json.loads(rest)
    return config


def _instructions(dockerfile: str) -> Iterator[tuple[str, str]]:
    last = dockerfile[dockerfile.rindex("\nFROM ") :]
    for line in re.sub(r"\\\n\s*", "", last).splitlines():
        word, _, rest = line.partition(" ")
        yield word, rest


def table(archive: Path) -> str:
    """The size of each layer, and what makes it up."""
    rows = []
    with tarfile.open(archive) as image:
        for made, layer in oci.layers(image):
            shares: Counter[str] = Counter()
            for entry in layer:
                shares["/".join(Path(entry.name).parts[:3])] += entry.size
            large = [f"{name} {size / 1e6:.0f}" for name, size in shares.most_common() if size >= SHOWN]
            rows.append((made, sum(shares.values()), ", ".join(large[:8])))
    rows.append(("all", sum(size for _, size, _ in rows), ""))
    return "\n".join(f"{made:<28}{size / 1e6:7.1f} MB  {shares}" for made, size, shares in rows)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m tools.image", description=__doc__)
    parser.add_argument("archive", type=Path, metavar="OUT.tar")
    parser.add_argument("--name", default=NAME, help=f"the image's name without tag or digest ({NAME})")
    parser.add_argument("--metadata-file", type=Path, help="write name and digest there, as `docker buildx build` does")
    options = parser.parse_args()
    try:
        image = build(options.archive, options.name)
    except PartError as error:
        print(error, file=sys.stderr)
        return 1
    if options.metadata_file:
        metadata = {"image.name": options.name, "containerimage.digest": image.digest}
        options.metadata_file.write_text(json.dumps(metadata, indent=2) + "\n")
    print(table(image.archive), f"\n{image.reference}", sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
