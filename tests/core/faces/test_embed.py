"""Embeddings: one person is near, another is far."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from core.faces.align import cut, shrink
from core.faces.analyse import FaceModels
from core.faces.embed import distance
from core.geometry import square_crop
from core.records import Float32Array
from tests.faces_assets import astronaut


def embeddings(models: FaceModels, pictures: list[NDArray[np.uint8]]) -> Float32Array:
    found = models.detector.detect(pictures)
    chips = [models.embedder.chip(picture, one.points[0]) for picture, one in zip(pictures, found, strict=True)]
    return models.embedder.embed(chips)


def test_same_person_is_near_and_another_far(models: FaceModels, carphone_frames: list[NDArray[np.uint8]]) -> None:
    driver = embeddings(models, carphone_frames)
    woman = embeddings(models, [astronaut(), np.ascontiguousarray(astronaut()[:, ::-1])])
    within = [distance(a, b) for number, a in enumerate(driver) for b in driver[:number]]
    between = [distance(a, b) for a in driver for b in woman]
    assert max(within) < models.embedder.same_person
    assert distance(woman[0], woman[1]) < models.embedder.same_person
    assert min(between) > models.embedder.same_person
    assert min(between) > max(within) + 0.1


def test_batch_equals_single(models: FaceModels, carphone_frames: list[NDArray[np.uint8]]) -> None:
    together = embeddings(models, carphone_frames[:3])
    for row in range(3):
        np.testing.assert_allclose(embeddings(models, carphone_frames[row : row + 1])[0], together[row], atol=1e-5)
    assert models.embedder.embed([]).shape == (0, 128)


def test_cut_does_not_alias_and_keeps_its_place() -> None:
    """Stripes finer than the chip's pixels become even grey, and a dot lands where the map says."""
    stripes = np.zeros((400, 400, 3), np.uint8)
    stripes[:, ::2] = 255
    chip = cut(stripes, square_crop(np.array([200.0, 200.0]), 200, 0.3, 50), 50)
    assert np.ptp(chip.astype(int)) < 12
    dot = np.zeros((400, 400, 3), np.uint8)
    dot[228:232, 244:248] = 255
    crop = square_crop(np.array([200.0, 200.0]), 200, 0.0, 50)
    chip = cut(dot, crop, 50)[..., 0].astype(float)
    rows, columns = np.mgrid[:50, :50]
    place = np.array([(columns * chip).sum(), (rows * chip).sum()]) / chip.sum()
    np.testing.assert_allclose(place, crop[:, :2] @ [245.5, 229.5] + crop[:, 2], atol=0.05)
    corner = cut(dot, square_crop(np.array([0.0, 0.0]), 300, 0.0, 20), 20)
    assert corner.shape == (20, 20, 3)


def test_shrink_averages() -> None:
    stripes = np.zeros((720, 1280, 3), np.uint8)
    stripes[::2] = 200
    for size in ((626, 352), (640, 360), (401, 233)):
        small = shrink(stripes, *size)
        assert small.shape == (size[1], size[0], 3)
        assert abs(float(small.mean()) - 100) < 2
        assert float(small.std()) < 20  # 100 before
