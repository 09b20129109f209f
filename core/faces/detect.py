"""Faces in a picture: boxes and five points, by CenterFace.

The network gives, for each cell of 4x4 px, the likelihood of a face's centre there, the size of its box, the
offset of the centre, and five points relative to the box (Xu et al., "CenterFace: joint face detection and
alignment using face as point", 2019; decoding as in its published demo).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from core.faces.align import shrink
from core.geometry import apply, invert, iou, map_boxes, scaling
from core.inference.sessions import Session
from core.records import Float32Array

STRIDE_PX = 4
MULTIPLE_PX = 32  # the network halves five times
LONGEST_PX = 640
PADDING_WORTH = 0.95
# Low, because faces of 12 to 16 px score 0.15 to 0.4, and the mesh network tells faces from other things far better
# (presence 23 and more for those, below 10 for what else scores so little). Textured pictures give few such finds.
SCORE_MIN = 0.15
OVERLAP_MAX = 0.35
CANDIDATES_MAX = 400  # cells kept before overlap is judged; a large face lights up several dozen
FAR_LOG = 8.0  # a box side of 4 * e^8 px; guards the exponential


@dataclass(frozen=True)
class Detections:
    """Faces of one picture in its pixels, best first: box [k,4], score [k], points [k,5,2] (see FaceTable)."""

    box: Float32Array
    score: Float32Array
    points: Float32Array

    def __len__(self) -> int:
        return len(self.score)


class Detector:
    """Finds faces; holds a session and thresholds, no state between calls."""

    def __init__(self, session: Session, *, longest_px: int = LONGEST_PX, score_min: float = SCORE_MIN) -> None:
        self._session = session
        self._longest_px = longest_px
        self._score_min = score_min

    def at(self, longest_px: int) -> Detector:
        """The same detector looking at pictures of another size."""
        return Detector(self._session, longest_px=longest_px, score_min=self._score_min)

    def detect(self, pictures: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        """Faces of each picture (uint8 RGB [h,w,3]); pictures that end up equally large are run as one batch."""
        fitted = [fit(picture, self._longest_px) for picture in pictures]
        found: list[Detections | None] = [None] * len(fitted)
        for shape in dict.fromkeys(image.shape for image, _ in fitted):
            rows = [row for row, (image, _) in enumerate(fitted) if image.shape == shape]
            batch = np.empty((len(rows), 3, *shape[:2]), np.float32)
            for item, row in enumerate(rows):
                batch[item] = cv2.split(fitted[row][0])
            maps = self._session.run({"input.1": batch})
            for item, row in enumerate(rows):
                one = decode(*(output[item] for output in maps), score_min=self._score_min)
                high, wide = pictures[row].shape[:2]
                found[row] = _inside(_mapped(one, fitted[row][1]), wide, high)
        return [item for item in found if item is not None]


def fitted_size(width: int, height: int, longest_px: int) -> tuple[int, int]:
    """Width and height of a picture shrunk, never enlarged, to at most `longest_px` on its longer side.

    Up to 5 % more is taken off where that saves a row of 32 px of padding: 1280x720 becomes 626x352, not 640x360.
    """
    factor = min(1.0, longest_px / max(width, height))
    short = min(width, height) * factor
    whole = short // MULTIPLE_PX * MULTIPLE_PX
    if whole >= PADDING_WORTH * short:
        factor *= whole / short
    return max(1, round(width * factor)), max(1, round(height * factor))


def fit(picture: NDArray[np.uint8], longest_px: int) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """The picture shrunk to `longest_px`, black right and below up to multiples of 32; and fitted_from_picture."""
    high, wide = picture.shape[:2]
    new_wide, new_high = fitted_size(wide, high, longest_px)
    padded = np.zeros((_multiple(new_high), _multiple(new_wide), 3), np.uint8)
    padded[:new_high, :new_wide] = shrink(picture, new_wide, new_high)
    return padded, scaling(new_wide / wide, new_high / high)


def decode(
    heat: Float32Array, size: Float32Array, offset: Float32Array, marks: Float32Array, *, score_min: float
) -> Detections:
    """Faces out of the four maps [1|2|2|10,h,w] of one picture, in that picture's pixels, best first."""
    rows, columns = np.nonzero(heat[0] > score_min)
    order = np.argsort(-heat[0, rows, columns], kind="stable")[:CANDIDATES_MAX]
    rows, columns = rows[order], columns[order]
    score = heat[0, rows, columns]
    cells = np.stack([columns, rows], axis=1)  # x, y from here on; the maps hold y first
    sides = np.exp(np.minimum(size[::-1, rows, columns].T, FAR_LOG)) * STRIDE_PX  # [k,2]
    # Cell c covers pixel edges 4c..4c+4, and pixel centres lie half a pixel off the edges.
    centre = (cells + offset[::-1, rows, columns].T + 0.5) * STRIDE_PX - 0.5
    corner = centre - sides / 2
    box = np.concatenate([corner, corner + sides], axis=1)
    fractions = marks[:, rows, columns].T.reshape(-1, 5, 2)[:, :, ::-1]
    points = corner[:, None] + fractions * sides[:, None]
    keep = suppress(box, OVERLAP_MAX)
    return Detections(
        box=box[keep].astype(np.float32), score=score[keep].astype(np.float32), points=points[keep].astype(np.float32)
    )


def suppress(box: NDArray[np.floating], overlap_max: float) -> list[int]:
    """Rows of `box` [k,4], best first, that overlap no better kept one by more than `overlap_max`."""
    left = np.arange(len(box))
    kept: list[int] = []
    while len(left):
        best = int(left[0])
        kept.append(best)
        left = left[1:][iou(box[best : best + 1], box[left[1:]])[0] <= overlap_max]
    return kept


def _multiple(size: int) -> int:
    return -(-size // MULTIPLE_PX) * MULTIPLE_PX


def _mapped(found: Detections, fitted_from_picture: NDArray[np.float64]) -> Detections:
    back = invert(fitted_from_picture)
    return Detections(
        box=map_boxes(back, found.box).astype(np.float32),
        score=found.score,
        points=apply(back, found.points).astype(np.float32),
    )


def _inside(found: Detections, wide: int, high: int) -> Detections:
    """Only faces whose box centre lies in the picture, not in the padding."""
    centre = (found.box[:, :2] + found.box[:, 2:]) / 2
    keep = np.all((centre >= 0) & (centre <= (wide - 1, high - 1)), axis=1)
    return Detections(box=found.box[keep], score=found.score[keep], points=found.points[keep])
