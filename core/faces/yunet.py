"""Faces by YuNet.

For each cell of 8, 16 and 32 px the network gives a class score, an objectness, a box as its centre's offset and the
logarithms of its sides, and five points, all in cells (Wu, Peng, Yu, "YuNet: a tiny millisecond-level face detector",
2023; decoding as in OpenCV's FaceDetectorYN, whose score is the square root of ours).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from core.faces.canvas import STRIDES_PX, CanvasDetector, Reading
from core.faces.finds import FAR_LOG, Detections, best_first
from core.inference.sessions import Session
from core.records import Float32Array

WIDTHS = (1, 1, 4, 10)  # numbers of a cell: class, objectness, box, points
SCORE_MIN = 0.5
OVERLAP_MAX = 0.3  # OpenCV's default


def decode(heads: Sequence[Float32Array], wide: int, score_min: float) -> Detections:
    """Finds out of twelve outputs of one picture `wide` px wide, in that picture's pixels, best first.

    Overlapping ones are all there. heads: classes [a,1], objectness [a,1], boxes [a,4] and points [a,10], each at
    strides 8, 16 and 32; the cells a run over rows and columns.
    """
    scores, boxes, points = [], [], []
    for level, stride in enumerate(STRIDES_PX):
        face, thing = (np.clip(heads[level + 3 * part][:, 0], 0, 1) for part in (0, 1))
        score = face * thing
        rows = np.flatnonzero(score >= score_min)
        cell = np.stack([rows % (wide // stride), rows // (wide // stride)], axis=1).astype(np.float32)
        box, marks = heads[level + 6][rows], heads[level + 9][rows].reshape(-1, 5, 2)
        centre = (cell + box[:, :2]) * np.float32(stride)
        half = np.exp(np.minimum(box[:, 2:], FAR_LOG)) * np.float32(stride / 2)
        scores.append(score[rows])
        boxes.append(np.concatenate([centre - half, centre + half], axis=1))
        points.append((cell[:, None] + marks) * np.float32(stride))
    return best_first(np.concatenate(boxes), np.concatenate(scores), np.concatenate(points))


YUNET_READING = Reading(WIDTHS, SCORE_MIN, OVERLAP_MAX, 0.0, decode)


def open_yunet(session: Session) -> CanvasDetector:
    """The detector of a session whose manifest says the family yunet."""
    return CanvasDetector(session, YUNET_READING)
