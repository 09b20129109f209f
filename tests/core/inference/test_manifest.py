"""Manifests: those we ship are complete, broken ones end in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import ModelError
from core.inference.manifest import by_id, by_role, load_manifests, manifest_folder, read_manifest


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


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("commercial_use = false", "commercial_use = false\nlicense = 1", "unknown field license"),
        ("unit = true", "unt = true", "unknown field swap.unt"),
        ('meaning = "the', 'menaing = "the', "missing required field `meaning`"),
        ('name = "arcface_128"', 'name = "arcface_99"', "missing required field `points`"),
        ('name = "arcface_128"', "points = [[1, 2]]", "a template has a side and five points"),
        ('sha256 = "e4', 'sha256 = "xx', "sha256 is not 64 hex digits"),
        ('recogniser = "w600k_r50"', "", "identity emap without recogniser"),
        ('identity = "emap"', 'identity = "converted"', "identity converted without converter"),
        ('identity = "emap"', 'identity = "image"', "identity image without swap.image"),
        ('name = "source"', 'name = "latent"', "a swapper's inputs are source and target"),
        ('role = "swapper"', 'role = "enhancer"', "swap belongs to the role swapper"),
        ('file = "inswapper_128.onnx"', "", "neither archive nor file"),
        ("[swap]", "[pixels]\nstd = [0.0, 1.0, 1.0]\n\n[swap]", "std and scale must not be 0"),
    ],
)
def test_manifests_that_contradict_themselves(old: str, new: str, message: str, tmp_path: Path) -> None:
    text = (manifest_folder() / "inswapper_128.toml").read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "inswapper_128.toml"
    path.write_text(text, encoding="utf-8")
    assert read_manifest(path).id == "inswapper_128"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ModelError, match=message) as caught:
        read_manifest(path)
    assert "\n" not in str(caught.value)


def test_a_new_model_is_a_new_file(tmp_path: Path) -> None:
    text = (manifest_folder() / "ghost_1_256.toml").read_text(encoding="utf-8")
    (tmp_path / "mine.toml").write_text(text.replace('id = "ghost_1_256"', 'id = "mine"'), encoding="utf-8")
    manifests = load_manifests(tmp_path)
    assert by_id(manifests, "mine", "swapper").swap == load_manifests(manifest_folder())["ghost_1_256"].swap
    with pytest.raises(ModelError, match="no swapper called 'yours'; one of: mine"):
        by_id(manifests, "yours", "swapper")


def test_missing_manifests_end_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model manifests"):
        load_manifests(tmp_path)
    with pytest.raises(ModelError, match="role swapper"):
        by_role({}, "swapper")
