"""Smoothing of tracks with known positions: still faces stand still, moving ones are followed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from core.faces.smooth import MeanShape, TrackSmoother
from core.faces.windows import CHUNK, MARGIN
from tests.faces_assets import shape_of_dots

Array = NDArray[np.float64]
RADIUS_PX = 50.0
FIVE = np.array([[-20.0, -15.0], [20.0, -15.0], [0.0, 5.0], [-15.0, 25.0], [15.0, 25.0]])
BOX = np.array([[-45.0, -60.0], [45.0, 60.0]])


def faces_at(centre: Array, turn: NDArray[Any] | float = 0.0, scale: NDArray[Any] | float = 1.0) -> tuple[Array, Array]:
    """Meshes [n,468,2], and five points and box [n,7,2], of a stiff face of 100 px at `centre` [n,2]."""
    factor = np.broadcast_to(np.asarray(scale * np.exp(1j * np.asarray(turn))), len(centre))[:, None]

    def placed(points: Array) -> Array:
        flat = factor * (points[:, 0] + 1j * points[:, 1]) + (centre[:, :1] + 1j * centre[:, 1:])
        return np.stack([flat.real, flat.imag], axis=-1)

    upright = centre[:, None] + np.abs(factor)[..., None] * BOX
    return placed(RADIUS_PX * shape_of_dots()), np.concatenate([placed(FIVE), upright], axis=1)


def smooth(time: NDArray[np.int64], mesh: Array | None, others: Array, bare: frozenset[int] = frozenset()) -> Array:
    """The points [n,475,2] of a track smoothed; frames in `bare` have no mesh, and all of them where it is None."""
    mean = np.full((468, 2), np.nan)
    if mesh is not None:
        shape = MeanShape(mesh[0])
        for one in mesh:
            shape.add(one)
        mean = shape.shape()
    smoother = TrackSmoother(time, mean)
    out = []
    for frame in range(len(time)):
        meshed = mesh is not None and frame not in bare
        out += smoother.add(mesh[frame] if mesh is not None and meshed else None, others[frame])
        assert len(out) <= max(0, frame + 1 - MARGIN) or frame == len(time) - 1
    assert len(out) == len(time)
    nothing = np.full((468, 2), np.nan)
    return np.array([np.concatenate([nothing if points is None else points, other]) for points, other in out])


def wandering(random: np.random.Generator, frames: int, points: int, sigma: float, memory: float) -> Array:
    """Noise [n,points,2] of a standard deviation that is alike from frame to frame as far as `memory` tells, 0 to 1."""
    fresh = random.normal(0, sigma, (frames, points, 2))
    for frame in range(1, frames):
        fresh[frame] = memory * fresh[frame - 1] + np.sqrt(1 - memory**2) * fresh[frame]
    return fresh


def motions(frames: int) -> dict[str, tuple[Array, Array, Array]]:
    """Centre [n,2], turn [n] and scale [n] of faces that move."""
    t = np.arange(frames) - frames / 2
    still, one = np.zeros(frames), np.ones(frames)
    ways = {
        "speed": (1.5 * t, still, one),
        "acceleration": (0.01 * t**2, still, one),
        "start and stop": (3.0 * np.clip(t + 20, 0, 40), still, one),
        "slow start": (0.01 * np.clip(t + 20, 0, None) ** 2, still, one),
        "nod": (8 * np.sin(2 * np.pi * t / 20), 0.05 * np.sin(2 * np.pi * t / 20), one),
        "shake": (12 * np.sin(2 * np.pi * t / 9), still, one),
        "zoom": (0.1 * t, still, np.exp(t / 300)),
    }
    return {name: (np.stack([300 + x, 200 + x / 3], axis=1), turn, scale) for name, (x, turn, scale) in ways.items()}


@pytest.mark.parametrize("name", motions(1))
def test_without_noise_every_movement_passes_unchanged(name: str) -> None:
    mesh, others = faces_at(*motions(180)[name])
    time = np.arange(180) * 512
    np.testing.assert_allclose(smooth(time, mesh, others), np.concatenate([mesh, others], axis=1), atol=0.02)
    np.testing.assert_allclose(smooth(time, None, others)[:, 468:], others, atol=0.02)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_parabolas_pass_unchanged_at_any_frame_times(count: int, seed: int) -> None:
    """Constant acceleration is neither delayed nor cut short, in variable frame rate too, up to the very ends."""
    random = np.random.default_rng(seed)
    time = np.cumsum(random.integers(1, 5, count)) * 100
    seconds = (time - time[0]) / 1000
    x = 100 + random.uniform(-20, 20) * seconds + random.uniform(-4, 4) * seconds**2
    mesh, others = faces_at(np.stack([x, 2 * x], axis=1))
    np.testing.assert_allclose(smooth(time, mesh, others), np.concatenate([mesh, others], axis=1), atol=0.02)


@pytest.mark.parametrize("memory", [0.0, 0.7])
@pytest.mark.parametrize("name", motions(1))
def test_moving_faces_have_no_lag(name: str, memory: float) -> None:
    """Over many noises, the mean error along the movement is below a tenth of a pixel: in all, and in every frame.

    The noise is what the detector and mesh have, 0.3 px for points of the mesh that move as one by half of that. Where
    a movement begins or ends at once, or turns within few frames, single frames may be off by more.
    """
    frames, seeds = 180, 8
    centre, turn, scale = motions(frames)[name]
    mesh, others = faces_at(centre, turn, scale)
    truth = np.concatenate([mesh, others], axis=1)
    time = np.arange(frames) * 512
    speed = np.gradient(centre, axis=0)
    along = speed / np.maximum(np.linalg.norm(speed, axis=1, keepdims=True), 1e-9)
    moving = np.linalg.norm(speed, axis=1) > 0.02
    errors, raw = [], []
    for seed in range(seeds):
        random = np.random.default_rng(seed)
        noise = wandering(random, frames, 475, 0.3, memory)
        noise[:, :468] = noise[:, :468] / 2 + wandering(random, frames, 1, 0.15, memory)
        noisy = truth + noise
        out = smooth(time, noisy[:, :468], noisy[:, 468:])
        errors.append((out - truth)[:, :468].mean(axis=1))
        raw.append((noisy - truth)[:, :468].mean(axis=1))
    error = np.mean(errors, axis=0)
    chance = np.mean(raw, axis=0)
    lag = (error * along).sum(axis=1)[moving]
    assert abs(lag.mean()) < 0.1
    assert np.abs(lag).mean() < (0.15 if name == "shake" else 0.1)
    assert np.abs(lag - (chance * along).sum(axis=1)[moving]).max() < 0.4
    # And smoothing brings nothing further from the truth than the noise alone.
    assert np.sqrt(np.mean(np.square(errors))) < (1.15 if name == "shake" else 1.0) * np.sqrt(np.mean(np.square(raw)))


def test_fast_movement_is_not_blurred() -> None:
    """The size of a head's shaking, 12 px to a side in 9 frames, stays within a hundredth."""
    centre, turn, scale = motions(180)["shake"]
    mesh, others = faces_at(centre, turn, scale)
    noise = np.random.default_rng(3).normal(0, 0.3, (180, 475, 2))
    out = smooth(np.arange(180), mesh + noise[:, :468], others + noise[:, 468:])
    x, true = out[:, :468, 0].mean(axis=1) - 300, centre[:, 0] - 300
    assert float((x * true).sum() / (true * true).sum()) == pytest.approx(1, abs=0.01)


