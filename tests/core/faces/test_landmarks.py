"""Mesh points: they sit on the face, whatever way the picture is turned or the detector's box lies."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from core.faces.analyse import FaceModels
from core.faces.landmarks import PRESENCE_MIN
from core.geometry import apply, display_from_coded, invert
from tests.faces_assets import astronaut

# Mesh points that lie on what the detector marks: eyes (mean of the corners), nose tip, mouth corners.
MARKS = ((33, 133), (362, 263), (1,), (61,), (291,))


def marks_of(mesh: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.array([mesh[list(points)].mean(axis=0) for points in MARKS])


def test_carphone_meshes_agree_with_the_detectors_points(
    models: FaceModels, carphone_frames: list[NDArray[np.uint8]]
) -> None:
    found = models.detector.detect(carphone_frames)
    boxes, points = np.stack([one.box[0] for one in found]), np.stack([one.points[0] for one in found])
    mesh, presence = models.mesher.mesh(carphone_frames, boxes, points)
    assert presence.min() > 25  # PRESENCE_MIN is even odds; the clip's faces are beyond doubt
    width = (boxes[:, 2] - boxes[:, 0]).mean()
    apart = np.stack([marks_of(one) for one in mesh]) - points
    assert np.sqrt((apart**2).sum(axis=2)).mean() < 0.06 * width


def test_no_presence_where_there_is_no_face(models: FaceModels) -> None:
    picture = np.random.default_rng(1).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    five = np.array([[[80.0, 80], [120, 80], [100, 100], [85, 120], [115, 120]]])
    _, presence = models.mesher.mesh([picture], np.array([[60.0, 50, 140, 150]]), five)
    assert presence[0] < PRESENCE_MIN


@pytest.mark.parametrize("degrees", [90, 180, -90])
def test_turned_pictures_give_the_same_points(models: FaceModels, degrees: int) -> None:
    """The picture as coded lies on its side; with its display map the crop is upright again."""
    upright = astronaut()
    (found,) = models.detector.detect([upright])
    expected, _ = models.mesher.mesh([upright], found.box[:1], found.points[:1])
    coded = np.ascontiguousarray(np.rot90(upright, -degrees // 90))
    shown, _, _ = display_from_coded(512, 512, Fraction(1), degrees)
    back = invert(shown)
    corners = apply(back, found.box[0].reshape(2, 2))
    box = np.concatenate([corners.min(axis=0), corners.max(axis=0)])[None]
    mesh, presence = models.mesher.mesh([coded], box, apply(back, found.points[:1]), shown)
    assert presence[0] > 30
    assert np.abs(apply(shown, mesh[0]) - expected[0]).max() < 1.0
    assert np.abs(apply(shown, mesh[0]) - expected[0]).mean() < 0.2


def test_the_box_hardly_matters(models: FaceModels) -> None:
    """Moving the detector's box by a twentieth of its side moves the points by a far smaller part."""
    picture = astronaut()
    (found,) = models.detector.detect([picture])
    expected, _ = models.mesher.mesh([picture], found.box[:1], found.points[:1])
    moved, _ = models.mesher.mesh([picture], found.box[:1] + np.array([5, -5, 5, -5]), found.points[:1])
    assert np.abs(moved - expected).mean() < 0.5


def test_batches_do_not_change_points(models: FaceModels, carphone_frames: list[NDArray[np.uint8]]) -> None:
    found = models.detector.detect(carphone_frames[:5])
    boxes, points = np.stack([one.box[0] for one in found]), np.stack([one.points[0] for one in found])
    together, presence = models.mesher.mesh(carphone_frames[:5], boxes, points)
    for row in range(5):
        alone, logit = models.mesher.mesh([carphone_frames[row]], boxes[row : row + 1], points[row : row + 1])
        np.testing.assert_allclose(alone[0], together[row], atol=1e-4)
        assert logit[0] == pytest.approx(presence[row], abs=1e-4)
