"""Faces: those found in the film, and the one to put in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.records.arrays import Float32Array, Int32Array, Int64Array, freeze

MESH_POINTS = 468
EYE_OUTER = (33, 263)  # mesh points of the left and right outer eye corner as seen in the picture


@dataclass(frozen=True)
class FaceTable:
    """Faces found, one row a face, sorted by frame then by descending box area. Coordinates in coded pixels.

    points are left eye, right eye, nose, left mouth corner, right mouth corner as seen in the picture ([n,5,2]);
    mesh is MediaPipe's 468 points ([n,468,2], NaN where no mesh was found); presence is the mesh model's logit;
    track is -1 before casting; role is the index of what becomes of the face (WorkOrder.roles), -1 to leave it.
    reach_px is the greatest extent that a face of the row's track has in the whole film, in displayed pixels; 0 before
    casting. vector is the embedding ([n,D], as the recogniser gives it, NaN where none was taken; D is 0 where no
    recogniser looked). sharpness tells blurred faces from clear ones (core.faces.sharpness), NaN where not measured.
    """

    frame: Int64Array
    box: Float32Array
    score: Float32Array
    points: Float32Array
    mesh: Float32Array
    presence: Float32Array
    track: Int32Array
    role: Int32Array
    reach_px: Float32Array
    vector: Float32Array = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    sharpness: Float32Array = field(default_factory=lambda: np.zeros(0, np.float32))

    def __post_init__(self) -> None:
        freeze(self, "frame", np.int64, (None,))
        n = len(self.frame)
        if n and not len(self.vector):
            object.__setattr__(self, "vector", np.zeros((n, 0), np.float32))
        if n and not len(self.sharpness):
            object.__setattr__(self, "sharpness", np.full(n, np.nan, np.float32))
        freeze(self, "box", np.float32, (n, 4))
        freeze(self, "score", np.float32, (n,))
        freeze(self, "points", np.float32, (n, 5, 2))
        freeze(self, "mesh", np.float32, (n, MESH_POINTS, 2))
        freeze(self, "presence", np.float32, (n,))
        freeze(self, "track", np.int32, (n,))
        freeze(self, "role", np.int32, (n,))
        freeze(self, "reach_px", np.float32, (n,))
        freeze(self, "vector", np.float32, (n, None))
        freeze(self, "sharpness", np.float32, (n,))

    def __len__(self) -> int:
        return len(self.frame)

    def take(self, rows: NDArray[Any]) -> FaceTable:
        """The rows selected by an index or boolean array, as a table."""
        return FaceTable(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    @staticmethod
    def empty() -> FaceTable:
        return FaceTable(
            frame=np.zeros(0, np.int64),
            box=np.zeros((0, 4), np.float32),
            score=np.zeros(0, np.float32),
            points=np.zeros((0, 5, 2), np.float32),
            mesh=np.zeros((0, MESH_POINTS, 2), np.float32),
            presence=np.zeros(0, np.float32),
            track=np.zeros(0, np.int32),
            role=np.zeros(0, np.int32),
            reach_px=np.zeros(0, np.float32),
        )

    @staticmethod
    def concat(tables: list[FaceTable]) -> FaceTable:
        tables = [table for table in tables if len(table)]
        if not tables:
            return FaceTable.empty()
        names = FaceTable.__dataclass_fields__
        return FaceTable(*(np.concatenate([getattr(t, name) for t in tables]) for name in names))


@dataclass(frozen=True)
class SourceIdentity:
    """A face to put in: a square RGB crop with its mesh, and its embedding.

    image is uint8 RGB [S,S,3] (full range, sRGB); mesh is [468,2] and points [5,2] in that crop's pixels; embedding is
    the embedded embedder's float32 vector [D] as it comes; vectors are those of other recognisers [D], by the id of
    their manifest, the mean of all images of the person; sha256 is of the image file, or of all of them; face is which
    face of that file, from 1 at the left.
    """

    id: str
    sha256: str
    face: int
    image: np.ndarray[Any, np.dtype[np.uint8]]
    mesh: Float32Array
    embedding: Float32Array
    notes: tuple[str, ...] = ()
    points: Float32Array = field(default_factory=lambda: np.zeros((5, 2), np.float32))
    vectors: dict[str, Float32Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        freeze(self, "points", np.float32, (5, 2))
        freeze(self, "image", np.uint8, (None, None, 3))
        freeze(self, "mesh", np.float32, (MESH_POINTS, 2))
        freeze(self, "embedding", np.float32, (None,))
