"""YuNet against OpenCV's FaceDetectorYN on the same twin, and in batches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from core.errors import ModelError
from core.faces.canvas import CanvasDetector
from core.faces.detect import open_detector
from core.faces.finds import best_first, suppress
from core.faces.yunet import OVERLAP_MAX, YUNET_READING, decode
from tests.core.faces.test_scrfd import Picture, picture
from tests.core.faces.twin_models import Twin, open_twin

SIDE = 640


@pytest.fixture(scope="module")
def twin(twins: Path) -> Twin:
    return open_twin("yunet_2023_mar", twins)


@pytest.fixture(scope="module")
def shown() -> Picture:
    return picture(SIDE, SIDE)


def test_boxes_points_and_scores_are_opencvs(twin: Twin, shown: Picture) -> None:
    """Before overlap is judged, which OpenCV does on boxes cut down to whole pixels; its score is our square root."""
    everything = replace(YUNET_READING, score_min=0.0, overlap_max=1.0)
    scores = CanvasDetector(twin.session, everything).detect([shown])[0].score
    least = float(scores[600])
    (found,) = CanvasDetector(twin.session, everything, score_min=least).detect([shown])
    oracle = cv2.FaceDetectorYN.create(str(twin.file), "", (SIDE, SIDE), least**0.5, 1.0, len(scores))
    _, rows = oracle.detect(np.ascontiguousarray(shown[..., ::-1]))
    rows = rows[np.all((rows[:, :2] + rows[:, 2:4] / 2 >= 0) & (rows[:, :2] + rows[:, 2:4] / 2 <= SIDE - 1), axis=1)]
    ours = np.concatenate([found.box[:, :2], found.box[:, 2:] - found.box[:, :2], found.points.reshape(-1, 10)], axis=1)
    theirs = best_first(rows[:, :4], rows[:, 14], rows[:, 4:14].reshape(-1, 5, 2))
    expected = np.concatenate([theirs.box, theirs.points.reshape(-1, 10)], axis=1)
    assert len(ours) == len(expected) > 100
    np.testing.assert_allclose(np.sort(found.score), np.sort(theirs.score) ** 2, atol=1e-4)
    # Equal scores come in another order.
    order, other = (np.lexsort(np.round(values).T[:2]) for values in (ours, expected))
    np.testing.assert_allclose(ours[order], expected[other], atol=2e-3)


def test_batch_equals_single(twin: Twin) -> None:
    detector = open_detector(twin.session)
    pictures = [picture(640, 360), picture(640, 480), picture(200, 300, 1), picture(640, 360, 2)]
    together = detector.detect(pictures)
    assert sum(len(found) for found in together) > 20
    for one, found in zip(pictures, together, strict=True):
        (alone,) = detector.detect([one])
        for name in ("box", "score", "points"):
            np.testing.assert_allclose(getattr(found, name), getattr(alone, name), atol=1e-4)
        assert suppress(found.box, OVERLAP_MAX) == list(range(len(found)))


def test_decode_reads_the_outputs_as_published() -> None:
    """One cell of stride 32: row 1, column 2 of a picture 96 px wide; class and objectness are cut to 0..1."""
    cells = [(96 // stride) ** 2 for stride in (8, 16, 32)]
    heads = [np.zeros((count, width), np.float32) for width in (1, 1, 4, 10) for count in cells]
    cell = 1 * 3 + 2
    heads[2][cell] = 1.2
    heads[5][cell] = 0.7
    heads[8][cell] = [0.5, 0.25, np.log(2), np.log(3)]
    heads[11][cell] = np.arange(10) / 8
    found = decode(heads, 96, 0.5)
    np.testing.assert_allclose(found.score, [0.7], atol=1e-6)
    np.testing.assert_allclose(found.box, [[80 - 32, 40 - 48, 80 + 32, 40 + 48]], atol=1e-4)
    np.testing.assert_allclose(found.points[0], np.arange(10).reshape(5, 2) * 4 + [64, 32], atol=1e-4)
    assert len(decode(heads, 96, 0.71)) == 0


def test_other_outputs_are_refused(twin: Twin, twins: Path) -> None:
    other = open_twin("yunet_2023_mar", twins).session
    other.manifest = replace(other.manifest, outputs=other.manifest.outputs[:9])
    with pytest.raises(ModelError, match="9 outputs, a detector of the family yunet has 12"):
        open_detector(other)
