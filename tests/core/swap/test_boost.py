"""Pixel boost: dealing out and interleaving are inverse, and every picture shows the whole face where it belongs."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.geometry import compose
from core.swap.boost import joined, split
from core.swap.source import crop_from_template


@settings(deadline=None, max_examples=60)
@given(count=st.integers(0, 3), boost=st.integers(1, 8), small=st.integers(1, 9))
def test_round_trip(count: int, boost: int, small: int) -> None:
    side = boost * small
    crops = np.random.default_rng(0).random((count, 3, side, side)).astype(np.float32)
    pictures = split(crops, boost)
    assert pictures.shape == (count * boost * boost, 3, small, small)
    assert np.array_equal(joined(pictures, boost), crops)
    for number in range(count):
        for row in range(boost):
            for column in range(boost):
                picture = pictures[(number * boost + row) * boost + column]
                assert np.array_equal(picture, crops[number, :, row::boost, column::boost])


def test_sizes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="cannot be dealt out"):
        split(np.zeros((1, 3, 10, 10), np.float32), 3)
    with pytest.raises(ValueError, match="do not make crops"):
        joined(np.zeros((7, 3, 4, 4), np.float32), 2)


@pytest.mark.parametrize("boost", [2, 3, 4])
def test_pictures_are_where_the_template_wants_them(boost: int) -> None:
    """The mean of all pictures of a finer crop is the plain crop, up to what averaging over a pixel does."""
    y, x = np.mgrid[0:200, 0:200].astype(np.float32)
    scene = np.sin(x / 23) * np.cos(y / 31)
    crop_from_scene = np.array([[0.8, 0.1, -20.0], [-0.1, 0.8, -5.0]])
    plain = cv2.warpAffine(scene, crop_from_scene, (64, 64))
    finer = cv2.warpAffine(scene, compose(crop_from_template(boost), crop_from_scene), (64 * boost, 64 * boost))
    pictures = split(np.asarray(finer, np.float32)[None, None], boost)
    difference = np.abs(pictures.mean(axis=0)[0] - plain)[2:-2, 2:-2]
    assert difference.max() < 2e-3
    shifted = np.abs(pictures[0, 0] - plain)[2:-2, 2:-2]
    assert shifted.max() > 5 * difference.max(), "one picture alone is off by a part of a pixel"
