"""Faces by SCRFD (insightface's det_10g and its smaller relatives).

For each of two anchors of each cell of 8, 16 and 32 px the network gives a score, the distances from the anchor to
the sides of a box, and five points relative to the anchor, both in cells (Guo et al., "Sample and computation
redistribution for efficient face detection", 2021). Resizing, decoding and the judging of overlap are those of
insightface's SCRFD class, and so is where the anchors lie: at the cells' top left corners.

Two differences are meant. Pictures are averaged while they shrink, where insightface's bilinear sampling skips
pixels at factors above 2. And coordinates are taken back with the picture's edges in place, as everywhere here;
insightface divides by the factor, which leaves out (1/factor - 1)/2 px of the resampling's shift.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from core.faces.canvas import STRIDES_PX, CanvasDetector, Reading
from core.faces.finds import Detections, best_first
from core.inference.sessions import Session
from core.records import Float32Array

ANCHORS = 2  # of one cell
WIDTHS = (1, 4, 10)  # numbers of an anchor: score, box, points
SCORE_MIN = 0.5
OVERLAP_MAX = 0.4
RIM_PX = 1.0  # insightface counts x1, y1 as a box's last pixel


def decode(heads: Sequence[Float32Array], wide: int, score_min: float) -> Detections:
    """Finds out of nine outputs of one picture `wide` px wide, in that picture's pixels, best first.

    Overlapping ones are all there. heads: scores [a,1], boxes [a,4] and points [a,10], each at strides 8, 16 and 32;
    the anchors a run over rows, columns and the two of a cell.
    """
    scores, boxes, points = [], [], []
    for level, stride in enumerate(STRIDES_PX):
        score, distance, marks = heads[level][:, 0], heads[level + 3], heads[level + 6]
        rows = np.flatnonzero(score >= score_min)
        cell = rows // ANCHORS
        anchor = np.stack([cell % (wide // stride), cell // (wide // stride)], axis=1).astype(np.float32) * stride
        reach = distance[rows] * np.float32(stride)
        scores.append(score[rows])
        boxes.append(np.concatenate([anchor - reach[:, :2], anchor + reach[:, 2:]], axis=1))
        points.append(anchor[:, None] + marks[rows].reshape(-1, 5, 2) * np.float32(stride))
    return best_first(np.concatenate(boxes), np.concatenate(scores), np.concatenate(points))


SCRFD_READING = Reading(WIDTHS, SCORE_MIN, OVERLAP_MAX, RIM_PX, decode)


def open_scrfd(session: Session) -> CanvasDetector:
    """The detector of a session whose manifest says the family scrfd."""
    return CanvasDetector(session, SCRFD_READING)
