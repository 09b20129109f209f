"""Smoothing: no lag, no bent movement, less trembling."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from core.faces.smooth import MOVEMENT_SIGMA, SHAPE_SIGMA, MeanShape, TrackSmoother, Window
from tests.faces_assets import made_up_faces

Array = NDArray[np.float64]


def smooth_series(time: NDArray[np.int64], values: Array, sigma: float) -> Array:
    window = Window(time, sigma)
    return np.stack([window.smooth(at, dict(enumerate(values))) for at in range(len(time))])


def smooth_track(time: NDArray[np.int64], mesh: Array, others: Array) -> tuple[Array, Array]:
    mean = MeanShape(mesh[0])
    for one in mesh:
        mean.add(one)
    smoother = TrackSmoother(time, mean.shape())
    pairs = [pair for one, other in zip(mesh, others, strict=True) for pair in smoother.add(one, other)]
    return np.stack([pair[0] for pair in pairs]), np.stack([pair[1] for pair in pairs])


@given(st.integers(1, 40), st.integers(0, 2**32 - 1), st.sampled_from([MOVEMENT_SIGMA, SHAPE_SIGMA, 4.0]))
def test_parabolas_pass_unchanged_at_any_frame_times(count: int, seed: int, sigma: float) -> None:
    """Constant acceleration is neither delayed nor cut short, in variable frame rate too, up to the very ends."""
    random = np.random.default_rng(seed)
    time = np.cumsum(random.integers(1, 4, count)) * 100
    values = 3.0 + 0.02 * time[:, None] - np.array([1e-5, 2e-5]) * time[:, None] ** 2
    np.testing.assert_allclose(smooth_series(time, values, sigma), values, rtol=1e-5, atol=1e-4)


def test_nothing_lags() -> None:
    """A wave after smoothing is in step with itself: the best shift between them is none."""
    time = np.arange(200)
    wave = np.sin(2 * np.pi * time / 17)
    smooth = smooth_series(time, wave[:, None], SHAPE_SIGMA)[:, 0]
    agreement = [float(np.dot(wave[20:-20], np.roll(smooth, shift)[20:-20])) for shift in (-1, 0, 1)]
    assert agreement[1] > agreement[0]
    assert agreement[1] > agreement[2]
    assert agreement[0] == pytest.approx(agreement[2], rel=1e-2)
    backwards = smooth_series(time, wave[::-1, None], SHAPE_SIGMA)[::-1, 0]
    np.testing.assert_allclose(backwards, smooth, atol=1e-12)


def test_trembling_falls_and_movement_stays() -> None:
    random = np.random.default_rng(5)
    time = np.arange(60)
    path = np.stack([200 + 40 * np.sin(time / 9), 150 + 0.05 * (time - 30) ** 2], axis=1)
    clean = made_up_faces(range(60), path).mesh.astype(np.float64)
    noisy = clean + random.normal(0, 1.0, clean.shape)
    smooth, _ = smooth_track(time, noisy, np.zeros((60, 0, 2)))

    def trembling(mesh: Array) -> float:
        return float(np.sqrt((np.diff(mesh - clean, n=2, axis=0) ** 2).mean()))

    def error(mesh: Array) -> float:
        return float(np.sqrt(((mesh - clean) ** 2).mean()))

    assert trembling(smooth) < 0.4 * trembling(noisy)
    assert error(smooth) < 0.75 * error(noisy)
    centre = smooth.mean(axis=1) - clean.mean(axis=1)
    assert np.abs(centre).max() < 0.3  # the face as a whole stays where it is


def test_short_tracks_are_left_alone() -> None:
    for count in (1, 2):
        mesh = made_up_faces(range(count), np.full((count, 2), 100.0) + np.arange(count)[:, None]).mesh.astype(float)
        smooth, others = smooth_track(np.arange(count), mesh, mesh[:, :7])
        np.testing.assert_allclose(smooth, mesh, atol=1e-3)
        np.testing.assert_allclose(others, mesh[:, :7], atol=1e-3)
