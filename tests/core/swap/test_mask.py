"""Masks: where they are 0 and 1, how they rise, that they end at the crop's rim."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from core.swap.mask import feathered, filled, filled_hull, lined, softened

SQUARE = (0, 1, 2, 3)


def square(low: float, high: float) -> np.ndarray:
    return np.array([[low, low], [high, low], [high, high], [low, high]], np.float32)


def test_a_polygon_covers_its_area() -> None:
    cover = filled(square(10, 40), SQUARE, 64)
    assert cover[25, 25] == 1
    assert cover[5, 25] == 0
    assert abs(cover.sum() - 31 * 31) < 40  # the corners are pixel centres, and the rim is soft


def test_a_polygon_moves_by_fractions() -> None:
    """A shape that slides by an eighth of a pixel changes its mask by about that much: no jumping."""
    sums = [filled(square(10, 40) + np.array([shift / 8, 0], np.float32), SQUARE, 64)[25] for shift in range(9)]
    steps = [float(np.abs(b - a).sum()) for a, b in pairwise(sums)]
    assert max(steps) < 0.6


def test_a_folded_outline_has_no_hole() -> None:
    bow_tie = square(10, 40)[[0, 2, 1, 3]]
    assert filled_hull(bow_tie, SQUARE, 64)[12:38, 12:38].min() == 1
    assert filled(bow_tie, SQUARE, 64)[12, 25] == 0


def test_a_line_is_open_or_closed() -> None:
    closed, open_ = (lined(square(10, 40), SQUARE, 64, 1, closed=flag) for flag in (True, False))
    assert closed[25, 10] > 0.5
    assert open_[25, 10] == 0
    assert open_[25, 40] > 0.5
    assert closed[25, 25] == 0


@settings(deadline=None, max_examples=40)
@given(low=st.floats(-60, 40), size=st.floats(5, 200), width=st.floats(0.5, 30))
def test_feathered_masks_vanish_at_every_edge(low: float, size: float, width: float) -> None:
    cover = filled(square(low, low + size), SQUARE, 96)
    mask = feathered(cover, width)
    assert mask.min() >= 0
    assert mask.max() <= 1
    assert not mask[cover < 0.5].any()
    assert not np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]]).any()
    # smoothstep rises by 1.5 / width a pixel at the most; across a diagonal step the depth grows by up to sqrt(2)
    assert np.abs(np.diff(mask, axis=0)).max() <= 1.5 / max(width, 1) * 1.1 + 1e-6


def test_feather_reaches_one_after_its_width() -> None:
    mask = feathered(filled(square(8, 87), SQUARE, 96), 10.0)
    assert mask[48, 20] == 1
    assert 0.4 < mask[48, 12] < 0.6


def test_softening_keeps_the_sum() -> None:
    cover = filled(square(30, 60), SQUARE, 96)
    assert abs(float(softened(cover, 2.0).sum() - cover.sum())) < 1
