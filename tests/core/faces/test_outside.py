"""What two films' planes differ by outside the faces, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from core.faces.outside import BLEED_PX, REGION_SCALE, OutsideMeter, psnr_db
from core.media.planes import component_shapes
from core.records import FaceTable
from tests.faces_assets import made_up_faces
from tests.frames import index_of

WIDE, HIGH = 320, 240
NOBODY = FaceTable.empty()


def planes(pix_fmt: str, seed: int, top: int) -> list[NDArray[np.uint16] | NDArray[np.uint8]]:
    random = np.random.default_rng(seed)
    dtype = np.uint8 if top < 256 else np.uint16
    return [random.integers(0, top + 1, shape).astype(dtype) for shape in component_shapes(pix_fmt, WIDE, HIGH)]


def one_face() -> FaceTable:
    return made_up_faces(range(1), np.array([[160.0, 120.0]]), 20.0)


@pytest.mark.parametrize(("pix_fmt", "top"), [("yuv420p", 255), ("yuv422p10le", 1023), ("gbrp", 255), ("gray", 255)])
def test_all_samples_are_compared_where_nobody_is(pix_fmt: str, top: int) -> None:
    one, other = planes(pix_fmt, 1, top), planes(pix_fmt, 2, top)
    meter = OutsideMeter(index_of(WIDE, HIGH, pix_fmt), pix_fmt, None)
    mean, psnr = meter.add(one, other, NOBODY)
    apart = np.concatenate([(a.astype(np.int64) - b).ravel() for a, b in zip(one, other, strict=True)])
    made = meter.report()
    assert (made.samples, made.most, made.peak) == (len(apart), np.abs(apart).max(), top)
    assert made.mean == pytest.approx(np.abs(apart).mean())
    assert made.psnr_db == pytest.approx(10 * np.log10(top**2 / (apart**2).mean()))
    assert psnr == pytest.approx(made.psnr_db, rel=1e-6)
    assert mean == pytest.approx(np.abs(apart).mean() * 255 / top)


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p"])
def test_a_changed_face_is_not_outside(pix_fmt: str) -> None:
    one = planes(pix_fmt, 1, 255)
    other = [plane.copy() for plane in one]
    for plane in other:
        step = WIDE // plane.shape[1]
        plane[100 // step : 140 // step, 140 // step : 180 // step] ^= 255
    meter = OutsideMeter(index_of(WIDE, HIGH, pix_fmt), pix_fmt, None)
    meter.add(one, other, one_face())
    meter.add(one, other, NOBODY)
    made = meter.report()
    assert made.frames_identical == 1
    assert made.series.psnr_db[0] == np.inf
    assert made.worst_frame == 1
    assert made.series.samples[0] < made.series.samples[1]


def test_the_region_is_as_large_as_the_largest_crop() -> None:
    """A square around the mesh, level with the eyes; every sample beyond it counts."""
    one = planes("gray", 1, 255)
    meter = OutsideMeter(index_of(WIDE, HIGH, "gray"), "gray", None)
    face = one_face()
    meter.add(one, one, face)
    extent = float(np.ptp(face.mesh[0], axis=0).max())
    side = extent * REGION_SCALE + 2 * BLEED_PX
    hidden = WIDE * HIGH - int(meter.report().samples)
    assert hidden == pytest.approx(side**2, rel=0.06)


def test_the_label_is_left_out() -> None:
    one = planes("yuv420p", 1, 255)
    other = [plane.copy() for plane in one]
    other[0][4:20, 250:310] ^= 85
    meter = OutsideMeter(index_of(WIDE, HIGH, "yuv420p"), "yuv420p", (248, 0, 320, 24))
    meter.add(one, other, NOBODY)
    assert meter.report().frames_identical == 1


def test_faces_that_fill_the_picture_leave_nothing() -> None:
    one = planes("yuv420p", 1, 255)
    meter = OutsideMeter(index_of(WIDE, HIGH, "yuv420p"), "yuv420p", None)
    mean, psnr = meter.add(one, planes("yuv420p", 2, 255), made_up_faces(range(1), np.array([[160.0, 120.0]]), 300.0))
    made = meter.report()
    assert mean == 0
    assert np.isnan(psnr)
    assert (made.samples, made.psnr_db, made.worst_frame, made.frames_identical) == (0, None, None, 0)


def test_faces_without_a_mesh_have_a_region() -> None:
    face = one_face()
    bare = FaceTable(
        **{**{n: getattr(face, n) for n in face.__dataclass_fields__}, "mesh": np.full((1, 468, 2), np.nan)}
    )
    one = planes("gray", 1, 255)
    meter = OutsideMeter(index_of(WIDE, HIGH, "gray"), "gray", None)
    meter.add(one, one, bare)
    assert meter.report().samples < WIDE * HIGH - (40 * REGION_SCALE) ** 2


def test_psnr_of_nothing_and_of_no_difference() -> None:
    assert np.isnan(psnr_db(0, 0, 255))
    assert psnr_db(0, 10, 255) == np.inf
    assert psnr_db(10.0, 10, 255) == pytest.approx(48.1308, abs=1e-4)
