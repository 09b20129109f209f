"""What is missing inside a track is put in: frames in which the face was lost, and meshes that were not found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from core.faces.onway import Face, between
from core.faces.steps import Reach
from core.geometry import apply, similarity
from core.records import Float32Array


class Filler:
    """Completes one track as its faces come.

    Frames without the face lie on a straight line in time between their neighbours. A mesh that is missing no longer
    than a face may be lost for is that line's too, moved onto the five points that were found; one that is missing for
    longer, as in profile, stays missing.
    """

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._before: Face | None = None
        self._meshed: Face | None = None  # the newest with a mesh, while one that is missing can be filled in
        self._waiting: list[Face] = []  # since then, without a mesh

    def add(self, face: Face) -> Iterator[Face]:
        """Take the track's next face found; the faces that are complete, in order, one for each frame."""
        steps = [*between(self._reach.pts, self._before or face, face), face]
        self._before = face
        if self._meshed is not None and not self._reach.spans(self._meshed.frame, face.frame):
            yield from self.end()
            self._meshed = None
        if face.mesh is None and self._meshed is not None:
            self._waiting += steps
        elif self._waiting and self._meshed is not None:
            yield from self._with_meshes(self._meshed, [*self._waiting, *steps[:-1]], face)
            yield face
            self._waiting = []
        else:
            yield from steps
        self._meshed = self._meshed if face.mesh is None else face

    def end(self) -> Iterator[Face]:
        """What is left when the track is over."""
        yield from self._waiting
        self._waiting = []

    def _with_meshes(self, before: Face, faces: Sequence[Face], after: Face) -> Iterator[Face]:
        start, end = (int(self._reach.pts[face.frame]) for face in (before, after))
        if before.mesh is None or after.mesh is None:
            raise ValueError("a mesh between faces without one")
        for face in faces:
            share = np.float32((int(self._reach.pts[face.frame]) - start) / (end - start))
            mesh = before.mesh * (1 - share) + after.mesh * share
            points = before.points * (1 - share) + after.points * share
            yield replace(face, mesh=_moved(mesh, points, face.points))


def _moved(mesh: Float32Array, points: Float32Array, onto: Float32Array) -> Float32Array:
    """A mesh [468,2] moved as its five points [5,2] are."""
    if not np.ptp(points, axis=0).any():
        return np.asarray(mesh + (onto - points).mean(axis=0), np.float32)
    return np.asarray(apply(similarity(points, onto), mesh), np.float32)
