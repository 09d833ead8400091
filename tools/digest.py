"""From a build to a stack: the digest that `docker buildx build` or `make image` noted, into Pulumi.<stack>.yaml."""

import json
import re
import sys
from pathlib import Path

from tools.cache import ROOT

METADATA = ROOT / ".local/image.json"
KEY = "consumer-scaling:image"
LOCAL = "localhost/"  # what `make image` names its images
REFERENCE = re.compile(r"(?P<name>[^@,]+?)(:[\w.-]+)?(@[^,]*)?(,.*)?")  # NAME, its tag, and further names


class DigestError(Exception):
    """There is no digest, or no stack to write it to; the text says what to type."""


def reference(file: Path) -> str:
    """NAME@sha256:<digest> of a build's metadata file. Raises DigestError for one that was not pushed under a name."""
    try:
        metadata = json.loads(file.read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise DigestError(f"{file} tells of no build ({error}): build first, as consumers/Dockerfile says") from None
    digest, name = metadata.get("containerimage.digest", ""), REFERENCE.fullmatch(metadata.get("image.name", ""))
    if not name or not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        raise DigestError("the build's metadata name no image and digest: build with --tag NAME:TAG --push")
    return f"{name['name']}@{digest}"


def set_image(stack: Path, image: str) -> None:
    """Put the image into a stack's file and leave every other line as it is. Raises DigestError.

    A local build is for dev only, on a node into which somebody imports it.
    """
    if image.startswith(LOCAL) and stack.name != "Pulumi.dev.yaml":
        raise DigestError(f"the last build is {image}, which no cluster can pull: push one, as docs/image.md says")
    try:
        text = stack.read_text()
    except FileNotFoundError:
        there = ", ".join(sorted(file.name.split(".")[1] for file in stack.parent.glob("Pulumi.*.yaml")))
        raise DigestError(f"{stack.name} does not exist: there are stacks {there}") from None
    changed, times = re.subn(rf"^( +{KEY}: *)\S+", rf"\g<1>{image}", text, flags=re.MULTILINE)
    if times != 1:
        raise DigestError(f"{stack.name} has {times} lines `{KEY}: ...`: let there be one")
    stack.write_text(changed)


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or not arguments[0]:
        print("usage: make image-digest STACK=dev", file=sys.stderr)
        return 2
    try:
        image = reference(METADATA)
        set_image(ROOT / f"Pulumi.{arguments[0]}.yaml", image)
    except DigestError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"Pulumi.{arguments[0]}.yaml: {KEY}: {image}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
