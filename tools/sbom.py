"""From an image to its bill of materials: `python -m tools.sbom OUT.tar` builds it and prints what it holds."""

import sys
import tarfile
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from email.message import Message
from email.parser import Parser
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from tools import oci
from tools.image import Image, build

DEBIAN = "var/lib/dpkg/status"


def bill(image: Image) -> str:
    """What an image holds as CycloneDX JSON; equal images give equal text."""
    whole = Component(name=image.name, version=image.digest, type=ComponentType.CONTAINER, bom_ref=image.reference)
    bom = Bom(components=components(image.archive), serial_number=uuid.uuid5(uuid.NAMESPACE_URL, image.reference))
    bom.metadata.component = whole
    bom.metadata.timestamp = datetime.fromtimestamp(0, UTC)  # made of its inputs, not at a time
    bom.register_dependency(whole, bom.components)
    return JsonV1Dot6(bom).output_as_string(indent=2)


def components(archive: Path) -> Iterator[Component]:
    """One for each Debian package and each Python distribution of an image."""
    with tarfile.open(archive) as image:
        for _, layer in oci.layers(image):
            for entry in layer:
                if entry.name == DEBIAN:
                    for paragraph in _text(layer, entry).strip().split("\n\n"):
                        yield _debian(Parser().parsestr(paragraph))
                elif entry.name.endswith(".dist-info/METADATA"):
                    yield _python(Parser().parsestr(_text(layer, entry)))


def _text(layer: tarfile.TarFile, entry: tarfile.TarInfo) -> str:
    content = layer.extractfile(entry)
    assert content
    return content.read().decode()


def _debian(fields: Message) -> Component:
    where = {"arch": fields["Architecture"], "distro": "debian-12"}
    return _component(PackageURL("deb", "debian", fields["Package"], fields["Version"], where))


def _python(fields: Message) -> Component:
    name = fields["Name"].lower().replace("_", "-")
    return _component(PackageURL("pypi", None, name, fields["Version"]), fields["License-Expression"])


def _component(place: PackageURL, terms: str | None = None) -> Component:
    licenses = [LicenseFactory().make_from_string(terms)] if terms else []
    return Component(name=place.name, version=place.version, purl=place, bom_ref=str(place), licenses=licenses)


if __name__ == "__main__":
    print(bill(build(Path(sys.argv[1]))))
