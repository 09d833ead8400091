"""What the node runs: the consumers' image, and one that only holds a pod together."""

from __future__ import annotations

import shutil
from pathlib import Path

import tools
from tools import image, oci
from tools.image import Image

PAUSE = "localhost/pause"


def pause(folder: Path) -> Image:
    """An image of one program. Raises PartError where it has not been built."""
    root, layer, archive = folder / "pause", folder / "pause-layer.tar", folder / "pause.tar"
    root.mkdir(parents=True)
    shutil.copy(tools.path("pause"), root / "pause")
    oci.pack(layer, root)
    digest = oci.archive(archive, PAUSE, {"Entrypoint": ["/pause"]}, {"tools/go/pause": layer})
    return Image(archive, f"{PAUSE}@{digest}")


def consumers(folder: Path) -> Image:
    """The image under test. Raises PartError where what it is made of is not there."""
    return image.build(folder / "consumers.tar")
