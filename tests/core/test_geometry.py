"""Affine maps, boxes, and the way from coded to displayed pixels."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.geometry import (
    IDENTITY,
    apply,
    box_area,
    compose,
    display_from_coded,
    invert,
    iou,
    level_extent,
    map_boxes,
    scale_of,
    scaling,
    similarity,
    square_crop,
)

SOME_POINTS = np.array([[3.0, 4.0], [10.0, -2.0], [7.0, 9.0], [0.5, 0.25]])


@given(
    st.floats(0.1, 10),
    st.floats(-3, 3),
    st.tuples(st.floats(-500, 500), st.floats(-500, 500)),
)
def test_similarity_finds_the_map_it_was_made_from(scale: float, angle: float, shift: tuple[float, float]) -> None:
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    made = np.array([[c, -s, shift[0]], [s, c, shift[1]]])
    np.testing.assert_allclose(similarity(SOME_POINTS, apply(made, SOME_POINTS)), made, atol=1e-6)
    assert scale_of(made) == pytest.approx(scale)
    np.testing.assert_allclose(compose(invert(made), made), IDENTITY, atol=1e-8)


def test_similarity_is_the_least_squares_one() -> None:
    """Moving any of its four numbers makes the fit worse."""
    target = SOME_POINTS + np.array([[0.3, 0], [0, -0.4], [0.2, 0.1], [-0.3, 0.2]])
    best = similarity(SOME_POINTS, target)

    def error(a: float, b: float, x: float, y: float) -> float:
        affine = np.array(
            [[best[0, 0] + a, -best[1, 0] - b, best[0, 2] + x], [best[1, 0] + b, best[0, 0] + a, best[1, 2] + y]]
        )
        return float(((apply(affine, SOME_POINTS) - target) ** 2).sum())

    least = error(0, 0, 0, 0)
    for axis in range(4):
        for step in (-0.01, 0.01):
            assert error(*(step if axis == other else 0.0 for other in range(4))) > least


@pytest.mark.parametrize("degrees", [0, 90, 180, -90, 270])
def test_display_map_agrees_with_turning_the_picture(degrees: int) -> None:
    picture = np.arange(5 * 7).reshape(5, 7)
    shown = np.rot90(picture, degrees // 90)  # counter-clockwise
    affine, width, height = display_from_coded(7, 5, Fraction(0), degrees)
    assert (height, width) == shown.shape
    for y in range(5):
        for x in range(7):
            column, row = apply(affine, np.array([x, y]))
            assert shown[round(row), round(column)] == picture[y, x]


def test_display_map_stretches_the_longer_side_of_a_pixel() -> None:
    affine, width, height = display_from_coded(720, 576, Fraction(16, 15), 0)
    assert (width, height) == (768, 576)
    np.testing.assert_allclose(apply(affine, np.array([[-0.5, -0.5], [719.5, 575.5]])), [[-0.5, -0.5], [767.5, 575.5]])
    assert display_from_coded(100, 90, Fraction(1, 2), 90)[1:] == (180, 100)


def test_square_crop_puts_the_square_on_the_crop() -> None:
    crop = square_crop(np.array([50.0, 40.0]), 20, 0.0, 10)
    np.testing.assert_allclose(
        apply(crop, np.array([[40.0, 30.0], [60.0, 50.0], [50.0, 40.0]])), [[-0.5] * 2, [9.5] * 2, [4.5] * 2]
    )
    turned = square_crop(np.array([50.0, 40.0]), 20, np.pi / 2, 10)  # eyes one below the other, left one on top
    left, right = apply(turned, np.array([[50.0, 35.0], [50.0, 45.0]]))
    assert left[1] == pytest.approx(right[1])
    assert left[0] < right[0]


def test_boxes() -> None:
    boxes = np.array([[0.0, 0, 10, 10], [5, 5, 15, 15], [20, 20, 20, 25]])
    np.testing.assert_allclose(box_area(boxes), [100, 100, 0])
    np.testing.assert_allclose(iou(boxes, boxes), [[1, 25 / 175, 0], [25 / 175, 1, 0], [0, 0, 0]])
    turned = map_boxes(display_from_coded(30, 30, Fraction(1), 90)[0], boxes[:1])
    np.testing.assert_allclose(turned, [[0, 19, 10, 29]])


def test_maps_without_inverse_are_refused() -> None:
    with pytest.raises(ValueError, match="no inverse"):
        invert(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="coincide"):
        similarity(np.ones((3, 2)), SOME_POINTS[:3])
    np.testing.assert_allclose(apply(scaling(2, 3), np.array([-0.5, -0.5])), [-0.5, -0.5])


@pytest.mark.parametrize("degrees", [0, 30, 90, -135])
def test_level_extent_turns_with_the_points(degrees: int) -> None:
    """A box of 30 by 50 whose first two points lie along its shorter side."""
    points = np.array([[5.0, 10.0], [25.0, 10.0], [0.0, 0.0], [30.0, 50.0], [12.0, 33.0]])
    turn = np.radians(degrees)
    turned = points @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    both = level_extent(np.stack([turned, 2 * turned]), 0, 1)
    np.testing.assert_allclose(both, [50.0, 100.0])
