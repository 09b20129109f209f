"""The visible label as a viewer sees it, on every pixel format, rotation and pixel shape; and the AIGC tag."""

from __future__ import annotations

import json
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from core.errors import InputError
from core.geometry import display_from_coded
from core.media.colour import conversion
from core.media.planes import Plane
from core.records import Colour, MediaIndex
from core.trust.label import TEXT, aigc_tags, draw_label, label_for
from tests.frames import FORMATS, blank, copied, index_of, noise, same

ONE = 65536
UNITS = 1 << 30
MATRICES = {
    0: (ONE, 0, 0, 0, ONE, 0, 0, 0, UNITS),
    90: (0, -ONE, 0, ONE, 0, 0, 0, 0, UNITS),  # counter-clockwise
    180: (-ONE, 0, 0, 0, -ONE, 0, 0, 0, UNITS),
    -90: (0, ONE, 0, -ONE, 0, 0, 0, 0, UNITS),
}


def painted(index: MediaIndex, pix_fmt: str, rgb: tuple[float, float, float]) -> tuple[Plane, ...]:
    """Planes of one colour; alpha transparent."""
    video = index.video
    codes = conversion(pix_fmt, video.colour, video.height).to_codes(np.array(rgb, np.float32).reshape(3, 1))[:, 0]
    planes = blank(video.width, video.height, pix_fmt)
    for plane, code in zip(planes, codes, strict=False):
        plane[...] = np.rint(code)
    return planes


def labelled(index: MediaIndex, pix_fmt: str, rgb: tuple[float, float, float] = (0, 0, 0)) -> tuple[Plane, ...]:
    planes = painted(index, pix_fmt, rgb)
    draw_label(planes, index, pix_fmt)
    return planes


def luma(index: MediaIndex, pix_fmt: str, planes: tuple[Plane, ...]) -> NDArray[np.float32]:
    """Brightness in 0..1 from the first plane (luma, gray, or green)."""
    colours = conversion(pix_fmt, index.video.colour, index.video.height)
    return np.asarray((planes[0].astype(np.float32) - colours.offset[0]) / colours.scale[0], np.float32)


