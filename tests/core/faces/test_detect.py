"""Finding faces: on real pictures of many sizes, in batches, and the arithmetic of decoding."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray

from core.faces.analyse import FaceModels
from core.faces.centerface import CenterFace, decode, fitted_size
from core.faces.finds import suppress
from core.geometry import iou
from tests.faces_assets import astronaut, session_of

ASTRONAUT_BOX = np.array([181.0, 58.0, 269.0, 177.0])


def test_carphone_has_one_face_with_sane_points(models: FaceModels, carphone_frames: list[NDArray[np.uint8]]) -> None:
    for found in models.detector.detect(carphone_frames):
        assert found.score[0] > 0.7
        assert len(found) == 1 or found.score[1] < 0.4
        x0, y0, x1, y1 = found.box[0]
        left, right, nose, mouth_left, mouth_right = found.points[0]
        assert 80 < x1 - x0 < 180
        for x, y in found.points[0]:
            assert x0 < x < x1
            assert y0 < y < y1
        assert left[0] < nose[0] < right[0]
        assert mouth_left[0] < mouth_right[0]
        assert max(left[1], right[1]) < nose[1] < min(mouth_left[1], mouth_right[1])


def test_batch_equals_single(carphone_frames: list[NDArray[np.uint8]]) -> None:
    """Also when other sizes lie between: each picture is looked at as if alone."""
    detector = CenterFace(session_of("detector"))
    pictures = [carphone_frames[0], astronaut(), carphone_frames[2], carphone_frames[5]]
    together = detector.detect(pictures)
    for picture, found in zip(pictures, together, strict=True):
        (alone,) = detector.detect([picture])
        assert len(found) == len(alone)
        for name in ("box", "score", "points"):
            np.testing.assert_allclose(getattr(found, name), getattr(alone, name), atol=1e-4)


@pytest.mark.parametrize("height_px", [32, 64, 150, 300, 500, 700])
def test_small_and_large_faces_in_a_720p_picture(models: FaceModels, height_px: int) -> None:
    scale = height_px / 119
    picture = np.asarray(cv2.resize(skimage.data.coffee(), (1280, 720)), np.uint8)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    face = cv2.resize(astronaut(), None, fx=scale, fy=scale, interpolation=how)
    shift = np.round(np.array([640, 360]) - (ASTRONAUT_BOX[:2] + ASTRONAUT_BOX[2:]) / 2 * scale)
    there = np.array([[1, 0, shift[0]], [0, 1, shift[1]]])
    cv2.warpAffine(face, there, (1280, 720), dst=picture, flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_TRANSPARENT)
    expected = ASTRONAUT_BOX * scale + np.tile(shift, 2)
    (found,) = models.detector.detect([picture])
    assert len(found) >= 1
    assert float(iou(found.box[:1], expected[None])[0, 0]) > (0.5 if height_px < 64 else 0.65)
    mesh, presence = models.mesher.mesh([picture], found.box[:1], found.points[:1])
    assert presence[0] > 10
    assert np.isfinite(mesh).all()


def test_pictures_without_faces(models: FaceModels) -> None:
    pictures = [
        np.zeros((90, 160, 3), np.uint8),
        np.asarray(skimage.data.coffee(), np.uint8),
        np.zeros((1, 1, 3), np.uint8),
    ]
    assert [len(found) for found in models.detector.detect(pictures)] == [0, 0, 0]
    assert models.detector.detect([]) == []


def test_fitted_sizes_save_padding_but_never_enlarge() -> None:
    assert fitted_size(1280, 720, 640) == (626, 352)
    assert fitted_size(640, 480, 640) == (640, 480)
    assert fitted_size(176, 144, 640) == (176, 144)
    assert fitted_size(3840, 1600, 640) == (614, 256)
    assert fitted_size(2000, 3, 640) == (640, 1)


def test_decode_reads_the_maps_as_published() -> None:
    """One lit cell: row 3, column 5; box 40x80 px, offset (0.25, 0.5) cells, points on a diagonal."""
    heat, size = np.zeros((1, 8, 8), np.float32), np.zeros((2, 8, 8), np.float32)
    offset, marks = np.zeros((2, 8, 8), np.float32), np.zeros((10, 8, 8), np.float32)
    heat[0, 3, 5] = 0.9
    size[:, 3, 5] = np.log([80 / 4, 40 / 4])  # height, width
    offset[:, 3, 5] = [0.5, 0.25]  # y, x
    marks[:, 3, 5] = np.repeat([0.1, 0.3, 0.5, 0.7, 0.9], 2)
    found = decode(heat, size, offset, marks, score_min=0.5)
    np.testing.assert_allclose(found.box, [[22.5 - 20, 15.5 - 40, 22.5 + 20, 15.5 + 40]], atol=1e-4)
    np.testing.assert_allclose(found.points[0, 2], [22.5, 15.5], atol=1e-4)
    np.testing.assert_allclose(found.points[0, 0], [2.5 + 4, -24.5 + 8], atol=1e-4)


def test_suppress_keeps_the_best_of_overlapping_boxes() -> None:
    boxes = np.array([[0.0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10], [5, 0, 15, 10]])
    assert suppress(boxes, 0.35) == [0, 2, 3]
    assert suppress(boxes[:0], 0.35) == []