def test_a_blink_is_not_blurred() -> None:
    """Some points jump away for three frames while the others tremble."""
    still = np.tile([[300.0, 200.0]], (120, 1))
    mesh, others = faces_at(still)
    mesh = mesh + np.random.default_rng(4).normal(0, 0.15, mesh.shape)
    mesh[60:63, 100:120, 1] += 5
    out = smooth(np.arange(120), mesh, others)[:, 100:120, 1]
    opened = np.median(out[:50], axis=0)
    np.testing.assert_allclose(out[60:63].mean(axis=1) - opened.mean(), 5, atol=0.25)
    np.testing.assert_allclose(out[[55, 58, 64, 67]].mean(axis=1) - opened.mean(), 0, atol=0.25)


@pytest.mark.parametrize(("frames", "memory"), [(40, 0.0), (120, 0.0), (300, 0.0), (120, 0.8)])
def test_a_still_face_trembles_a_fifth(frames: int, memory: float) -> None:
    """Law 4 with noise that is known: the deviation from the mean and the steps from frame to frame fall to a fifth."""
    random = np.random.default_rng(6)
    mesh, others = faces_at(np.tile([[300.0, 200.0]], (frames, 1)))
    truth = np.concatenate([mesh, others], axis=1)
    noise = wandering(random, frames, 475, 0.15, memory) + wandering(random, frames, 1, 0.05, memory)
    time = np.cumsum(random.integers(32, 35, frames))
    for out, points in (
        (smooth(time, (truth + noise)[:, :468], (truth + noise)[:, 468:]), slice(0, 475)),
        (smooth(time, None, (truth + noise)[:, 468:]), slice(468, 475)),
    ):
        left, raw = (out - truth)[:, points], noise[:, points]
        assert np.std(left - left.mean(axis=0)) < 0.2 * np.std(raw - raw.mean(axis=0))
        assert np.std(np.diff(left, axis=0)) < 0.2 * np.std(np.diff(raw, axis=0))


