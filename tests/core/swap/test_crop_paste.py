"""Crops out and in: exact where nothing is to be computed, nothing touched outside the mask, for any format."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.geometry import apply, compose, invert, scale_of, square_crop
from core.media.colour import conversion
from core.records import Colour, PasteKind
from core.swap.crop import crop_rgb
from core.swap.paste import paste
from tests.frames import FORMATS, copied, disc, noise, same

FLAT = ("yuv444p", "yuv444p12le", "gbrp", "gbrp10le", "gray", "gray10le")  # every plane on the luma grid


KINDS: tuple[PasteKind, ...] = ("feather", "poisson", "multiband")


def bits(pix_fmt: str) -> int:
    return conversion(pix_fmt, Colour(), 100).layout.bits


@settings(deadline=None, max_examples=60)
@given(
    pix_fmt=st.sampled_from(FORMATS),
    width=st.integers(17, 90),
    height=st.integers(17, 90),
    x=st.floats(-20, 110),
    y=st.floats(-20, 110),
    side=st.floats(6, 120),
    angle=st.floats(-3.2, 3.2),
    seed=st.integers(0, 99),
    kind=st.sampled_from(KINDS),
)
def test_nothing_outside_the_mask_is_touched(
    pix_fmt: str, width: int, height: int, x: float, y: float, side: float, angle: float, seed: int, kind: PasteKind
) -> None:
    colours = conversion(pix_fmt, Colour(range=1), height)
    before = noise(width, height, pix_fmt, colours.layout.bits, seed)
    planes = copied(before)
    crop_px = 48
    affine = square_crop((x, y), side, angle, crop_px)
    mask = disc(crop_px, 0.25, 0.1)
    rgb = np.random.default_rng(seed).random((3, crop_px, crop_px), np.float32)
    paste(planes, rgb, mask, affine, colours, kind)
    for number, (old, new) in enumerate(zip(before, planes, strict=True)):
        if number >= colours.layout.colour_planes:
            assert np.array_equal(old, new), "alpha"
            continue
        plane_from_crop = invert(compose(affine, colours.frame_from_plane(number)))
        rows, columns = np.nonzero(old != new)
        there = apply(invert(plane_from_crop), np.stack([columns, rows], axis=1))
        # a blur against aliasing may spread the edge by its kernel: 3 sigma, at most 4 in OpenCV, plus bilinear
        spread = 1.5 + 4 * 0.5 * np.sqrt(max(1 / scale_of(plane_from_crop) ** 2 - 1, 0))
        away = np.hypot(*(there - (crop_px - 1) / 2).T)
        assert len(away) == 0 or away.max() <= 0.35 * crop_px + spread


@settings(deadline=None, max_examples=30)
@given(pix_fmt=st.sampled_from(FORMATS), seed=st.integers(0, 99), full=st.integers(0, 2), kind=st.sampled_from(KINDS))
def test_an_empty_mask_changes_nothing(pix_fmt: str, seed: int, full: int, kind: PasteKind) -> None:
    colours = conversion(pix_fmt, Colour(range=full), 61)
    before = noise(53, 61, pix_fmt, colours.layout.bits, seed)
    planes = copied(before)
    paste(
        planes,
        np.ones((3, 32, 32), np.float32),
        np.zeros((32, 32), np.float32),
        square_crop((30, 30), 20, 0, 32),
        colours,
        kind,
    )
    assert same(before, planes)


@settings(deadline=None, max_examples=30)
@given(
    pix_fmt=st.sampled_from(FLAT),
    x=st.integers(0, 20),
    y=st.integers(0, 20),
    seed=st.integers(0, 99),
    kind=st.sampled_from(KINDS),
)
def test_a_crop_on_the_grid_goes_back_bit_for_bit(pix_fmt: str, x: int, y: int, seed: int, kind: PasteKind) -> None:
    """Full mask, whole-pixel crop, colours within RGB: the frame is the same bits again, however it is pasted."""
    colours = conversion(pix_fmt, Colour(matrix=1, range=1), 64)
    random = np.random.default_rng(seed)
    peak = colours.layout.top_code
    rgb = random.uniform(0.3, 0.7, (3, 64, 64)).astype(np.float32)
    template = noise(64, 64, pix_fmt, colours.layout.bits)
    codes = np.clip(np.rint(colours.to_codes(rgb)), 0, peak)
    before = tuple(plane.astype(kind.dtype) for plane, kind in zip(codes, template, strict=True))
    planes = copied(before)
    affine = np.array([[1.0, 0.0, -x], [0.0, 1.0, -y]])
    crop = crop_rgb(planes, affine, 40, colours)
    paste(planes, crop, np.ones((40, 40), np.float32), affine, colours, kind)
    assert same(before, planes)


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p10le", "yuv411p"])
@pytest.mark.parametrize(("side", "angle"), [(30.0, 0.3), (90.0, -0.5), (200.0, 1.0)])
def test_a_smooth_picture_survives_the_round_trip(pix_fmt: str, side: float, angle: float) -> None:
    """Subsampled chroma, enlarging and shrinking: gradients come back within a step of 8 bits."""
    colours = conversion(pix_fmt, Colour(matrix=1, range=1), 240)
    unit = 1 << (colours.layout.bits - 8)
    before = []
    for number, plane in enumerate(noise(240, 240, pix_fmt, colours.layout.bits)):
        rows, columns = np.mgrid[0 : plane.shape[0], 0 : plane.shape[1]]
        where = apply(colours.frame_from_plane(number), np.stack([columns, rows], axis=-1))
        value = (100 + where[..., 0] / 6) if number == 0 else (118 + where[..., number - 1] / 24)
        before.append(np.rint(value * unit).astype(plane.dtype))
    planes = copied(tuple(before))
    affine = square_crop((120, 118), side, angle, 128)
    crop = crop_rgb(planes, affine, 128, colours)
    paste(planes, crop, disc(128), affine, colours)
    for old, new in zip(before, planes, strict=True):
        assert np.abs(old.astype(int) - new).max() <= 1.5 * unit


def test_a_big_region_is_averaged_not_skipped() -> None:
    """A fine chessboard shrunk eight times is grey, wherever the crop starts."""
    colours = conversion("gray", Colour(), 400)
    board = (np.indices((400, 400)).sum(axis=0) % 2 * 255).astype(np.uint8)
    for start in (0.0, 3.3, 7.0):
        crop = crop_rgb((board,), square_crop((200 + start, 200), 256, 0.2, 32), 32, colours)
        assert np.abs(crop - 0.5).max() < 0.02


def test_the_edge_of_the_picture_continues() -> None:
    colours = conversion("gray", Colour(), 40)
    plane = np.full((40, 40), 77, np.uint8)
    for centre in ((0, 0), (39, 39), (-200, 20), (500, -500)):
        crop = crop_rgb((plane,), square_crop(centre, 30, 0.4, 24), 24, colours)
        assert np.abs(crop * 255 - 77).max() < 1e-3


def test_what_is_pasted_arrives() -> None:
    """A white disc over black: white in the middle of every plane, at half its edge half way."""
    colours = conversion("yuv420p", Colour(matrix=1, range=1), 128)
    planes = (np.full((128, 128), 16, np.uint8), np.full((64, 64), 90, np.uint8), np.full((64, 64), 200, np.uint8))
    affine = square_crop((63.5, 63.5), 100, 0.0, 64)
    paste(planes, np.ones((3, 64, 64), np.float32), disc(64, 0.3, 0.1), affine, colours)
    assert [int(plane[len(plane) // 2, len(plane) // 2]) for plane in planes] == [235, 128, 128]
    edge = planes[0][63, round(63.5 + 35)]
    assert abs(int(edge) - (16 + 235) / 2) < 25


def test_crop_and_opencv_agree() -> None:
    """A moderate enlargement of a picture is plain bilinear sampling."""
    colours = conversion("gbrp", Colour(), 64)
    planes = noise(64, 64, "gbrp", 8, 5)
    affine = square_crop((31, 30), 30, 0.25, 64)
    crop = crop_rgb(planes, affine, 64, colours)
    red = cv2.warpAffine(planes[2].astype(np.float32), affine, (64, 64), flags=cv2.INTER_LINEAR)
    assert np.abs(crop[0] * 255 - red).max() < 0.5
