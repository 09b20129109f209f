"""A number that tells blurred faces from clear ones, and nothing else of a picture."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from core.faces.analyse import FaceModels
from core.faces.portrait import find_faces
from core.faces.sharpness import sharpness
from core.geometry import apply, display_from_coded, invert
from core.records import MESH_POINTS
from tests.faces_assets import astronaut

Face = tuple[NDArray[np.uint8], NDArray[np.floating[Any]], NDArray[np.floating[Any]]]
NO_MESH = np.full((MESH_POINTS, 2), np.nan)


@pytest.fixture(scope="module")
def face(models: FaceModels) -> Face:
    """The astronaut: picture, box, mesh."""
    found, mesh = find_faces(astronaut(), models.detector, models.mesher)
    return astronaut(), found.box[0], mesh[0]


def blurred(rgb: NDArray[np.uint8], sigma_px: float) -> NDArray[np.uint8]:
    return np.asarray(cv2.GaussianBlur(rgb, (0, 0), sigma_px), np.uint8)


def test_the_more_a_face_is_blurred_the_less_sharp_it_is(face: Face) -> None:
    rgb, box, mesh = face
    clear = sharpness(rgb, box, mesh)
    steps = [sharpness(blurred(rgb, sigma), box, mesh) for sigma in (1, 2, 4)]
    assert clear == pytest.approx(0.020, abs=0.002)
    assert steps == pytest.approx([0.015, 0.008, 0.003], abs=0.002)


@pytest.mark.parametrize("angle_deg", [0, 30, 45, 90, 120])
def test_motion_blur_counts_as_blur_in_any_direction(face: Face, angle_deg: int) -> None:
    rgb, box, mesh = face
    line = np.zeros((9, 9), np.float32)
    line[4] = 1
    turned = cv2.warpAffine(line, cv2.getRotationMatrix2D((4, 4), angle_deg, 1), (9, 9))
    moved = np.asarray(cv2.filter2D(rgb, -1, turned / turned.sum()), np.uint8)
    assert sharpness(moved, box, mesh) < 0.6 * sharpness(*face)


@pytest.mark.parametrize("factor", [0.6, 1.5, 3.0])
def test_size_does_not_count_while_there_are_pixels_enough(face: Face, factor: float) -> None:
    rgb, box, mesh = face
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    other = np.asarray(cv2.resize(rgb, None, fx=factor, fy=factor, interpolation=how), np.uint8)
    value = sharpness(other, (box + 0.5) * factor - 0.5, (mesh + 0.5) * factor - 0.5)
    assert value == pytest.approx(sharpness(*face), rel=0.25)


def test_light_and_contrast_do_not_count(face: Face) -> None:
    rgb, box, mesh = face
    for gain, lift in ((0.5, 0), (0.3, 100)):
        other = np.round(rgb * gain + lift).astype(np.uint8)
        assert sharpness(other, box, mesh) == pytest.approx(sharpness(*face), rel=0.05)


def test_noise_hardly_counts(face: Face) -> None:
    rgb, box, mesh = face
    soft = blurred(rgb, 2)
    noisy = np.clip(soft + np.random.default_rng(0).normal(0, 8, rgb.shape), 0, 255).astype(np.uint8)
    assert sharpness(noisy, box, mesh) == pytest.approx(sharpness(soft, box, mesh), rel=0.1)


def test_what_is_behind_the_face_does_not_count(face: Face) -> None:
    rgb, box, mesh = face
    hull = cv2.convexHull(np.round(mesh).astype(np.int32))
    inside = np.zeros(rgb.shape[:2], np.uint8)
    cv2.fillConvexPoly(inside, hull, 1)
    random = np.random.default_rng(0).integers(0, 256, rgb.shape).astype(np.uint8)
    pasted = np.where(inside[:, :, None].astype(bool), rgb, random)
    assert sharpness(pasted, box, mesh) == pytest.approx(sharpness(*face), rel=0.1)


def test_a_picture_on_its_side_with_oblong_pixels_reads_the_same(face: Face) -> None:
    rgb, _, mesh = face
    coded = np.asarray(cv2.resize(np.rot90(rgb), (512, 256), interpolation=cv2.INTER_AREA), np.uint8)

    shown, wide, high = display_from_coded(512, 256, Fraction(1, 2), -90)
    assert (wide, high) == (512, 512)
    coded_mesh = apply(invert(shown), mesh)
    box = np.concatenate([coded_mesh.min(axis=0), coded_mesh.max(axis=0)])
    assert sharpness(coded, box, coded_mesh, shown) == pytest.approx(sharpness(*face), rel=0.35)


def test_a_face_without_a_mesh_is_measured_in_its_box(face: Face) -> None:
    rgb, box, _ = face
    clear, soft = (sharpness(picture, box, NO_MESH) for picture in (rgb, blurred(rgb, 3)))
    assert soft < 0.5 * clear


def test_plain_pictures_and_faces_beyond_the_edge_have_a_number_too(face: Face) -> None:
    _, box, mesh = face
    assert sharpness(np.full((64, 64, 3), 90, np.uint8), np.array([10.0, 10, 30, 40]), NO_MESH) == 0
    for shift in (-400.0, 400.0):
        assert np.isfinite(sharpness(astronaut(), box + shift, mesh + shift))
    point = np.zeros((MESH_POINTS, 2))
    assert sharpness(astronaut(), np.zeros(4), point) == 0
    assert sharpness(astronaut(), np.zeros(4), NO_MESH) == 0
