"""What detectors find, and the arithmetic they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.faces.align import shrink
from core.geometry import Float64Array, apply, invert, iou, map_boxes, scaling
from core.records import Float32Array

LONGEST_PX = 640
MULTIPLE_PX = 32  # networks halve five times
CANDIDATES_MAX = 4000  # finds of one picture before overlap is judged, which takes their number squared
SAME_FACE_OVERLAP = 0.5  # of meshes
FAR_LOG = 8.0  # guards the exponential of a box side


@dataclass(frozen=True)
class Detections:
    """Faces of one picture in its pixels, best first: box [k,4], score [k], points [k,5,2] (see FaceTable)."""

    box: Float32Array
    score: Float32Array
    points: Float32Array

    def __len__(self) -> int:
        return len(self.score)

    def take(self, rows: Sequence[int] | NDArray[np.integer]) -> Detections:
        """The finds of these rows, in their order."""
        index = np.asarray(rows, np.intp)
        return Detections(box=self.box[index], score=self.score[index], points=self.points[index])


def best_first(box: NDArray[np.floating], score: NDArray[np.floating], points: NDArray[np.floating]) -> Detections:
    """At most CANDIDATES_MAX finds by descending score; equal scores keep their order."""
    order = np.argsort(-score, kind="stable")[:CANDIDATES_MAX]
    return Detections(
        box=box[order].astype(np.float32),
        score=score[order].astype(np.float32),
        points=points[order].astype(np.float32),
    )


def suppress(box: NDArray[np.floating], overlap_max: float, *, rim_px: float = 0.0) -> list[int]:
    """Rows of `box` [k,4], best first, that overlap no better kept one by more than `overlap_max`.

    `rim_px` is added to the sides: 1 where x1 and y1 count as a box's last pixel.
    """
    wide = np.asarray(box) + np.array([0, 0, rim_px, rim_px], np.asarray(box).dtype)
    left = np.arange(len(wide))
    kept: list[int] = []
    while len(left):
        best = int(left[0])
        kept.append(best)
        left = left[1:][iou(wide[best : best + 1], wide[left[1:]])[0] <= overlap_max]
    return kept


def in_picture(found: Detections, fitted_from_picture: Float64Array) -> Detections:
    """Finds of the fitted picture in the pixels of the picture."""
    back = invert(fitted_from_picture)
    return Detections(
        box=map_boxes(back, found.box).astype(np.float32),
        score=found.score,
        points=apply(back, found.points).astype(np.float32),
    )


def not_beside(found: Detections, wide: int, high: int) -> Detections:
    """Finds centred in the picture [high,wide], not in the padding beside it."""
    centre = (found.box[:, :2] + found.box[:, 2:]) / 2
    return found.take(np.flatnonzero(np.all((centre >= 0) & (centre <= (wide - 1, high - 1)), axis=1)))


def visible(found: Detections) -> Detections:
    """Finds that are numbers and at least a pixel wide and high, box and points: of others nothing can be cut out."""
    box, points = found.box.astype(np.float64), found.points.astype(np.float64)
    with np.errstate(invalid="ignore"):
        large = (np.abs(box[:, 2:] - box[:, :2]) >= 1).all(axis=1) & (np.ptp(points, axis=1).max(axis=1) >= 1)
    finite = np.isfinite(box).all(axis=1) & np.isfinite(points).all(axis=(1, 2)) & np.isfinite(found.score)
    return found.take(np.flatnonzero(large & finite))


def on_black(
    picture: NDArray[np.uint8], size: tuple[int, int], canvas: tuple[int, int]
) -> tuple[NDArray[np.uint8], Float64Array]:
    """The picture uint8 RGB [h,w,3] resampled to `size`, at the top left of a black `canvas`, both width and height;
    and fitted_from_picture, which keeps the picture's edges in place."""
    high, wide = picture.shape[:2]
    padded = np.zeros((canvas[1], canvas[0], 3), np.uint8)
    padded[: size[1], : size[0]] = shrink(picture, *size)
    return padded, scaling(size[0] / wide, size[1] / high)


def distinct(mesh: Float32Array, score: Float32Array, frame: NDArray[np.int64]) -> NDArray[np.intp]:
    """Rows, in order, whose mesh [n,468,2] does not cover that of a better scored row of the same frame [n].

    The mesh settles on the same face from boxes that overlap little, so boxes do not tell.
    """
    low, high = mesh.min(axis=1), mesh.max(axis=1)
    extent = np.concatenate([low, high], axis=1)  # [n,4]
    keep: list[int] = []
    for row in np.argsort(-score, kind="stable"):
        others = [other for other in keep if frame[other] == frame[row]]
        if not (iou(extent[row : row + 1], extent[others]) > SAME_FACE_OVERLAP).any():
            keep.append(int(row))
    return np.array(sorted(keep), np.intp)


def multiple(size: int) -> int:
    """The next multiple of 32."""
    return -(-size // MULTIPLE_PX) * MULTIPLE_PX


def by_shape(pictures: Sequence[NDArray[np.uint8]]) -> list[list[int]]:
    """Rows of equally large pictures, which can be run as one batch."""
    shapes = [picture.shape for picture in pictures]
    return [[row for row, one in enumerate(shapes) if one == shape] for shape in dict.fromkeys(shapes)]
