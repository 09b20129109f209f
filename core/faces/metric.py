"""How far apart the vectors of a recogniser's family are, for many at once and without the network.

Both families' distances are squares of, or are, Euclidean distances of points: dlib's vectors as they come, ArcFace's
directions, of which 1 - cosine is half the squared distance. So the mean over pairs of two groups of points can be
had from the groups' means and spreads, and groups of thousands cost no more than single ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.errors import ModelError
from core.faces.embed import SAME_PERSON
from core.geometry import Float64Array

# The greatest mean distance at which tracks are taken for one person unasked. Comparing everybody with everybody meets
# many more pairs of strangers than asking for one person, so it is less than SAME_PERSON. dlib: of two people's faces
# in many states (see core.faces.people) those of one were up to 0.55 apart and 0.31 on average, those of both at least
# 0.65. There were no other real faces to measure, so the margin to strangers is the wider one. arcface: a cosine of
# 0.45, a little more than the usual 0.4.
TOGETHER: Mapping[str, float] = {"dlib": 0.48, "arcface": 0.55}


@dataclass(frozen=True)
class Metric:
    """Distances as a recogniser's family means them; `same_person` and `together` are the greatest of one person's
    two pictures, and of tracks that are put together unasked."""

    family: str
    same_person: float
    together: float

    def points(self, vectors: NDArray[np.floating]) -> Float64Array:
        """Points [n,D] whose squared Euclidean distances `distance_of` turns into distances of `vectors` [n,D]."""
        points = np.asarray(vectors, np.float64)
        if self.family == "dlib":
            return points
        lengths = np.linalg.norm(points, axis=-1, keepdims=True)
        return np.asarray(points / np.maximum(lengths, 1e-12), np.float64)

    def distance_of(self, square: NDArray[np.floating]) -> Float64Array:
        """The distance that belongs to the mean squared distance of points."""
        square = np.maximum(np.asarray(square, np.float64), 0.0)
        return np.asarray(np.sqrt(square) if self.family == "dlib" else square / 2, np.float64)

    def square_of(self, distance: float | NDArray[np.floating]) -> Float64Array:
        """The squared distance of points that belongs to a distance."""
        distance = np.asarray(distance, np.float64)
        return np.asarray(distance * (distance if self.family == "dlib" else 2), np.float64)

    def distances(self, first: NDArray[np.floating], second: NDArray[np.floating]) -> Float64Array:
        """Distances [n,m] of vectors [n,D] and [m,D]."""
        a, b = self.points(first), self.points(second)
        squares = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1)[None] - 2 * (a @ b.T)
        return self.distance_of(squares)


def metric_of(family: str) -> Metric:
    """The metric of a recogniser's family (ModelManifest.family); `ModelError` for one that has none."""
    if family not in SAME_PERSON:
        hint = f"family of its manifest: one of {', '.join(SAME_PERSON)}"
        raise ModelError(f"no recogniser of the family {family!r}", hint=hint)
    return Metric(family, SAME_PERSON[family], TOGETHER[family])
