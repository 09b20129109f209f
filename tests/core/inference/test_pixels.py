"""Colours as numbers: the rules of known models, and back again."""

from __future__ import annotations

import numpy as np
import pytest

from core.inference.manifest import PixelSpec
from core.inference.pixels import colours_of, numbers_of

HALF = PixelSpec(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
IMAGENET = PixelSpec(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
ARCFACE = PixelSpec(scale=1.0, mean=(127.5, 127.5, 127.5), std=(127.5, 127.5, 127.5))
BGR = PixelSpec(order="BGR", scale=1.0, mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 6.0))


@pytest.mark.parametrize("spec", [PixelSpec(), HALF, IMAGENET, ARCFACE, BGR])
def test_numbers_and_back(spec: PixelSpec) -> None:
    samples = np.random.default_rng(2).integers(0, 256, (2, 3, 5, 4)).astype(np.float32)
    colours = samples / np.float32(255)
    numbers = numbers_of(colours, spec)
    ordered = samples[:, ::-1] if spec.order == "BGR" else samples
    for channel in range(3):
        expected = (ordered[:, channel] / spec.scale - spec.mean[channel]) / spec.std[channel]
        assert np.allclose(numbers[:, channel], expected, rtol=1e-5, atol=2e-6)
    assert numbers.dtype == np.float32
    assert numbers.flags.c_contiguous
    assert np.allclose(colours_of(numbers, spec), colours, atol=1e-6)


def test_plain_numbers_are_the_colours_themselves() -> None:
    colours = np.random.default_rng(2).random((1, 3, 4, 4)).astype(np.float32)
    assert np.array_equal(numbers_of(colours, PixelSpec()), colours)