def letters(picture: NDArray[np.float32]) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 of what is nearly white in a picture that was black."""
    rows, columns = np.nonzero(picture > 0.8)
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


@pytest.mark.parametrize("pix_fmt", FORMATS)
def test_size_and_place_on_every_format(pix_fmt: str) -> None:
    index = index_of(641, 361, pix_fmt, colour=Colour(matrix=1, range=1))
    x0, y0, x1, y1 = letters(luma(index, pix_fmt, labelled(index, pix_fmt)))
    assert 0.05 * 361 <= y1 - y0 <= 0.08 * 361
    assert x0 > 641 / 2
    assert 0 < 641 - x1 < 641 / 10
    assert 0 < y0 < 361 / 10


@settings(deadline=None, max_examples=40)
@given(
    pix_fmt=st.sampled_from(FORMATS),
    width=st.integers(48, 400),
    height=st.integers(48, 400),
    sar=st.sampled_from([Fraction(0), Fraction(1), Fraction(16, 11), Fraction(8, 9), Fraction(2), Fraction(1, 2)]),
    rotation=st.sampled_from([0, 90, 180, -90]),
)
def test_nothing_outside_its_box_is_touched(
    pix_fmt: str, width: int, height: int, sar: Fraction, rotation: int
) -> None:
    index = index_of(width, height, pix_fmt, sar=sar, rotation=rotation)
    label = label_for(index, pix_fmt)
    layout = conversion(pix_fmt, Colour(), height).layout
    before = noise(width, height, pix_fmt, layout.bits, 1)
    planes = copied(before)
    label.draw(planes)
    x0, y0, x1, y1 = label.box
    assert 0 <= x0 < x1 <= width
    assert 0 <= y0 < y1 <= height
    for number, (old, new) in enumerate(zip(before, planes, strict=True)):
        step_x, step_y = layout.step if number in (1, 2) else (1, 1)
        kept = np.ones(old.shape, bool)
        kept[y0 // step_y : -(-y1 // step_y), x0 // step_x : -(-x1 // step_x)] = False
        assert np.array_equal(old[kept], new[kept])
    assert not same(before, planes)


@pytest.mark.parametrize("rotation", [0, 90, 180, -90])
@pytest.mark.parametrize("by_matrix", [True, False])
def test_upright_as_displayed(rotation: int, by_matrix: bool) -> None:
    """Turned upright, the labelled frame of a rotated film is the one of an unrotated film, bit for bit."""
    wide, high = (240, 320) if rotation in (90, -90) else (320, 240)
    matrix = MATRICES[rotation] if by_matrix else None
    planes = labelled(index_of(wide, high, "yuv444p", rotation=rotation, matrix=matrix), "yuv444p", (0.2, 0.4, 0.6))
    expected = labelled(index_of(320, 240, "yuv444p"), "yuv444p", (0.2, 0.4, 0.6))
    affine, shown_wide, shown_high = display_from_coded(wide, high, Fraction(1), rotation)
    rows, columns = np.mgrid[0:high, 0:wide]
    x, y = np.rint(np.stack([columns, rows], axis=-1) @ affine[:, :2].T + affine[:, 2]).astype(int).transpose(2, 0, 1)
    assert (shown_wide, shown_high) == (320, 240)
    for coded, upright in zip(planes, expected, strict=True):
        shown = np.zeros((shown_high, shown_wide), np.uint8)
        shown[y, x] = coded
        assert np.array_equal(shown, upright)


def test_mirrored_films_get_a_mirrored_label() -> None:
    """A display matrix that mirrors: the coded frame carries the letters backwards, at the coded top left."""
    matrix = (-ONE, 0, 0, 0, ONE, 0, 0, 0, UNITS)
    mirrored = labelled(index_of(320, 240, "gray", matrix=matrix), "gray")
    assert np.array_equal(mirrored[0][:, ::-1], labelled(index_of(320, 240, "gray"), "gray")[0])


@pytest.mark.parametrize("sar", [Fraction(16, 11), Fraction(1, 2), Fraction(2)])
@pytest.mark.parametrize("rotation", [0, 90])
def test_height_and_shape_hold_for_any_pixel_shape(sar: Fraction, rotation: int) -> None:
    """Letters are 5 % of the displayed shortest side, and as wide as with square pixels."""
    stretch = np.array([float(max(sar, 1)), float(1 / min(sar, Fraction(1)))])

    def shown(index: MediaIndex) -> NDArray[np.float64]:
        x0, y0, x1, y1 = letters(luma(index, "gray", labelled(index, "gray")))
        return np.sort(np.array([x1 - x0, y1 - y0]) * stretch)

    index = index_of(400, 300, "gray", sar=sar, rotation=rotation)
    short, long = shown(index)
    assert label_for(index, "gray").cap_px >= 0.05 * (np.array([400, 300]) * stretch).min()
    assert short >= 0.05 * (np.array([400, 300]) * stretch).min() - stretch.max()  # in whole coded pixels
    stretch, square = np.ones(2), stretch
    wide, high = np.rint(np.array([400, 300]) * square).astype(int)
    plain = shown(index_of(int(wide), int(high), "gray", rotation=rotation))
    assert np.abs(np.array([short, long]) - plain).max() <= 2 * square.max()


@pytest.mark.parametrize("background", [(0, 0, 0), (1, 1, 1), (0.5, 0.5, 0.5), (1, 1, 0), (0, 0, 1)])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "gbrp", "yuv420p10le"])
def test_readable_on_any_background(background: tuple[float, float, float], pix_fmt: str) -> None:
    """Letters stay white and what lies between them stays dark."""
    index = index_of(640, 360, pix_fmt, colour=Colour(matrix=1, range=1))
    on_black = luma(index, pix_fmt, labelled(index, pix_fmt))
    x0, y0, x1, y1 = letters(on_black)
    ink = on_black[y0:y1, x0:x1] > 0.95
    picture = luma(index, pix_fmt, labelled(index, pix_fmt, background))[y0:y1, x0:x1]
    assert picture[ink].min() > 0.94
    assert np.median(picture[~ink]) < 0.42
    assert 0.15 < ink.mean() < 0.5


def test_edges_are_smooth() -> None:
    assert len(np.unique(labelled(index_of(1280, 720, "gray"), "gray")[0])) > 50


def test_the_same_label_every_time() -> None:
    index = index_of(352, 288, "yuv420p")
    label = label_for(index, "yuv420p")
    first, second = (painted(index, "yuv420p", (0.3, 0.2, 0.1)) for _ in range(2))
    label.draw(first)
    draw_label(second, index, "yuv420p")
    assert same(first, second)


def test_white_of_hdr_is_graphics_white() -> None:
    """Full PQ signal would be 10 000 cd/m2; graphics stand at 203."""
    index = index_of(640, 360, "yuv420p10le", colour=Colour(9, 16, 9, 1))
    picture = luma(index, "yuv420p10le", labelled(index, "yuv420p10le"))
    assert picture.max() == pytest.approx(0.58, abs=0.005)


def test_the_label_is_opaque() -> None:
    planes = labelled(index_of(320, 240, "yuva420p"), "yuva420p")
    assert planes[3].max() == 255
    assert planes[3][200, 20] == 0


@pytest.mark.parametrize(("width", "height"), [(90, 400), (120, 2000), (48, 300)])
@pytest.mark.parametrize("text", [TEXT, "AI MODIFIED BY AN EXTRAORDINARILYLONGNAMEDPRODUCER", "AI MODIFIED " * 4])
def test_long_labels_fit_into_narrow_pictures(width: int, height: int, text: str) -> None:
    label = label_for(index_of(width, height, "gray"), "gray", text)
    x0, y0, x1, y1 = label.box
    assert 0 <= x0 < x1 <= width
    assert 0 <= y0 < y1 <= height
    assert label.cap_px >= 0.05 * min(width, height)


def test_a_label_that_cannot_fit_is_an_error() -> None:
    with pytest.raises(InputError, match="too small to be labelled"):
        label_for(index_of(64, 64, "gray"), "gray", "AI MODIFIED " * 40)


@pytest.mark.parametrize(("width", "height"), [(16, 16), (3840, 2160), (128, 96), (127, 95)])
def test_any_size_of_film(width: int, height: int) -> None:
    index = index_of(width, height, "yuv420p")
    assert label_for(index, "yuv420p").cap_px >= 0.05 * min(width, height)
    assert labelled(index, "yuv420p")[0].max() > 60


def test_aigc_tag() -> None:
    tags = aigc_tags("f00d")
    assert list(tags) == ["AIGC"]
    fields = json.loads(tags["AIGC"])
    assert list(fields.items()) == [
        ("Label", "1"),
        ("ContentProducer", "face-farm"),
        ("ProduceID", "f00d"),
        ("ReservedCode1", ""),
        ("ContentPropagator", ""),
        ("PropagateID", ""),
        ("ReservedCode2", ""),
    ]
