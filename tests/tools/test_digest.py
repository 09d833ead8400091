"""The digest of a build, on its way into a stack."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tools.cache import ROOT
from tools.digest import DigestError, reference, set_image

DIGEST = "sha256:" + 64 * "a"


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("localhost/consumers", "localhost/consumers"),
        ("registry.example:5000/bi/consumers:1.4.2", "registry.example:5000/bi/consumers"),
        ("docker.io/bi/consumers:1.4,docker.io/bi/consumers:latest", "docker.io/bi/consumers"),
    ],
)
def test_the_name_loses_its_tag(name: str, wanted: str, tmp_path: Path) -> None:
    """As `docker buildx build --metadata-file` writes it, one name or several."""
    file = tmp_path / "image.json"
    file.write_text(json.dumps({"image.name": name, "containerimage.digest": DIGEST}))

    assert f"{wanted}@{DIGEST}" == reference(file)


@pytest.mark.parametrize("text", ["", "{}", '{"image.name": "a/b"}', '{"containerimage.digest": "' + DIGEST + '"}'])
def test_a_build_without_a_push_is_told(text: str, tmp_path: Path) -> None:
    """There is no digest before a name."""
    file = tmp_path / "image.json"
    file.write_text(text)

    with pytest.raises(DigestError, match="build"):
        reference(file)


def test_one_line_of_a_stack_changes(tmp_path: Path) -> None:
    """Comments and everything else stay as they are."""
    file = Path(shutil.copy(ROOT / "Pulumi.prod.yaml", tmp_path))
    before = file.read_text().splitlines()

    set_image(file, f"registry.example/consumers@{DIGEST}")
    after = file.read_text().splitlines()

    line = f"  consumer-scaling:image: registry.example/consumers@{DIGEST}"
    assert [line] == [new for new, old in zip(after, before, strict=True) if new != old]


def test_a_build_that_no_cluster_can_pull_stays_out_of_prod(tmp_path: Path) -> None:
    """Its pods would wait for an image that is on nobody's registry."""
    file = Path(shutil.copy(ROOT / "Pulumi.prod.yaml", tmp_path))
    before = file.read_text()

    with pytest.raises(DigestError, match="which no cluster can pull: push one"):
        set_image(file, f"localhost/consumers@{DIGEST}")

    assert before == file.read_text()


def test_an_absent_stack_names_those_there_are(tmp_path: Path) -> None:
    """Nothing is made by a typing error."""
    for name in ("dev", "prod"):
        (tmp_path / f"Pulumi.{name}.yaml").touch()

    with pytest.raises(DigestError) as absent:
        set_image(tmp_path / "Pulumi.pord.yaml", f"a@{DIGEST}")

    assert "Pulumi.pord.yaml does not exist: there are stacks dev, prod" == str(absent.value)


def test_a_stack_that_runs_no_image_is_told(tmp_path: Path) -> None:
    """Stack local has no image."""
    file = Path(shutil.copy(ROOT / "Pulumi.local.yaml", tmp_path))

    with pytest.raises(DigestError) as absent:
        set_image(file, f"a@{DIGEST}")

    assert "Pulumi.local.yaml has 0 lines `consumer-scaling:image: ...`: let there be one" == str(absent.value)
