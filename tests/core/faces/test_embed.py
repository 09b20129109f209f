"""Embeddings: one person is near, another is far."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from insightface.app.common import Face
from insightface.model_zoo.arcface_onnx import ArcFaceONNX
from insightface.utils import face_align
from numpy.typing import NDArray

from core.errors import ModelError
from core.faces.align import chip_from_points, cut, shrink
from core.faces.analyse import FaceModels
from core.faces.embed import Recogniser, distance
from core.faces.pixels import network_input
from core.geometry import square_crop
from core.inference.manifest import load_manifests, manifest_folder
from core.inference.pixels import numbers_of
from core.records import Float32Array
from tests.core.faces.twin_models import open_twin
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


def test_arcface_compares_directions(twins: Path) -> None:
    recogniser = Recogniser(open_twin("w600k_r50", twins).session)
    random = np.random.default_rng(0)
    first, second = random.normal(size=(2, 512)).astype(np.float32)
    assert recogniser.distance(first, 7 * first) == pytest.approx(0, abs=1e-6)
    assert recogniser.distance(first, -first) == pytest.approx(2)
    expected = 1 - float(first @ second / (np.linalg.norm(first) * np.linalg.norm(second)))
    assert recogniser.distance(first, second) == pytest.approx(expected, abs=1e-6)
    mean = recogniser.mean(np.stack([first, 3 * second]))
    units = first / np.linalg.norm(first) + second / np.linalg.norm(second)
    assert recogniser.distance(mean, units) == pytest.approx(0, abs=1e-6)
    assert np.linalg.norm(mean) == pytest.approx((np.linalg.norm(first) + 3 * np.linalg.norm(second)) / 2, rel=1e-5)
    np.testing.assert_array_equal(recogniser.mean(first[None]), first)


def test_dlib_compares_places(models: FaceModels) -> None:
    first, second = np.eye(2, 128, dtype=np.float32) * 1.4
    assert models.embedder.distance(first, second) == pytest.approx(1.4 * 2**0.5)
    np.testing.assert_allclose(models.embedder.mean(np.stack([first, second])), (first + second) / 2)


@pytest.mark.parametrize("name", ["w600k_r50", "w600k_mbf"])
def test_vectors_are_insightfaces(name: str, models: FaceModels, twins: Path) -> None:
    """The same chips and points give the same vectors, on twins.

    Points are given to insightface in double precision: in single precision its alignment is off by some 1e-4 px.
    Even so its template is rounded to single precision, which moves samples by up to 1e-4 px and one in some
    thousands of them by one grey level.
    """
    twin = open_twin(name, twins)
    recogniser = Recogniser(twin.session)
    oracle = ArcFaceONNX(str(twin.file))
    picture = astronaut()
    for turns in range(4):
        shown = np.ascontiguousarray(np.rot90(picture, turns)) if turns else picture
        (upright,) = models.detector.detect([picture])
        points = np.stack([_turned(point, turns, len(picture)) for point in upright.points[0]]).astype(np.float64)
        chip = recogniser.chip(shown, points.astype(np.float32))
        expected = face_align.norm_crop(shown, points)
        apart = np.abs(chip.astype(int) - expected)
        assert apart.max() <= 1
        assert (apart > 0).mean() < 1e-3
        np.testing.assert_allclose(
            chip_from_points(points.astype(np.float32), recogniser.template),
            face_align.estimate_norm(points),
            atol=1e-3,
        )
        np.testing.assert_allclose(
            recogniser.embed([expected])[0], oracle.get_feat(expected[..., ::-1])[0], rtol=1e-5, atol=1e-4
        )
        (vector,) = recogniser.embed([chip])
        theirs = oracle.get(np.ascontiguousarray(shown[..., ::-1]), Face(kps=points))
        np.testing.assert_allclose(_unit(vector), _unit(theirs), atol=1e-4)


def _turned(point: NDArray[np.floating], turns: int, side: int) -> NDArray[np.float64]:
    """The point of a square picture after quarter turns counter-clockwise."""
    x, y = float(point[0]), float(point[1])
    for _ in range(turns):
        x, y = y, side - 1 - x
    return np.array([x, y])


def _unit(vector: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.asarray(vector / np.linalg.norm(vector))


def test_pictures_become_numbers_by_the_manifests_rule() -> None:
    """The same as the rule for colours, for every manifest and both orders of channels."""
    picture = np.random.default_rng(1).integers(0, 256, (2, 16, 24, 3), np.uint8)
    colours = picture.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
    for manifest in load_manifests(manifest_folder()).values():
        for order in ("RGB", "BGR"):
            pixels = replace(manifest.pixels, order=order)
            numbers = network_input(list(picture), pixels)
            assert numbers.flags.c_contiguous
            scale = np.abs(numbers).max()
            np.testing.assert_allclose(numbers, numbers_of(colours, pixels), atol=1e-6 * scale)


def test_manifests_that_will_not_do(twins: Path) -> None:
    session = open_twin("w600k_r50", twins).session
    manifest = session.manifest
    for change, message in (
        (
            {"family": "someones"},
            "no recogniser of the family 'someones'; family of its manifest: one of dlib, arcface",
        ),
        ({"template": None}, "model w600k_r50: a recogniser without a template"),
    ):
        session.manifest = replace(manifest, **change)
        with pytest.raises(ModelError, match=message):
            Recogniser(session)


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
