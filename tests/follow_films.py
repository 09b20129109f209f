"""Films without pictures, made-up faces in them, and following those."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.faces.follow import follow_film
from core.faces.metric import Metric
from core.faces.table import read_table
from core.records import Colour, FaceTable, MediaIndex, TrackTable, VideoInfo
from tests.faces_assets import made_up_faces, pieces_of_film


def film(frames: int, step: int = 1, rate: int = 25) -> MediaIndex:
    """640x480, `step` ticks of 1/`rate` s a frame."""
    video = VideoInfo(
        0, "h264", 640, 480, "yuv420p", Fraction(1), None, 0, 1, Fraction(25), Colour(), None, None, 0
    )  # fmt: skip
    pts = np.arange(frames, dtype=np.int64) * step
    key = np.arange(frames) == 0
    return MediaIndex("0" * 64, 1, "mov", video, Fraction(1, rate), pts, np.ones_like(pts), key, pts, (), (), {})


def straight(
    first: int,
    end: int,
    x: float,
    y: float,
    *,
    speed: float = 1.0,
    radius: float = 50.0,
    seed: int = 0,
    score: float = 0.9,
    person: int | None = None,
) -> FaceTable:
    """A face that moves `speed` px a frame to the right; of a `person`, each find has that person's vector."""
    shown = np.arange(first, end)
    centres = np.stack([x + speed * (shown - first), np.full(len(shown), y)], axis=1)
    faces = made_up_faces(shown, centres, radius, shape_seed=seed, score=score)
    return faces if person is None else replace(faces, vector=vectors_of(person, shown))


def vectors_of(person: int, frames: NDArray[np.int64]) -> NDArray[np.float32]:
    """Vectors [n,16] of made-up people, 0.1 from their mean and 0.85 from each other's, as the embedded ones."""
    mean = np.zeros(16)
    mean[person] = 0.6
    noise = np.random.default_rng(person).normal(0, 0.1 / 4, (int(frames.max(initial=0)) + 1, 16))
    return np.asarray(mean + noise[frames], np.float32)


def without_mesh(table: FaceTable, frames: Sequence[int] | range) -> FaceTable:
    mesh = np.array(table.mesh)
    mesh[np.isin(table.frame, list(frames))] = np.nan
    return replace(table, mesh=mesh)


@dataclass(frozen=True)
class Following:
    """What came out: the tracks, and a table a segment."""

    tracks: TrackTable
    pieces: list[FaceTable]

    @property
    def table(self) -> FaceTable:
        return FaceTable.concat(self.pieces)

    def rows(self, track: int) -> FaceTable:
        return self.table.take(self.table.track == track)


def follow(
    index: MediaIndex,
    *parts: FaceTable,
    cuts: Sequence[int] = (),
    segments: Sequence[int] = (),
    detect_every: int = 1,
    metric: Metric | None = None,
) -> Following:
    """Follow the faces of `parts`; the film has `cuts`, and segments that start at 0 and before the frames given."""
    with tempfile.TemporaryDirectory() as folder:
        names = count()
        followed = follow_film(
            index,
            lambda: parts,
            np.asarray(cuts, np.int64),
            pieces_of_film(index, segments),
            lambda end: Path(folder, f"{next(names)}{end}"),
            detect_every=detect_every,
            metric=metric,
        )
        assert sorted(Path(folder).iterdir()) == sorted(followed.files)
        return Following(followed.tracks, [read_table(file) for file in followed.files])
