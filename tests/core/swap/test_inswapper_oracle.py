"""The same twin, frame and points through insightface's INSwapper.get and through ours: equal to 1e-4.

Intended differences, none of them in the network's arithmetic:
- insightface cuts its crop as uint8 out of the BGR picture, bilinear and without a filter, black outside the picture.
  Ours is cut as float32 out of the frame's planes, averaged first where it shrinks to half or less, the edge continued
  outside. So the comparison of networks gives ours insightface's crop; the crops themselves are equal up to the
  rounding to uint8 where they are more than half as large as in life, and inside the picture.
- insightface rounds the new crop down to uint8 (100.9 becomes 100). Ours stays float32 until it is pasted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from insightface.app.common import Face
from insightface.model_zoo.inswapper import INSwapper
from insightface.utils import face_align
from numpy.typing import NDArray

from core.faces.analyse import FaceModels
from core.faces.embed import Recogniser
from core.geometry import compose
from core.inference.manifest import ModelManifest, load_manifests, manifest_folder
from core.inference.providers import DeviceSpec
from core.inference.sessions import Sessions
from core.inference.weights import model_file
from core.media.colour import conversion
from core.media.planes import Plane
from core.records import Colour, Float32Array, SourceIdentity
from core.swap.crop import crop_rgb
from core.swap.latents import Latents
from core.swap.source import chips_of_crops, crop_from_template
from core.swap.swapper import Swapper, open_swapper
from tests.faces_assets import astronaut

TOLERANCE = 1e-4
NO_MESH = np.full((1, 468, 2), np.nan, np.float32)


class Recorded:
    """A session of ONNX Runtime that keeps what it was last given and what it answered."""

    def __init__(self, path: Path) -> None:
        self._inner = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        self.feeds: dict[str, NDArray[Any]] = {}
        self.answer = np.zeros(0, np.float32)

    def get_inputs(self) -> list[Any]:
        return list(self._inner.get_inputs())

    def get_outputs(self) -> list[Any]:
        return list(self._inner.get_outputs())

    def run(self, names: list[str], feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        self.feeds = dict(feeds)
        answers = list(self._inner.run(names, self.feeds))
        self.answer = answers[0]
        return answers


@pytest.fixture(scope="module")
def sessions(twins: Path) -> Sessions:
    return Sessions(twins, DeviceSpec(wish="cpu"))


@pytest.fixture(scope="module")
def recorded(twins: Path) -> Recorded:
    return Recorded(model_file(manifest_called("inswapper_128"), twins))


@pytest.fixture(scope="module")
def oracle(recorded: Recorded, twins: Path) -> INSwapper:
    path = model_file(manifest_called("inswapper_128"), twins)
    return INSwapper(model_file=str(path), session=recorded)


@pytest.fixture(scope="module")
def swapper(sessions: Sessions) -> Swapper:
    return open_swapper("inswapper_128", sessions)


@pytest.fixture(scope="module")
def points(models: FaceModels) -> Float32Array:
    return models.detector.detect([astronaut()])[0].points[0]


@pytest.fixture(scope="module")
def source(identity: SourceIdentity, sessions: Sessions, points: Float32Array) -> SourceIdentity:
    recogniser = Recogniser(sessions.open(manifest_called("w600k_r50")))
    vector = recogniser.embed([recogniser.chip(astronaut(), points)])[0]
    return replace(identity, vectors={"w600k_r50": vector})


def test_the_map_of_the_crop(swapper: Swapper, points: Float32Array) -> None:
    random = np.random.default_rng(3)
    for _ in range(20):
        moved = points + random.normal(scale=4, size=(5, 2)).astype(np.float32)
        ours = swapper.crop_from_display(moved, NO_MESH[0], 128)
        assert np.allclose(ours, face_align.estimate_norm(moved, 128), atol=TOLERANCE)


def test_the_crop_at_about_the_size_of_life(swapper: Swapper, points: Float32Array) -> None:
    """Equal to half a code value: insightface rounds the samples of its crop, ours are not rounded."""
    rgb = astronaut()
    theirs, affine = face_align.norm_crop2(np.ascontiguousarray(rgb[..., ::-1]), points, 128)
    ours = crop_rgb(planes_of(rgb), swapper.crop_from_display(points, NO_MESH[0], 128), 128, colours())
    assert np.sqrt(abs(np.linalg.det(affine[:, :2]))) > 0.5
    difference = np.abs(ours * 255 - theirs[..., ::-1].transpose(2, 0, 1))
    assert difference.max() <= 0.5 + 255 * TOLERANCE


def test_the_crop_where_the_face_shrinks(swapper: Swapper, points: Float32Array) -> None:
    """Intended difference: of a face four times as large and full of fine noise ours keeps the mean, not the noise."""
    noise = np.random.default_rng(0).integers(0, 256, (2048, 2048, 3)).astype(np.uint8)
    large = points * 4
    theirs, _ = face_align.norm_crop2(noise, large, 128)
    ours = crop_rgb(planes_of(noise), swapper.crop_from_display(large, NO_MESH[0], 128), 128, colours())
    assert theirs.std() > 45
    assert ours.std() * 255 < 0.6 * theirs.std()
    assert ours.mean() * 255 == pytest.approx(theirs.mean(), abs=1)


def test_latent_and_swapped_crop(
    oracle: INSwapper,
    recorded: Recorded,
    swapper: Swapper,
    sessions: Sessions,
    source: SourceIdentity,
    points: Float32Array,
) -> None:
    """Given insightface's crop, ours has its input, its latent and its answer."""
    bgr = np.ascontiguousarray(astronaut()[..., ::-1])
    target, wanted = Face(kps=points), Face(embedding=source.vectors["w600k_r50"])
    theirs, affine = oracle.get(bgr, target, wanted, paste_back=False)
    crop = face_align.norm_crop2(bgr, points, 128)[0][..., ::-1]
    ours, masks = swapper.swap(as_crops(crop), NO_MESH, [source])
    manifest = manifest_called("inswapper_128")
    latents = Latents(manifest, sessions.open(manifest), None)
    assert np.allclose(affine, swapper.crop_from_display(points, NO_MESH[0], 128), atol=TOLERANCE)
    assert np.abs(as_crops(crop) - recorded.feeds["target"]).max() < TOLERANCE
    assert np.abs(latents.of(source.vectors["w600k_r50"][None]) - recorded.feeds["source"]).max() < TOLERANCE
    assert np.abs(ours - recorded.answer).max() < TOLERANCE
    rounded = np.floor(ours[0] * 255).transpose(1, 2, 0)[..., ::-1]
    assert (np.abs(rounded - theirs) > 1).sum() == 0
    assert (rounded != theirs).mean() < 0.001, "a code value's border may lie between"
    assert masks.shape == (1, 1, 128, 128)


