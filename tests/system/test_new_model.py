"""A new model of a known shape is a new TOML file and no code: an installation with two of them, nothing else new."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from core.inference.manifest import load_manifests, manifest_folder
from core.inference.twins import build_twin
from tests.faces_assets import astronaut, carphone_clip
from tests.system.runs import ROOT, Ran, farm

NEW = {"xseg": "my_occlusion", "bisenet": "my_regions"}


@pytest.fixture
def place(tmp_path: Path, twins: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation of its own, with copies of two manifests under other ids, and a cache of twins."""
    made = tmp_path / "installed"
    for package in ("core", "actors", "farm", "models"):
        shutil.copytree(ROOT / package, made / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name, other in NEW.items():
        text = (made / "models" / f"{name}.toml").read_text()
        (made / "models" / f"{other}.toml").write_text(re.sub(f'id = "{name}"', f'id = "{other}"', text))
    cache = tmp_path / "cache"
    cache.mkdir()
    for path in twins.iterdir():
        if path.is_file():
            (cache / path.name).symlink_to(path)
    monkeypatch.setenv("FARM_MODEL_CACHE", str(cache))
    monkeypatch.setenv("PYTHONPATH", str(made))
    return made


@pytest.mark.heavy
def test_masks_of_new_manifests(place: Path, tmp_path: Path) -> None:
    def run(*arguments: str | Path) -> Ran:
        return farm(*arguments, cwd=place)

    manifests = load_manifests(manifest_folder())
    for name, other in NEW.items():
        file = tmp_path / f"{other}.onnx"
        file.write_bytes(build_twin(manifests[name], width=8))
        added = run("models", "add", other, file, "--unlisted")
        assert added.code == 0, added.err
    Image.fromarray(astronaut()).save(tmp_path / "face.png")
    film = carphone_clip(tmp_path, frames=4)
    command = ("render", film, "--source", tmp_path / "face.png", "--swapper", "hyperswap_1a_256", "--local")
    command += ("--masks", "box,occlusion,region", "--preset", "ultrafast", "--json")
    ours = ("--occlusion-model", NEW["xseg"], "--region-model", NEW["bisenet"])
    new = run(*command, *ours, "-o", tmp_path / "new.mp4").report
    old = run(*command, "-o", tmp_path / "old.mp4").report
    assert {use.id for use in old.models} - {use.id for use in new.models} == set(NEW)
    assert {use.id for use in new.models} - {use.id for use in old.models} == set(NEW.values())
    pairs = zip(frames(tmp_path / "new.mp4"), frames(tmp_path / "old.mp4"), strict=True)
    assert all(np.array_equal(one, other) for one, other in pairs), "the same weights, the same masks"


def frames(film: Path) -> list[NDArray[np.uint8]]:
    with av.open(str(film)) as opened:
        return [frame.to_ndarray(format="rgb24").astype(np.uint8) for frame in opened.decode(video=0)]