def test_frames_without_a_mesh_are_smoothed_by_their_five_points() -> None:
    frames = 200
    random = np.random.default_rng(7)
    centre, turn, scale = motions(frames)["nod"]
    mesh, others = faces_at(centre, turn, scale)
    noisy = others + random.normal(0, 0.3, others.shape)
    bare = frozenset([*range(20), 57, *range(120, 180)])
    out = smooth(np.arange(frames), mesh, noisy, bare)
    assert np.isnan(out[sorted(bare), :468]).all()
    meshed = [frame for frame in range(frames) if frame not in bare]
    np.testing.assert_allclose(out[meshed, :468], mesh[meshed], atol=0.05)
    error, raw = (np.sqrt(np.mean((points - others) ** 2, axis=(1, 2))) for points in (out[:, 468:], noisy))
    assert np.sqrt(np.mean(error[meshed] ** 2)) < 0.5 * np.sqrt(np.mean(raw[meshed] ** 2))
    assert np.sqrt(np.mean(error[sorted(bare)] ** 2)) < 0.9 * np.sqrt(np.mean(raw[sorted(bare)] ** 2))


def test_faces_filled_in_are_smoothed_with_their_neighbours() -> None:
    """With every fifth frame looked at, a still face trembles no more than a fifth of what it did."""
    frames = 201
    random = np.random.default_rng(9)
    mesh, others = faces_at(np.tile([[300.0, 200.0]], (frames, 1)))
    truth = np.concatenate([mesh, others], axis=1)
    looks = np.arange(0, frames, 5)
    noisy = truth.copy()
    noisy[looks] += random.normal(0, 0.15, truth[looks].shape)
    between = np.array([np.interp(np.arange(frames), looks, column) for column in noisy[looks].reshape(41, -1).T])
    noisy = between.T.reshape(truth.shape)
    shape = MeanShape(noisy[0, :468])
    shape.add(noisy[0, :468])
    smoother = TrackSmoother(np.arange(frames), shape.shape())
    out = []
    for frame in range(frames):
        out += smoother.add(noisy[frame, :468], noisy[frame, 468:], found=frame % 5 == 0)
    left = np.array([np.concatenate([points, other]) for points, other in out if points is not None]) - truth
    assert len(left) == frames
    assert np.std(left - left.mean(axis=0)) < 0.2 * np.std((noisy - truth) - (noisy - truth).mean(axis=0))
    assert np.std(np.diff(left, axis=0)) < 0.2 * np.std(np.diff(noisy - truth, axis=0))


def test_it_does_not_matter_when_a_film_starts_or_how_its_time_is_counted() -> None:
    frames = CHUNK + 30
    random = np.random.default_rng(8)
    mesh, others = faces_at(*motions(frames)["nod"])
    mesh = mesh + random.normal(0, 0.2, mesh.shape)
    time = np.cumsum(random.integers(32, 35, frames))
    first = smooth(time, mesh, others)
    np.testing.assert_array_equal(smooth(time, mesh, others), first)
    np.testing.assert_array_equal(smooth(time + 900_000, mesh, others), first)
    np.testing.assert_allclose(smooth(time * 90, mesh, others), first, atol=1e-3)
    np.testing.assert_allclose(smooth(time, mesh + 1000, others + 1000) - 1000, first, atol=0.01)


def test_odd_tracks() -> None:
    """One to six frames, frames far apart in time, points that coincide."""
    for count in range(1, 7):
        mesh, others = faces_at(np.arange(2.0 * count).reshape(-1, 2))
        time = np.cumsum([1, 1, 10_000_000, 1, 5, 5][:count])
        np.testing.assert_allclose(smooth(time, mesh, others), np.concatenate([mesh, others], axis=1), atol=0.3)
    nowhere = np.zeros((9, 7, 2))
    np.testing.assert_array_equal(smooth(np.arange(9), None, nowhere)[:, 468:], nowhere)
