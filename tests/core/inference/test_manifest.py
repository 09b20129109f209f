"""Manifests: those we ship are complete, broken ones end in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import ModelError
from core.inference.manifest import by_role, load_manifests, manifest_folder, read_manifest


def test_shipped_manifests_name_licence_and_hashes() -> None:
    manifests = load_manifests(manifest_folder())
    assert {manifest.role for manifest in manifests.values()} >= {"detector", "mesh", "embedder"}
    readme = (manifest_folder() / "README.md").read_text(encoding="utf-8")
    for manifest in manifests.values():
        assert len(bytes.fromhex(manifest.sha256)) == 32
        assert len(bytes.fromhex(manifest.archive.member_sha256)) == 32
        assert manifest.inputs
        assert manifest.outputs
        row = next(line for line in readme.splitlines() if f"`{manifest.id}`" in line)
        assert manifest.licence in row
        assert f"`{manifest.archive.package}` {manifest.archive.version}" in row
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
