"""Colours of a new face: statistics inside the mask become the target's, structure stays, extremes do no harm."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.records import ColourKind, Float32Array
from core.swap.tone import OPPONENT, SPREAD_RANGE, matched
from tests.frames import disc

KINDS: tuple[ColourKind, ...] = ("mean", "histogram", "light")
SIDE = 96
MASK = disc(SIDE)


def picture(seed: int, low: float = 0.2, high: float = 0.8) -> Float32Array:
    """A smooth random picture [3,S,S] with values in low..high."""
    raw = np.random.default_rng(seed).random((12, 12, 3), np.float32)
    smooth = cv2.resize(raw, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC).transpose(2, 0, 1)
    return np.asarray(low + (high - low) * np.clip(smooth, 0, 1), np.float32)


def mean_of(crop: Float32Array) -> Float32Array:
    return np.asarray((crop * MASK).sum(axis=(1, 2)) / MASK.sum(), np.float32)


@pytest.mark.parametrize("kind", ["none", *KINDS])
def test_an_empty_mask_or_none_leaves_the_face(kind: ColourKind) -> None:
    fresh = picture(1)
    assert np.array_equal(matched(fresh, picture(2), np.zeros((SIDE, SIDE), np.float32), kind), fresh)
    assert np.array_equal(matched(fresh, picture(2), MASK, "none"), fresh)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_face_stays(kind: ColourKind) -> None:
    fresh = picture(1)
    inside = MASK > 0
    assert np.abs(matched(fresh, fresh, MASK, kind) - fresh)[:, inside].max() < 0.02


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("gain", "shift"), [(0.5, 0.1), (1.2, 0.0), (0.8, -0.1)])
def test_a_face_in_other_light_comes_back(kind: ColourKind, gain: float, shift: float) -> None:
    target = picture(3)
    tint = np.array([1.0, 0.9, 1.1], np.float32)[:, None, None]
    fresh = np.asarray(np.clip(target * gain * tint + shift, 0, 1), np.float32)
    made = matched(fresh, target, MASK, kind)
    before, after = np.abs(mean_of(fresh) - mean_of(target)).max(), np.abs(mean_of(made) - mean_of(target)).max()
    assert after < 0.25 * before
    assert after < 0.02


def test_mean_gives_mean_and_deviation() -> None:
    fresh, target = picture(4, 0.4, 0.6), picture(5, 0.35, 0.65)
    made = np.einsum("kc,chw->khw", OPPONENT, matched(fresh, target, MASK, "mean"))
    want = np.einsum("kc,chw->khw", OPPONENT, target)
    for got, expected in zip(made, want, strict=True):
        means = [np.average(channel, weights=MASK) for channel in (got, expected)]
        spreads = [
            np.sqrt(np.average((channel - mean) ** 2, weights=MASK))
            for channel, mean in zip((got, expected), means, strict=True)
        ]
        assert means[0] == pytest.approx(means[1], abs=1e-3)
        assert spreads[0] == pytest.approx(spreads[1], rel=0.01)


def test_a_flat_face_is_not_blown_up() -> None:
    noise = np.random.default_rng(0).normal(0, 0.002, (3, SIDE, SIDE)).astype(np.float32)
    fresh = np.float32(0.5) + noise
    inside = MASK == 1
    for kind in ("mean", "histogram"):
        made = matched(fresh, picture(6, 0, 1), MASK, kind)
        assert made[:, inside].std(axis=1).max() < 3 * SPREAD_RANGE * 0.002


def test_histogram_gives_the_target_s_distribution() -> None:
    fresh, target = picture(7, 0.3, 0.6), picture(8, 0.2, 0.7)
    made = matched(fresh, target, MASK, "histogram")
    inside = MASK == 1
    for part in (10, 25, 50, 75, 90):
        got, want = (np.percentile(c[:, inside], part, axis=1) for c in (made, target))
        assert np.abs(got - want).max() < 0.03


def test_light_keeps_detail_and_takes_the_shadow() -> None:
    """A shadow from left to right arrives, stripes of 4 px stay."""
    x = np.linspace(0, 1, SIDE, dtype=np.float32)
    stripes = 0.05 * np.sign(np.sin(np.arange(SIDE) * np.pi / 2 + 0.1)).astype(np.float32)
    fresh = np.broadcast_to(0.5 + stripes[None, :, None], (3, SIDE, SIDE)).astype(np.float32)
    target = np.broadcast_to((0.3 + 0.4 * x)[None, None], (3, SIDE, SIDE)).astype(np.float32)
    made = matched(fresh, target, np.ones((SIDE, SIDE), np.float32), "light")
    assert np.abs(made.mean(axis=1) - (0.3 + 0.4 * x))[:, 8:-8].max() < 0.03
    rows = made[:, :, 48]
    assert rows.std() == pytest.approx(0.05, rel=0.15)


@settings(deadline=None, max_examples=30)
@given(kind=st.sampled_from(KINDS), seed=st.integers(0, 999), dark=st.booleans(), radius=st.floats(0.01, 0.4))
def test_always_a_picture(kind: ColourKind, seed: int, dark: bool, radius: float) -> None:
    random = np.random.default_rng(seed)
    fresh = random.random((3, SIDE, SIDE), np.float32)
    target = np.zeros_like(fresh) if dark else random.random((3, SIDE, SIDE), np.float32)
    made = matched(fresh, target, disc(SIDE, radius, 0.05), kind)
    assert made.shape == fresh.shape
    assert made.dtype == np.float32
    assert 0 <= made.min() <= made.max() <= 1
