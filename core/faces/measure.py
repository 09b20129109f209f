"""What is known of a track as a whole, summed up face by face."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from core.faces.metric import Metric
from core.faces.onway import Face
from core.geometry import Float64Array, apply, box_area, level_extent, scale_of
from core.records import EYE_OUTER, Float32Array, TrackTable

# A find is taken for chance when it is both short and weak; a face seen well in one frame only is still a face. Of a
# track without a single mesh more is asked: the mesh network looked and saw no face, which it also does in profile.
SHORT_FRAMES = 3
WEAK_SCORE = 0.5
MESHLESS_SCORE = 0.7
NOSE_DEPTH = 0.6  # how far the tip of the nose stands before the eyes, in distances of the eyes; of an average face


def apart(first: NDArray[np.floating], second: NDArray[np.floating], metric: Metric) -> float:
    """The distance of two vectors [D]."""
    away = metric.points(first) - metric.points(second)
    return float(metric.distance_of(np.asarray(away @ away)))


@dataclass
class VectorSum:
    """The mean of vectors as Recogniser.mean has it, summed one by one."""

    metric: Metric
    count: int = 0
    total: Float64Array | None = None
    lengths: float = 0.0

    def add(self, vector: Float32Array) -> None:
        one = self.metric.points(vector)
        self.total = one if self.total is None else self.total + one
        self.lengths += float(np.linalg.norm(vector))
        self.count += 1

    def mean(self) -> Float64Array | None:
        """The mean [D]; None of no vectors. Of directions it is as long as the vectors are on average."""
        if self.total is None:
            return None
        mean = self.total / self.count
        if self.metric.family == "dlib":
            return mean
        return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-12) * (self.lengths / self.count), np.float64)


def frontal(points: NDArray[np.floating]) -> float:
    """How much the five points [5,2], in displayed pixels, face the camera: the cosine of the head's turn.

    Of a head turned by an angle the nose moves along the line of the eyes by its depth times the sine, and the eyes'
    distance shrinks with the cosine.
    """
    left, right, nose = np.asarray(points[:3], np.float64)
    along = right - left
    square = float(along @ along)
    if square < 1e-6:
        return 0.0
    tangent = (float((nose - left) @ along) / square - 0.5) / NOSE_DEPTH
    return float(1 / np.sqrt(1 + tangent**2))


@dataclass
class Measure:
    """A track while its faces come, found and filled in."""

    first: int
    metric: Metric
    display_from_coded: Float64Array
    end: int = 0
    scores: array[float] = field(default_factory=lambda: array("f"))
    areas: array[float] = field(default_factory=lambda: array("f"))
    reach_px: float = 0.0
    vectors: VectorSum = field(init=False)
    best: tuple[float, Face, float] | None = None
    meshes: int = 0

    def __post_init__(self) -> None:
        self.vectors = VectorSum(self.metric)

    def add(self, face: Face) -> None:
        shown = apply(self.display_from_coded, face.points)
        self.meshes += face.mesh is not None
        self.end = face.frame + 1
        area = float(box_area(face.box)) * scale_of(self.display_from_coded) ** 2
        self.areas.append(area)
        seen = shown if face.mesh is None else apply(self.display_from_coded, face.mesh)
        ends = (0, 1) if face.mesh is None else EYE_OUTER
        self.reach_px = max(self.reach_px, float(level_extent(seen, *ends)))
        if face.score <= 0:
            return
        self.scores.append(face.score)
        if face.vector is not None:
            self.vectors.add(face.vector)
        facing = frontal(shown)
        sharp = face.sharpness if np.isfinite(face.sharpness) else 1.0
        quality = facing * face.score * area**0.5 * sharp
        if self.best is None or quality > self.best[0]:
            self.best = (quality, face, facing)

    @property
    def chance(self) -> bool:
        """Whether what was found is no face."""
        score, short = float(np.median(np.asarray(self.scores))), len(self.scores) < SHORT_FRAMES
        return (short and score < WEAK_SCORE) or (not self.meshes and (short or score < MESHLESS_SCORE))


@dataclass(frozen=True)
class Track:
    """A track that is complete; what is not in TrackTable: where its mean shape lies, and how many of
    its frames are before the first and behind the last one in which it was found."""

    first: int
    end: int
    found: int
    area_px: float
    reach_px: float
    score: float
    vector: Float32Array | None
    vectors: int
    best_frame: int
    best_box: Float32Array
    frontal: float
    place: int
    lead: int
    trail: int

    @staticmethod
    def of(measure: Measure, place: int, lead: int, trail: int) -> Track:
        mean = measure.vectors.mean()
        if measure.best is None:
            raise ValueError("a track in which nothing was found")
        _, best, facing = measure.best
        return Track(
            first=measure.first - lead,
            end=measure.end + trail,
            found=len(measure.scores),
            area_px=float(np.median(np.asarray(measure.areas))),
            reach_px=measure.reach_px,
            score=float(np.median(np.asarray(measure.scores))),
            vector=None if mean is None else np.asarray(mean, np.float32),
            vectors=measure.vectors.count,
            best_frame=best.frame,
            best_box=best.box,
            frontal=facing,
            place=place,
            lead=lead,
            trail=trail,
        )


def track_table(tracks: Sequence[Track], distances: Float64Array, dimensions: int) -> TrackTable:
    """The table of tracks; `distances` [n] is the sum of distances of each track's vectors from their mean."""
    nowhere = np.full(dimensions, np.nan, np.float32)
    vectors = np.array([one.vectors for one in tracks], np.int64)
    spread = np.full(len(tracks), np.nan)
    np.divide(distances, vectors, out=spread, where=vectors > 0)
    return TrackTable(
        first=np.array([one.first for one in tracks], np.int64),
        end=np.array([one.end for one in tracks], np.int64),
        found=np.array([one.found for one in tracks], np.int64),
        area_px=np.array([one.area_px for one in tracks], np.float32),
        reach_px=np.array([one.reach_px for one in tracks], np.float32),
        score=np.array([one.score for one in tracks], np.float32),
        vector=np.array([nowhere if one.vector is None else one.vector for one in tracks], np.float32).reshape(
            len(tracks), dimensions
        ),
        vectors=vectors,
        spread=np.asarray(spread, np.float32),
        best_frame=np.array([one.best_frame for one in tracks], np.int64),
        best_box=np.array([one.best_box for one in tracks], np.float32).reshape(len(tracks), 4),
        frontal=np.array([one.frontal for one in tracks], np.float32),
    )
