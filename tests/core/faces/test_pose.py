"""How two solid meshes differ: known turns, shifts, sizes and deformations are found."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from core.faces.analyse import FaceModels
from core.faces.pose import LIPS, SKULL, angles_deg, difference, eye_distance, openings, rotation
from core.records import EYE_OUTER, MESH_POINTS
from tests.faces_assets import astronaut

ANGLES = st.floats(-60, 60)


def head(seed: int = 1) -> NDArray[np.float64]:
    """A made-up solid mesh of about 100 px, its eyes 60 px apart."""
    mesh = np.random.default_rng(seed).normal((300, 200, 0), 30, (MESH_POINTS, 3))
    mesh[list(EYE_OUTER)] = [[270, 190, 5], [330, 190, 5]]
    return mesh


def moved(
    mesh: NDArray[np.float64], turn: NDArray[np.float64], scale: float, by: NDArray[np.float64]
) -> NDArray[np.float64]:
    middle = mesh.mean(axis=0)
    return np.asarray(scale * (mesh - middle) @ turn.T + middle + by, np.float64)


@given(ANGLES, ANGLES, ANGLES)
def test_angles_are_those_of_the_rotation(yaw: float, pitch: float, roll: float) -> None:
    turn = rotation(yaw, pitch, roll)
    assert np.allclose(turn @ turn.T, np.eye(3))
    assert np.linalg.det(turn) == pytest.approx(1)
    assert angles_deg(turn) == pytest.approx((yaw, pitch, roll), abs=1e-9)


def test_the_signs_are_as_described() -> None:
    nose = np.array([0.0, 0.0, -1.0])  # towards the camera
    assert (rotation(30, 0, 0) @ nose)[0] > 0.4  # to the picture's right
    assert (rotation(0, 30, 0) @ nose)[1] > 0.4  # down
    assert (rotation(0, 0, 30) @ np.array([1.0, 0.0, 0.0]))[1] > 0.4  # the right side goes down: clockwise


@settings(max_examples=30)
@given(ANGLES, ANGLES, ANGLES, st.floats(0.5, 2), st.floats(-40, 40), st.floats(-40, 40))
def test_a_moved_head_differs_by_its_movement_alone(
    yaw: float, pitch: float, roll: float, scale: float, x: float, y: float
) -> None:
    mesh = head()
    skull = list(SKULL)
    other = moved(mesh, rotation(yaw, pitch, roll), scale, np.array([x, y, 0.0]))
    found = difference(mesh, other)
    assert (found.yaw_deg, found.pitch_deg, found.roll_deg) == pytest.approx((yaw, pitch, roll), abs=1e-6)
    assert found.growth == pytest.approx(scale - 1, abs=1e-9)
    assert found.shift == pytest.approx((other[skull] - mesh[skull]).mean(axis=0)[:2] / 60)
    assert found.residual == pytest.approx(0, abs=1e-9)


def test_equal_meshes_differ_by_nothing() -> None:
    found = difference(head(), head())
    assert (found.yaw_deg, found.pitch_deg, found.roll_deg, found.growth, found.residual) == (0, 0, 0, 0, 0)
    assert not found.shift.any()
    assert not found.left.any()


def test_an_open_mouth_is_expression_and_no_pose() -> None:
    mesh = head()
    other = mesh.copy()
    other[LIPS[1], 1] += 12
    found = difference(mesh, other)
    assert (found.yaw_deg, found.pitch_deg, found.roll_deg) == pytest.approx((0, 0, 0), abs=1e-6)
    assert found.residual == pytest.approx(12 / 60 / np.sqrt(MESH_POINTS))


def test_openings_do_not_depend_on_pose_or_size() -> None:
    mesh = head()
    assert openings(moved(mesh, rotation(20, -10, 40), 1.7, np.zeros(3))) == pytest.approx(openings(mesh))
    assert eye_distance(mesh) == pytest.approx(60)


def test_points_that_coincide_are_refused() -> None:
    with pytest.raises(ValueError, match="coincide"):
        difference(np.zeros((MESH_POINTS, 3)), head())


def test_the_meshes_of_the_network_are_solid(models: FaceModels) -> None:
    picture = astronaut()
    found = models.detector.detect([picture])[0]
    mesh, solid, presence = models.mesher.solid([picture], found.box, found.points)
    flat, same = models.mesher.mesh([picture], found.box, found.points)
    assert np.array_equal(mesh, flat)
    assert np.array_equal(presence, same)
    assert np.allclose(solid[..., :2], mesh)
    nose, cheeks = solid[0, 1, 2], solid[0, [234, 454], 2]
    assert (nose < cheeks - 0.3 * eye_distance(solid[0])).all()
