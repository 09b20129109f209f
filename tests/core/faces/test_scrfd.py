"""SCRFD against insightface's own class on the same twins, and in batches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from insightface.model_zoo.scrfd import SCRFD
from numpy.typing import NDArray

from core.errors import ModelError
from core.faces.canvas import Canvas, CanvasDetector
from core.faces.detect import open_detector
from core.faces.finds import Detections
from core.faces.scrfd import SCRFD_READING, decode
from tests.core.faces.twin_models import Twin, open_twin
from tests.faces_assets import astronaut, manifest_of

Picture = NDArray[np.uint8]
SIDE = 640


@pytest.fixture(scope="module", params=["det_10g", "det_2.5g", "det_500m"])
def twin(request: pytest.FixtureRequest, twins: Path) -> Twin:
    return open_twin(request.param, twins)


@pytest.fixture(scope="module")
def det_10g(twins: Path) -> Twin:
    return open_twin("det_10g", twins)


def picture(width: int, height: int, turn: int = 0) -> Picture:
    """Something with edges of every size, all over."""
    face = np.rot90(astronaut(), turn)
    return np.asarray(cv2.resize(face, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def threshold_of(twin: Twin, shown: Picture) -> float:
    """A score that some dozens of a twin's anchors reach."""
    lowest = CanvasDetector(twin.session, replace(SCRFD_READING, score_min=0.0)).detect([shown])[0]
    return float(lowest.score[min(60, len(lowest) - 1)])


def insightface_finds(twin: Twin, shown: Picture, threshold: float) -> Detections:
    oracle = SCRFD(str(twin.file), static_shape_sessions=False)
    boxes, points = oracle.detect(shown[..., ::-1], input_size=(SIDE, SIDE), det_thresh=threshold)
    return Detections(box=boxes[:, :4], score=boxes[:, 4], points=points)


def within(found: Detections, wide: int, high: int) -> Detections:
    """Finds centred in the picture: ours leave out those in the padding."""
    centre = (found.box[:, :2] + found.box[:, 2:]) / 2
    return found.take(np.flatnonzero(np.all((centre >= 0) & (centre <= (wide - 1, high - 1)), axis=1)))


@pytest.mark.parametrize(("width", "height"), [(640, 640), (640, 480), (352, 640), (512, 512), (1280, 720)])
def test_boxes_points_and_scores_are_insightfaces(twin: Twin, width: int, height: int) -> None:
    """But for the half pixel that insightface leaves out when it takes coordinates back to the picture's size."""
    shown = picture(width, height)
    threshold = threshold_of(twin, shown)
    (found,) = CanvasDetector(twin.session, replace(SCRFD_READING, score_min=threshold)).detect([shown])
    factor = SIDE / max(width, height)
    shift = np.float32((1 / factor - 1) / 2)
    oracle = insightface_finds(twin, shown, threshold)
    expected = within(Detections(oracle.box + shift, oracle.score, oracle.points + shift), width, height)
    assert len(found) == len(expected) >= 10
    np.testing.assert_allclose(found.score, expected.score, atol=1e-6)
    np.testing.assert_allclose(found.box, expected.box, atol=1e-4)
    np.testing.assert_allclose(found.points, expected.points, atol=1e-4)


def test_batch_equals_single(det_10g: Twin) -> None:
    detector = open_detector(det_10g.session)
    pictures = [picture(640, 360), picture(640, 480), picture(200, 300, 1), picture(640, 360, 2), picture(1000, 900)]
    together = detector.detect(pictures)
    assert sum(len(found) for found in together) > 20
    for shown, found in zip(pictures, together, strict=True):
        (alone,) = detector.detect([shown])
        for name in ("box", "score", "points"):
            np.testing.assert_allclose(getattr(found, name), getattr(alone, name), atol=1e-4)
    assert detector.detect([]) == []


def test_a_picture_shrunk_beforehand_is_looked_at_as_it_is(det_10g: Twin) -> None:
    detector = open_detector(det_10g.session)
    assert detector.fitted_size(1280, 720) == (640, 360)
    assert detector.fitted_size(720, 1280) == (360, 640)
    assert detector.fitted_size(176, 144) == (176, 144)
    small = picture(640, 360)
    image, fitted = Canvas.of(det_10g.session.manifest, SIDE).lay(small)
    np.testing.assert_array_equal(image[:360], small)
    assert not image[360:].any()
    np.testing.assert_array_equal(fitted, [[1, 0, 0], [0, 1, 0]])


def test_another_size_is_cut_down_to_the_networks_own(det_10g: Twin) -> None:
    manifest = det_10g.session.manifest
    assert Canvas.of(manifest, 1280) == Canvas(640, (640, 640))
    assert Canvas.of(manifest, 320) == Canvas(320, (640, 640))
    free = replace(manifest.inputs[0], shape=(1, 3, "height", "width"))
    canvas = Canvas.of(replace(manifest, inputs=(free,)), 1280)
    assert canvas.lay(picture(1000, 500))[0].shape == (640, 1280, 3)


def test_decode_reads_the_outputs_as_published() -> None:
    """One anchor of stride 16: the second of the cell in row 2, column 3 of a picture 64 px wide."""
    cells = [(64 // stride) ** 2 * 2 for stride in (8, 16, 32)]
    heads = [np.zeros((count, width), np.float32) for width in (1, 4, 10) for count in cells]
    anchor = (2 * 4 + 3) * 2 + 1
    heads[1][anchor] = 0.9
    heads[4][anchor] = [1, 2, 3, 4]
    heads[7][anchor] = np.arange(10)
    found = decode(heads, 64, 0.5)
    np.testing.assert_allclose(found.score, [0.9])
    np.testing.assert_allclose(found.box, [[48 - 16, 32 - 32, 48 + 48, 32 + 64]])
    np.testing.assert_allclose(found.points[0], np.arange(10).reshape(5, 2) * 16 + [48, 32])


def test_other_families_and_other_outputs_are_refused(det_10g: Twin, twins: Path) -> None:
    session = det_10g.session
    for change, message in (
        ({"family": "someones"}, "family of its manifest: one of centerface, scrfd, yunet"),
        ({"outputs": session.manifest.outputs[:6]}, "6 outputs, a detector of the family scrfd has 9"),
    ):
        other = open_twin("det_10g", twins).session
        other.manifest = replace(session.manifest, **change)
        with pytest.raises(ModelError, match=message):
            open_detector(other)
    other.manifest = manifest_of("embedder")
    with pytest.raises(ModelError, match="model dlib_resnet"):
        open_detector(other)
