"""One frame's faces: upright whatever the film's rotation and pixel shape, label drawn, larger faces on top."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from core.geometry import apply, display_from_coded
from core.records import FaceTable
from core.swap.batch import Batcher
from core.swap.mesh import MeshSwapper
from core.swap.replace import Replacer
from core.trust.label import label_for
from tests.faces_assets import made_up_faces
from tests.frames import NOBODY, Negative, copied, index_of, noise, roles_of

WIDE, HIGH = 160, 120


def chosen(centres: list[tuple[float, float]], radius: float) -> FaceTable:
    table = made_up_faces(np.zeros(len(centres), np.int64), np.array(centres), radius)
    return replace(table, role=np.zeros(len(centres), np.int32))


def moved(table: FaceTable, affine: np.ndarray) -> FaceTable:
    corners = apply(affine, table.box.reshape(-1, 2, 2))
    return replace(
        table,
        mesh=apply(affine, table.mesh),
        points=apply(affine, table.points),
        box=np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1),
    )


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_a_rotated_film_gives_the_same_picture(rotation: int) -> None:
    """Frames that are stored turned come out as those stored upright, turned: to the last code value."""
    upright = noise(WIDE, HIGH, "yuv444p", 8, 4)
    turns = rotation // 90
    turned = tuple(np.ascontiguousarray(np.rot90(plane, -turns)) for plane in upright)
    high, wide = turned[0].shape
    affine, *_ = display_from_coded(wide, high, Fraction(1), rotation)
    coded_from_display = np.linalg.inv(np.vstack([affine, [0, 0, 1]]))[:2]
    table = chosen([(70.0, 66.0)], 25)
    for planes, faces, turn, index in (
        (upright, table, 0, index_of(WIDE, HIGH, "yuv444p")),
        (turned, moved(table, coded_from_display), turns, index_of(wide, high, "yuv444p", rotation=rotation)),
    ):
        replacer, batcher = Replacer(index, "yuv444p", faces, roles_of(Negative())), Batcher(Negative())
        works = replacer.cut(planes, replacer.wanted(0))
        batcher.add(works)
        batcher.flush()
        replacer.finish(planes, works)
        if turn == 0:
            expected = copied(planes)
        else:
            for plane, other in zip(planes, expected, strict=True):
                difference = np.abs(np.rot90(plane, turn).astype(int) - other)
                assert difference.max() <= 2  # positions of samples are rounded by OpenCV
                assert (difference > 0).mean() < 0.02


def test_wide_pixels_are_taken_into_account() -> None:
    """The crop of a film with 2:1 pixels covers half as many coded columns as rows."""
    index = index_of(WIDE, HIGH, "gray", sar=Fraction(2))
    table = chosen([(80.0, 60.0)], 20)
    narrow = moved(table, np.array([[0.5, 0, 40], [0, 1, 0]]))
    for faces in (narrow,):
        swapper = MeshSwapper()
        work = Replacer(index, "gray", faces, roles_of(swapper)).cut(noise(WIDE, HIGH, "gray", 8), [0])[0]
        linear = work.crop_from_frame[:, :2]
        across, down = np.linalg.norm(linear, axis=0)
        assert across / down == pytest.approx(2, rel=1e-6)
        assert abs(float(linear[:, 0] @ linear[:, 1])) < 1e-6 * across * down


def test_larger_faces_lie_on_top() -> None:
    """Where two crops meet, both were cut from the original, and the larger, earlier row is pasted last."""
    index = index_of(WIDE, HIGH, "gray")
    table = FaceTable.concat([chosen([(70.0, 70.0)], 30), chosen([(95.0, 70.0)], 15)])
    planes = (np.full((HIGH, WIDE), 50, np.uint8),)
    both, alone = copied(planes), copied(planes)
    for target, rows in ((both, [0, 1]), (alone, [0])):
        replacer = Replacer(index, "gray", table, roles_of(Negative()))
        works = replacer.cut(target, rows)
        for work, value in zip(works, (0.9, 0.1), strict=False):
            work.fresh = np.full_like(work.crop, value)
            work.mask = Negative().swap(work.crop[None], work.landmarks[None], [NOBODY])[1][0, 0]
        replacer.finish(target, works)
    solid = alone[0] == round(0.9 * 255)
    assert solid.sum() > 500
    assert np.array_equal(both[0][solid], alone[0][solid])
    assert (both[0] != alone[0]).any()


def test_a_frame_with_a_face_is_labelled() -> None:
    index = index_of(WIDE, HIGH, "yuv420p")
    planes = noise(WIDE, HIGH, "yuv420p", 8)
    expected = copied(planes)
    label_for(index, "yuv420p").draw(expected)
    replacer, batcher = (
        Replacer(index, "yuv420p", chosen([(60.0, 80.0)], 15), roles_of(Negative())),
        Batcher(Negative()),
    )
    works = replacer.cut(planes, replacer.wanted(0))
    batcher.add(works)
    batcher.flush()
    replacer.finish(planes, works)
    x0, y0, x1, y1 = label_for(index, "yuv420p").box
    assert np.array_equal(planes[0][y0:y1, x0:x1], expected[0][y0:y1, x0:x1])
    assert (replacer.frames_replaced, replacer.faces_replaced) == (1, 1)


def test_a_face_that_was_not_swapped_is_not_pasted() -> None:
    index = index_of(WIDE, HIGH, "gray")
    planes = noise(WIDE, HIGH, "gray", 8)
    replacer = Replacer(index, "gray", chosen([(60.0, 80.0)], 15), roles_of(Negative()))
    with pytest.raises(ValueError, match="before it was swapped"):
        replacer.finish(planes, replacer.cut(planes, replacer.wanted(0)))
