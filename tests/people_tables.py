"""Made-up tracks of known people, for tests of who is who."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from core.records import Person, TrackTable

WIDE = 44  # dimensions in which strangers' vectors differ: so their distances scatter by a tenth of the mean


def tracks_of(
    vector: NDArray[np.floating],
    first: NDArray[np.integer] | list[int],
    end: NDArray[np.integer] | list[int],
    *,
    side_px: float | list[float] = 80.0,
    vectors: int | list[int] = 8,
    spread: float = 0.2,
    frontal: float | list[float] = 0.9,
    score: float = 0.9,
) -> TrackTable:
    """Tracks with these vectors [n,D] and frames; faces of `side_px` to a side."""
    n = len(vector)

    def every(value: float | list[float] | list[int]) -> NDArray[np.float64]:
        return np.broadcast_to(np.asarray(value, np.float64), (n,)).copy()

    starts, ends = np.asarray(first, np.int64), np.asarray(end, np.int64)
    return TrackTable(
        first=starts,
        end=ends,
        found=ends - starts,
        area_px=(every(side_px) ** 2).astype(np.float32),
        reach_px=every(side_px).astype(np.float32),
        score=every(score).astype(np.float32),
        vector=np.asarray(vector, np.float32),
        vectors=every(vectors).astype(np.int64),
        spread=every(spread).astype(np.float32),
        best_frame=starts,
        best_box=np.tile(np.array([0, 0, 30, 30], np.float32), (n, 1)),
        frontal=every(frontal).astype(np.float32),
    )


def one_after_another(n: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Frames of n tracks that never share one."""
    first = np.arange(n, dtype=np.int64) * 20
    return first, first + 15


def crowd(
    people: int, tracks: int, seed: int, *, apart: float = 0.84, within: float = 0.25
) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Vectors [tracks,128] as long as dlib's, and whose they are.

    Strangers are `apart` (root mean square, scattered by a tenth of it), a person's tracks `within` of his mean.
    """
    random = np.random.default_rng(seed)
    middle = random.normal(size=128)
    basis = np.linalg.qr(random.normal(size=(128, 128)))[0][:, :WIDE]
    means = random.normal(size=(people, WIDE)) * apart / np.sqrt(2 * WIDE)
    who = random.integers(0, people, tracks)
    vectors = means[who] + random.normal(size=(tracks, WIDE)) * within / np.sqrt(WIDE)
    return (middle * 1.25 / np.linalg.norm(middle) + vectors @ basis.T).astype(np.float32), who


def wrong_tracks(people: tuple[Person, ...], who: NDArray[np.intp]) -> int:
    """How many tracks are taken for somebody whom most of that person's tracks do not show."""
    return sum(len(one.tracks) - int(np.bincount(who[list(one.tracks)]).max()) for one in people)
