"""Manifests: those we ship are complete, broken ones end in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import ModelError
from core.inference.manifest import by_role, load_manifests, manifest_folder, read_manifest


def test_shipped_manifests_name_licence_and_hashes() -> None:
    manifests = load_manifests(manifest_folder())
    assert len(manifests) == 34
    assert {manifest.id for manifest in manifests.values() if manifest.embedded} == {
        "centerface",
        "dlib_resnet",
        "face_landmark",
    }
    readme = (manifest_folder() / "README.md").read_text(encoding="utf-8")
    for manifest in manifests.values():
        assert manifest.sha256 is None or len(bytes.fromhex(manifest.sha256)) == 32
        assert manifest.inputs
        assert manifest.outputs
        row = next(line for line in readme.splitlines() if f"`{manifest.id}`" in line)
        assert manifest.licence in row
        if manifest.archive is not None:
            assert manifest.sha256 is not None
            assert len(bytes.fromhex(manifest.archive.member_sha256)) == 32
            assert f"`{manifest.archive.package}` {manifest.archive.version}" in row
        else:
            assert f"`{manifest.file}`" in row
            assert manifest.url is not None
            assert manifest.url.startswith("https://")


def test_every_swapper_says_how_it_takes_its_source_face() -> None:
    manifests = load_manifests(manifest_folder())
    for manifest in manifests.values():
        if manifest.role != "swapper":
            continue
        assert manifest.swap is not None, manifest.id
        assert manifest.template is not None, manifest.id
        assert {spec.name for spec in manifest.inputs} == {"source", "target"}
        side = manifest.template.side_px
        assert {spec.name: spec.shape for spec in manifest.inputs}["target"] == (1, 3, side, side)
        assert manifest.outputs[0].shape == (1, 3, side, side)
        if manifest.swap.identity == "image":
            assert manifest.swap.image is not None
            image_side = manifest.swap.image.side_px
            assert {spec.name: spec.shape for spec in manifest.inputs}["source"] == (1, 3, image_side, image_side)
        else:
            assert manifest.swap.recogniser is not None
            assert manifests[manifest.swap.recogniser].role == "embedder"
        if manifest.swap.identity == "converted":
            assert manifest.swap.converter is not None
            assert manifests[manifest.swap.converter].role == "converter"


def test_templates_may_be_named() -> None:
    manifests = load_manifests(manifest_folder())
    template = manifests["w600k_r50"].template
    assert template is not None
    # insightface's arcface_dst
    assert [round(value, 4) for value in (*template.points[0], *template.points[4])] == [
        38.2946,
        51.6963,
        70.7299,
        92.2041,
    ]


def test_embedder_has_its_template() -> None:
    manifests = load_manifests(manifest_folder())
    template = by_role(manifests, "embedder").template
    assert template is not None
    assert template.side_px == 150
    assert len(template.points) == 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id = [", "not a model manifest"),
        ('id = "x"', "not a model manifest: Object missing required field"),
        (None, "manifest says id"),
    ],
)
def test_broken_manifests_end_in_one_line(tmp_path: Path, text: str | None, message: str) -> None:
    whole = (manifest_folder() / "centerface.toml").read_text(encoding="utf-8")
    path = tmp_path / "x.toml"
    path.write_text(whole if text is None else text, encoding="utf-8")
    with pytest.raises(ModelError, match=message) as caught:
        read_manifest(path)
    assert "\n" not in str(caught.value)
    assert "x.toml" in str(caught.value)


def test_missing_manifests_end_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model manifests"):
        load_manifests(tmp_path)
    with pytest.raises(ModelError, match="role swapper"):
        by_role({}, "swapper")