def test_the_whole_way(oracle: INSwapper, swapper: Swapper, source: SourceIdentity, points: Float32Array) -> None:
    """Each with its own crop: what insightface's rounding of it does, and no more."""
    rgb = astronaut()
    theirs, _ = oracle.get(
        np.ascontiguousarray(rgb[..., ::-1]), Face(kps=points), Face(embedding=source.vectors["w600k_r50"]), False
    )
    crop = crop_rgb(planes_of(rgb), swapper.crop_from_display(points, NO_MESH[0], 128), 128, colours())
    ours = swapper.swap(crop[None], NO_MESH, [source])[0][0] * 255
    difference = np.abs(ours.transpose(1, 2, 0) - theirs[..., ::-1])
    assert difference.max() < 3
    assert difference.mean() < 0.7


def test_the_recogniser_s_chip_out_of_the_crop(points: Float32Array) -> None:
    """The chip for a target's own latent is insightface's norm_crop, 8 px inside its crop; finer crops give it too."""
    swapping, recognising = (manifest_called(name).template for name in ("inswapper_128", "w600k_r50"))
    assert swapping is not None
    assert recognising is not None
    bgr = np.ascontiguousarray(astronaut()[..., ::-1])
    theirs = face_align.norm_crop(bgr, points, 112)[..., ::-1].astype(int)
    crop = face_align.norm_crop2(bgr, points, 128)[0][..., ::-1]
    ours = chips_of_crops(as_crops(crop), 1, swapping, recognising)[0]
    assert np.array_equal(ours, crop[:112, 8:120])
    assert np.abs(ours - theirs).max() <= 2, "OpenCV rounds positions"
    finer = crop_rgb(
        planes_of(astronaut()), compose(crop_from_template(2), face_align.estimate_norm(points, 128)), 256, colours()
    )
    difference = np.abs(chips_of_crops(finer[None], 2, swapping, recognising)[0] - theirs)
    assert difference.mean() < 2, "averaged over 2x2 pixels"


def manifest_called(name: str) -> ModelManifest:
    return load_manifests(manifest_folder())[name]


def as_crops(rgb: NDArray[np.uint8]) -> Float32Array:
    return np.ascontiguousarray(rgb.transpose(2, 0, 1)[None], np.float32) / np.float32(255)


def colours() -> Any:
    return conversion("gbrp", Colour(matrix=0, range=2), 512)


def planes_of(rgb: NDArray[np.uint8]) -> tuple[Plane, ...]:
    """The picture as planes green, blue, red."""
    return tuple(np.ascontiguousarray(rgb[..., channel]) for channel in (1, 2, 0))


def test_planes_are_the_picture() -> None:
    rgb = astronaut()
    whole = crop_rgb(planes_of(rgb), np.array([[1.0, 0, 0], [0, 1, 0]]), 512, colours())
    assert np.allclose(whole.transpose(1, 2, 0) * 255, rgb, atol=1e-3)
