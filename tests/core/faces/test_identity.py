"""The source face: which one of an image is meant, and images that will not do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray
from PIL import Image

from core.errors import InputError
from core.faces.align import shrink
from core.faces.analyse import FaceModels
from core.faces.embed import distance
from core.faces.identity import CROP_MAX_PX, load_identity
from core.records import EYE_OUTER, SourceIdentity, SourceSpec
from tests.faces_assets import astronaut


def load(models: FaceModels, path: Path, face: int | None = None) -> SourceIdentity:
    return load_identity(SourceSpec(str(path), face), models)


def save(folder: Path, picture: NDArray[np.uint8], name: str = "face.png") -> Path:
    Image.fromarray(picture).save(folder / name)
    return folder / name


def side_by_side(left: int, right: int) -> NDArray[np.uint8]:
    """Two astronauts of the given heights in pixels."""
    picture = np.zeros((max(left, right), left + right, 3), np.uint8)
    picture[:left, :left] = shrink(astronaut(), left, left)
    picture[:right, left:] = shrink(np.ascontiguousarray(astronaut()[:, ::-1]), right, right)
    return picture


def test_one_face_is_cut_out_level_with_its_mesh(models: FaceModels, tmp_path: Path) -> None:
    made = load(models, save(tmp_path, astronaut()))
    size = made.image.shape[0]
    assert made.image.shape == (size, size, 3)
    assert 200 < size < 300
    assert made.face == 1
    assert made.notes == ()
    assert 0.25 * size < made.mesh.min()
    assert made.mesh.max() < 0.75 * size
    left, right = made.mesh[list(EYE_OUTER)]
    assert abs(left[1] - right[1]) < 0.5
    assert made.id.startswith(made.sha256[:16])


def test_exif_orientation_is_applied(models: FaceModels, tmp_path: Path) -> None:
    upright = load(models, save(tmp_path, astronaut()))
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    path = tmp_path / "turned.png"
    Image.fromarray(np.rot90(astronaut())).save(path, exif=exif)
    assert distance(load(models, path).embedding, upright.embedding) < 0.01


def test_clearly_largest_face_is_taken_and_said(models: FaceModels, tmp_path: Path) -> None:
    made = load(models, save(tmp_path, side_by_side(300, 512)))
    assert made.face == 2
    assert made.notes == ("2 faces in the source image: took the largest, number 2 from the left",)
    other = load(models, tmp_path / "face.png", face=1)
    assert other.face == 1
    assert other.notes == ()
    assert other.id != made.id
    assert other.image.shape[0] < made.image.shape[0]


def test_faces_that_fill_the_picture_are_found(models: FaceModels, tmp_path: Path) -> None:
    close = np.asarray(Image.fromarray(astronaut()[50:185, 165:285]).resize((960, 1080)), np.uint8)
    assert load(models, save(tmp_path, close)).image.shape[0] == CROP_MAX_PX


def test_images_that_will_not_do(models: FaceModels, tmp_path: Path) -> None:
    two = save(tmp_path, side_by_side(480, 512), "two.png")
    cases = [
        (save(tmp_path, np.asarray(skimage.data.coffee(), np.uint8), "none.png"), None, "no face found"),
        (
            two,
            None,
            "the same face is in the source image twice; crop it to one, or give --source-face 1 to 2",
        ),
        (two, 3, "there is no face 3"),
        (two, 0, "there is no face 0"),
        (save(tmp_path, shrink(astronaut(), 160, 160), "small.png"), None, "px high, at least 48 are needed"),
        (tmp_path / "absent.png", None, "no such file"),
        (tmp_path, None, "directory"),
    ]
    (tmp_path / "text.jpg").write_text("not a picture")
    cases.append((tmp_path / "text.jpg", None, "text.jpg"))
    (tmp_path / "torn.png").write_bytes(two.read_bytes()[:5000])
    cases.append((tmp_path / "torn.png", None, "torn.png"))
    for path, face, message in cases:
        with pytest.raises(InputError, match=message) as caught:
            load(models, path, face)
        assert "\n" not in str(caught.value)
        assert str(path) in str(caught.value)
