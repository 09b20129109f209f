"""A face on its way through the reduce: one row of a FaceTable that shares no memory with its table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from core.geometry import Float64Array, box_area
from core.records import MESH_POINTS, NOBODY, FaceTable, Float32Array, Int64Array

STEP_PX = 1 / 64  # as in analyse


@dataclass(frozen=True)
class Face:
    """A row; units as in FaceTable. `mesh` is None where there is none, `vector` is None where none was taken."""

    frame: int
    box: Float32Array
    score: float
    points: Float32Array
    mesh: Float32Array | None
    presence: float
    vector: Float32Array | None
    sharpness: float

    @staticmethod
    def of(table: FaceTable, row: int) -> Face:
        """The row of a table; a mesh whose points all lie in one place is none."""
        mesh, vector = table.mesh[row], table.vector[row]
        return Face(
            frame=int(table.frame[row]),
            box=table.box[row].copy(),
            score=float(table.score[row]),
            points=table.points[row].copy(),
            mesh=mesh.copy() if np.isfinite(mesh).all() and (mesh != mesh[0]).any() else None,
            presence=float(table.presence[row]),
            vector=vector.copy() if len(vector) and np.isfinite(vector).all() else None,
            sharpness=float(table.sharpness[row]),
        )

    @property
    def others(self) -> Float32Array:
        """What is smoothed beside the mesh: the five points and two corners of the box [7,2]."""
        return np.concatenate([self.points, self.box.reshape(2, 2)])


def between(pts: Int64Array, before: Face, after: Face) -> Iterator[Face]:
    """The faces of the frames between two of a track, on a straight line in time; a mesh only where both have one.

    Their score is 0, which no detector gives.
    """
    start, end = int(pts[before.frame]), int(pts[after.frame])
    for frame in range(before.frame + 1, after.frame):
        share = np.float32((int(pts[frame]) - start) / (end - start))
        whole = before.mesh is not None and after.mesh is not None
        yield Face(
            frame=frame,
            box=before.box * (1 - share) + after.box * share,
            score=0.0,
            points=before.points * (1 - share) + after.points * share,
            mesh=before.mesh * (1 - share) + after.mesh * share if whole else None,  # type: ignore[operator]
            presence=min(before.presence, after.presence),
            vector=None,
            sharpness=float("nan"),
        )


def beyond(pts: Int64Array, near: Face, far: Face, frame: int) -> Face:
    """The face of a frame before or behind the two that are `near` it, on a straight line in time."""
    ticks = int(pts[far.frame]) - int(pts[near.frame])
    share = (int(pts[frame]) - int(pts[near.frame])) / ticks if ticks else 0.0

    def moved(one: Float32Array, other: Float32Array) -> Float32Array:
        return rounded(one + (other.astype(np.float64) - one) * share)

    return replace(
        near,
        frame=frame,
        box=moved(near.box, far.box),
        score=0.0,
        points=moved(near.points, far.points),
        mesh=None if near.mesh is None or far.mesh is None else moved(near.mesh, far.mesh),
        vector=None,
        sharpness=float("nan"),
    )


def table_of(rows: Sequence[tuple[int, Face]], reach_px: Float32Array, dimensions: int) -> FaceTable:
    """The rows, each a track's number (NOBODY for none) and a face, sorted by frame, then by descending area.

    Of equals the older track is first. `reach_px` [tracks] is of the tracks; vectors have `dimensions` numbers.
    """
    if not rows:
        return FaceTable.empty()
    faces = [face for _, face in rows]
    track = np.array([number for number, _ in rows], np.int32)
    no_mesh, no_vector = np.full((MESH_POINTS, 2), np.nan, np.float32), np.full(dimensions, np.nan, np.float32)
    table = FaceTable(
        frame=np.array([face.frame for face in faces], np.int64),
        box=np.stack([face.box for face in faces]),
        score=np.array([face.score for face in faces], np.float32),
        points=np.stack([face.points for face in faces]),
        mesh=np.stack([no_mesh if face.mesh is None else face.mesh for face in faces]),
        presence=np.array([face.presence for face in faces], np.float32),
        track=track,
        role=np.full(len(rows), NOBODY, np.int32),
        reach_px=np.append(reach_px, np.float32(0))[track],  # nobody's is the 0 at the end
        vector=np.stack([no_vector if face.vector is None else face.vector for face in faces]),
        sharpness=np.array([face.sharpness for face in faces], np.float32),
    )
    return table.take(np.lexsort((table.track, -box_area(table.box), table.frame)))


def rounded(coordinates: Float64Array) -> Float32Array:
    """Coordinates to a 64th of a pixel, so that the last bits of float arithmetic do not differ between runs."""
    return np.asarray(np.round(coordinates / STEP_PX) * STEP_PX, np.float32)
