"""Source faces made ready: triangles, exact warps, hair and teeth painted over."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import Delaunay

from core.records import SourceIdentity
from core.swap import mask as masks
from core.swap.texture import FaceTexture, skin_of, texture_of, triangles_of


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 9999), count=st.integers(4, 120))
def test_triangles_are_delaunays(seed: int, count: int) -> None:
    points = np.random.default_rng(seed).uniform(-50, 300, (count, 2)).astype(np.float32)
    ours = {tuple(sorted(row)) for row in triangles_of(points).tolist()}
    theirs = {tuple(sorted(row)) for row in Delaunay(points.astype(np.float64)).simplices.tolist()}
    # along the hull, and where four points lie nearly on a circle, single precision may decide otherwise
    assert len(ours ^ theirs) <= max(4, count // 8)


def test_triangles_all_turn_one_way_and_coincident_points_do_no_harm() -> None:
    points = np.random.default_rng(1).uniform(0, 100, (50, 2)).astype(np.float32)
    points[10] = points[20]
    a, b, c = (points[triangles_of(points)[:, corner]].astype(np.float64) for corner in range(3))
    assert ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0] > 0).all()


@pytest.fixture(scope="module")
def texture(identity: SourceIdentity) -> FaceTexture:
    return texture_of(identity)


@pytest.mark.parametrize("scale", [1.0, 2.3])
@pytest.mark.parametrize("angle", [0.0, 0.4])
def test_an_affine_move_is_reproduced(texture: FaceTexture, scale: float, angle: float) -> None:
    """Where the target mesh is an affine image of the source's, each pixel comes from its inverse image."""
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = texture.mesh.mean(axis=0)
    side = round(260 * scale)
    mesh = ((texture.mesh - centre) @ linear.T + side / 2).astype(np.float32)
    where, found = texture._map(mesh, side)
    y, x = np.mgrid[0:side, 0:side]
    expected = (np.stack([x, y], axis=-1) - side / 2) @ np.linalg.inv(linear).T + centre
    inside = masks.filled_hull(mesh, masks.OUTLINE, side) == 1
    assert inside.sum() > 2000
    assert np.abs(where - expected)[inside].max() < 0.15  # corners are drawn on a grid of 1/16 pixel
    assert found == pytest.approx(1 / scale, rel=1e-3)


def test_a_turned_head_leaves_no_hole(texture: FaceTexture) -> None:
    """Folding half of the face over itself still gives every pixel a place in the picture."""
    mesh = texture.mesh.copy()
    middle = mesh[:, 0].mean()
    far = mesh[:, 0] > middle
    mesh[far, 0] = middle + 5 - 0.2 * (mesh[far, 0] - middle)
    where, _ = texture._map(mesh, 200)
    assert np.isfinite(where).all()
    assert np.abs(where).max() < 4000


def test_hair_on_the_forehead_is_not_taken(identity: SourceIdentity, texture: FaceTexture) -> None:
    """The astronaut's fringe hangs to her brows: what is above is not skin, and is painted over in its colour."""
    skin = skin_of(identity.image, identity.mesh)
    for point in (10, 151, 337, 108):
        column, row = np.rint(identity.mesh[point]).astype(int)
        assert skin[row, column] < 0.35
    for point in (4, 50, 280, 205, 425, 168, 33, 263, 13):  # nose, cheeks, between the eyes, eyes, mouth
        column, row = np.rint(identity.mesh[point]).astype(int)
        assert skin[row, column] > 0.7
    cheeks = np.rint(identity.mesh[[50, 101, 205]]).astype(int)
    cheek = np.mean([identity.image[row, column] / 255 for column, row in cheeks], axis=0)
    for point in (10, 151, 337, 108):
        column, row = np.rint(identity.mesh[point]).astype(int)
        was, now = identity.image[row, column] / 255 - cheek, texture.levels[0][row, column, :3] - cheek
        assert np.abs(now).max() < 0.7 * np.abs(was).max()


def test_teeth_are_painted_over(identity: SourceIdentity, texture: FaceTexture) -> None:
    inside = masks.filled(identity.mesh, masks.INNER_LIPS, len(identity.image)) == 1
    before = identity.image[inside] / 255  # white teeth, dark corners
    after = texture.levels[0][inside][:, :3]
    lips = masks.filled(identity.mesh, masks.OUTER_LIPS, len(identity.image)) == 1
    lip = identity.image[lips & ~inside].mean(axis=0) / 255
    assert np.abs(after.mean(axis=0) - lip).max() < 0.06
    assert (after.std(axis=0) < 0.5 * before.std(axis=0)).all()


def test_a_pyramid_serves_small_faces(identity: SourceIdentity, texture: FaceTexture) -> None:
    """A large source drawn small is averaged: its detail does not shimmer as the face moves."""
    big = replace(
        identity,
        image=np.kron(identity.image, np.ones((8, 8, 1), np.uint8)),
        mesh=identity.mesh * 8 + np.float32(3.5),
    )
    large = texture_of(big)
    assert len(large.levels) == 6
    small = (identity.mesh - identity.mesh.mean(axis=0)) * np.float32(0.5) + 32
    near, same = (one.laid_over(small, 64, 64)[..., :3] for one in (texture, large))
    inside = masks.filled_hull(small, masks.OUTLINE, 64) == 1
    assert np.abs(near - same)[inside].mean() < 0.03
