"""RGB and code values: known colours, exact returns, agreement with swscale, chroma positions."""

from __future__ import annotations

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import InputError
from core.media.colour import LUMA_WEIGHTS, YCGCO, conversion, layout_of
from core.media.planes import plane_views
from core.records import Colour
from tests.frames import FORMATS

RED, GREEN, BLUE, WHITE, BLACK = np.vstack([np.eye(3), np.ones(3), np.zeros(3)])


@pytest.mark.parametrize(
    ("pix_fmt", "colour", "rgb", "codes"),
    [
        ("yuv420p", Colour(matrix=1, range=1), WHITE, (235, 128, 128)),
        ("yuv420p", Colour(matrix=1, range=1), BLACK, (16, 128, 128)),
        ("yuv420p", Colour(matrix=6, range=1), RED, (81, 90, 240)),
        ("yuv420p", Colour(matrix=6, range=1), GREEN, (145, 54, 34)),
        ("yuv420p", Colour(matrix=1, range=1), BLUE, (32, 240, 118)),
        ("yuv420p10le", Colour(matrix=9, range=1), WHITE, (940, 512, 512)),
        ("yuv420p10le", Colour(matrix=9, range=1), RED, (294, 387, 960)),
        ("yuvj420p", Colour(matrix=6), WHITE, (255, 128, 128)),
        ("gbrp", Colour(), RED, (0, 0, 255)),
        ("gbrp10le", Colour(), GREEN, (1023, 0, 0)),
        ("gray", Colour(), WHITE, (255,)),
        ("gray", Colour(range=1), WHITE, (235,)),
    ],
)
def test_known_colours(pix_fmt: str, colour: Colour, rgb: np.ndarray, codes: tuple[int, ...]) -> None:
    found = conversion(pix_fmt, colour, 720).to_codes(rgb.reshape(3, 1).astype(np.float32))[:, 0]
    assert np.rint(found).tolist() == list(codes)


@settings(deadline=None, max_examples=60)
@given(
    pix_fmt=st.sampled_from(FORMATS),
    matrix=st.sampled_from([2, YCGCO, *sorted(LUMA_WEIGHTS)]),
    full=st.integers(0, 2),
    height=st.sampled_from([480, 1080]),
    seed=st.integers(0, 2**16),
)
def test_codes_come_back(pix_fmt: str, matrix: int, full: int, height: int, seed: int) -> None:
    """Any code values, also outside the legal range, return within a hundredth of an 8-bit step."""
    colours = conversion(pix_fmt, Colour(matrix=matrix, range=full), height)
    codes = np.random.default_rng(seed).integers(0, colours.layout.top_code + 1, (colours.layout.colour_planes, 50))
    back = colours.to_codes(colours.to_rgb(codes.astype(np.float32)))
    assert np.abs(back - codes).max() < 0.01 * 2 ** max(colours.layout.bits - 8, 0)


@pytest.mark.parametrize(("number", "range_"), [(1, 1), (5, 1), (9, 1), (1, 2), (5, 2)])
def test_agrees_with_swscale(number: int, range_: int) -> None:
    # moderate colours: swscale clips what lies outside RGB
    random = np.random.default_rng(3)
    frame = av.VideoFrame(64, 48, "yuv444p")
    for plane, (low, high) in zip(plane_views(frame), [(60, 180), (110, 146), (110, 146)], strict=True):
        plane[...] = random.integers(low, high, plane.shape)
    codes = np.stack(plane_views(frame)).astype(np.float32)
    ours = conversion("yuv444p", Colour(matrix=number, range=range_), 720).to_rgb(codes)
    frame.colorspace = number
    theirs = frame.reformat(format="rgb24", src_colorspace=number, src_color_range=range_).to_ndarray()
    assert np.abs(np.rint(ours * 255) - theirs.transpose(2, 0, 1)).max() <= 2


def test_unspecified_matrix_goes_by_height() -> None:
    rgb = np.array([[1.0], [0.0], [0.0]], np.float32)
    by_height = [conversion("yuv420p", Colour(), height).to_codes(rgb)[0, 0] for height in (576, 577)]
    stated = [conversion("yuv420p", Colour(matrix=matrix), 1).to_codes(rgb)[0, 0] for matrix in (6, 1)]
    assert by_height == stated


@pytest.mark.parametrize(
    ("pix_fmt", "location", "first", "step"),
    [
        ("yuv420p", 0, (0.0, 0.5), (2, 2)),
        ("yuv420p", 1, (0.0, 0.5), (2, 2)),
        ("yuv420p", 2, (0.5, 0.5), (2, 2)),
        ("yuv420p", 3, (0.0, 0.0), (2, 2)),
        ("yuvj420p", 0, (0.5, 0.5), (2, 2)),
        ("yuv422p", 0, (0.0, 0.0), (2, 1)),
        ("yuv411p", 2, (1.5, 0.0), (4, 1)),
        ("yuv440p", 0, (0.0, 0.5), (1, 2)),
        ("yuv444p", 0, (0.0, 0.0), (1, 1)),
    ],
)
def test_chroma_positions(pix_fmt: str, location: int, first: tuple[float, float], step: tuple[int, int]) -> None:
    affine = conversion(pix_fmt, Colour(chroma_location=location), 720).frame_from_plane(1)
    assert tuple(affine[:, 2]) == first
    assert (affine[0, 0], affine[1, 1]) == step


def test_layouts() -> None:
    assert layout_of("yuva422p10le").alpha
    assert layout_of("gbrap12le").kind == "gbr"
    assert layout_of("gray16le").colour_planes == 1
    for refused in ("nv12", "rgb24", "pal8", "gbrpf32le", "ya8", "nonsense"):
        with pytest.raises(InputError):
            layout_of(refused)
