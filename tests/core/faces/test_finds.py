"""What is taken for a find at all."""

from __future__ import annotations

import numpy as np

from core.faces.finds import Detections, visible


def test_finds_of_which_nothing_can_be_cut_out_are_none() -> None:
    box = np.array([[10.0, 20, 60, 80]] * 7, np.float32)
    points = np.array([[[20, 40], [50, 40], [35, 55], [25, 70], [45, 70]]] * 7, np.float32)
    score = np.full(7, 0.9, np.float32)
    box[1, 2] = 10.5  # no width
    points[2] = (30, 50)  # all in one place
    box[3, 0] = np.nan
    points[4, 1, 0] = np.inf
    score[5] = np.nan
    box[6] = box[6, [2, 3, 0, 1]]  # corners the other way round: still an area
    kept = visible(Detections(box, score, points))
    np.testing.assert_array_equal(kept.box, box[[0, 6]])
    np.testing.assert_array_equal(kept.points, points[[0, 6]])
    assert len(visible(Detections(box[:0], score[:0], points[:0]))) == 0
