"""Faces by CenterFace.

The network gives, for each cell of 4x4 px, the likelihood of a face's centre there, the size of its box, the
offset of the centre, and five points relative to the box (Xu et al., "CenterFace: joint face detection and
alignment using face as point", 2019; decoding as in its published demo).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from core.faces.finds import (
    FAR_LOG,
    LONGEST_PX,
    MULTIPLE_PX,
    Detections,
    best_first,
    by_shape,
    in_picture,
    multiple,
    not_beside,
    on_black,
    suppress,
)
from core.faces.pixels import network_input
from core.inference.manifest import PixelSpec
from core.inference.sessions import Session
from core.records import Float32Array

RAW = PixelSpec(scale=1.0)  # RGB 0..255
STRIDE_PX = 4
PADDING_WORTH = 0.95
# Low, because faces of 12 to 16 px score 0.15 to 0.4, and the mesh network tells faces from other things far better
# (presence 23 and more for those, below 10 for what else scores so little). Textured pictures give few such finds.
SCORE_MIN = 0.15
OVERLAP_MAX = 0.35
CELLS_MAX = 400  # cells kept before overlap is judged; a large face lights up several dozen


class CenterFace:
    """Finds faces; holds a session and thresholds, no state between calls."""

    def __init__(self, session: Session, *, longest_px: int = LONGEST_PX, score_min: float = SCORE_MIN) -> None:
        self._session = session
        self._longest_px = longest_px
        self._score_min = score_min

    def at(self, longest_px: int) -> CenterFace:
        """The same detector looking at pictures of another size."""
        return CenterFace(self._session, longest_px=longest_px, score_min=self._score_min)

    def fitted_size(self, width: int, height: int) -> tuple[int, int]:
        """The size at which a picture is looked at (see Detector)."""
        return fitted_size(width, height, self._longest_px)

    def detect(self, pictures: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        """Faces of each picture (uint8 RGB [h,w,3]); pictures that end up equally large are run as one batch."""
        laid = []
        for picture in pictures:
            size = self.fitted_size(picture.shape[1], picture.shape[0])
            laid.append(on_black(picture, size, (multiple(size[0]), multiple(size[1]))))
        found: dict[int, Detections] = {}
        for rows in by_shape([image for image, _ in laid]):
            maps = self._session.run({"input.1": network_input([laid[row][0] for row in rows], RAW)})
            for item, row in enumerate(rows):
                one = decode(*(output[item] for output in maps), score_min=self._score_min)
                high, wide = pictures[row].shape[:2]
                found[row] = not_beside(in_picture(one, laid[row][1]), wide, high)
        return [found[row] for row in range(len(laid))]


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


def decode(
    heat: Float32Array, size: Float32Array, offset: Float32Array, marks: Float32Array, *, score_min: float
) -> Detections:
    """Faces out of the four maps [1|2|2|10,h,w] of one picture, in that picture's pixels, best first."""
    rows, columns = np.nonzero(heat[0] > score_min)
    order = np.argsort(-heat[0, rows, columns], kind="stable")[:CELLS_MAX]
    rows, columns = rows[order], columns[order]
    cells = np.stack([columns, rows], axis=1)  # x, y from here on; the maps hold y first
    sides = np.exp(np.minimum(size[::-1, rows, columns].T, FAR_LOG)) * STRIDE_PX  # [k,2]
    # Cell c covers pixel edges 4c..4c+4, and pixel centres lie half a pixel off the edges.
    centre = (cells + offset[::-1, rows, columns].T + 0.5) * STRIDE_PX - 0.5
    corner = centre - sides / 2
    box = np.concatenate([corner, corner + sides], axis=1)
    fractions = marks[:, rows, columns].T.reshape(-1, 5, 2)[:, :, ::-1]
    points = corner[:, None] + fractions * sides[:, None]
    return best_first(box, heat[0, rows, columns], points).take(suppress(box, OVERLAP_MAX))
