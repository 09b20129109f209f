"""Networks as swappers, every family on its twin: one path, told apart by manifests alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.errors import InputError, ModelError, PlanError
from core.faces.align import template_chip
from core.faces.analyse import FaceModels
from core.faces.embed import Recogniser
from core.geometry import apply, similarity
from core.inference.manifest import ModelManifest, load_manifests, manifest_folder
from core.inference.pixels import colours_of, numbers_of
from core.inference.providers import DeviceSpec
from core.inference.sessions import Sessions
from core.records import Float32Array, SourceIdentity, SwapOptions
from core.swap.latents import Latents
from core.swap.masker import Masker
from core.swap.neural import HELD, NeuralSwapper
from core.swap.source import PictureSource, chips_of_crops
from core.swap.swapper import open_swapper, swapper_names
from tests.choice import some
from tests.faces_assets import astronaut

NEURAL = tuple(name for name in swapper_names() if name != "mesh")
ALIKE = 2e-4  # two batch sizes: kernels round differently, and some twins make more of it (see parity)
PER_KIND = ("inswapper_128", "ghost_1_256", "hyperswap_1a_256", "uniface_256")  # emap, converted, embedding, image


def manifest_called(name: str) -> ModelManifest:
    return load_manifests(manifest_folder())[name]


@pytest.fixture(scope="module")
def sessions(twins: Path) -> Sessions:
    return Sessions(twins, DeviceSpec(wish="cpu"))


@pytest.fixture(scope="module")
def points(models: FaceModels) -> Float32Array:
    return models.detector.detect([astronaut()])[0].points[0]


@pytest.fixture(scope="module")
def source(identity: SourceIdentity, sessions: Sessions, points: Float32Array) -> SourceIdentity:
    """The astronaut, as she is."""
    recogniser = Recogniser(sessions.open(manifest_called("w600k_r50")))
    vector = recogniser.embed([recogniser.chip(astronaut(), points)])[0]
    return replace(identity, vectors={"w600k_r50": vector})


@pytest.fixture(scope="module")
def another(source: SourceIdentity) -> SourceIdentity:
    """Somebody else: the picture upside down in colour, and a vector that points elsewhere."""
    vector = np.random.default_rng(4).normal(size=512).astype(np.float32)
    return replace(source, id="another", image=255 - source.image, vectors={"w600k_r50": vector})


def crops_for(name: str, points: Float32Array, *, boost: int = 1, count: int = 3) -> Float32Array:
    """The astronaut's face as this swapper wants it, darker from one crop to the next."""
    template = manifest_called(name).template
    assert template is not None
    finer = replace(
        template,
        side_px=template.side_px * boost,
        points=tuple((x * boost + (boost - 1) / 2, y * boost + (boost - 1) / 2) for x, y in template.points),
    )
    chip = template_chip(astronaut(), points, finer).transpose(2, 0, 1).astype(np.float32) / 255
    return np.stack([chip * (1 - 0.2 * number) for number in range(count)])


def no_mesh(count: int) -> Float32Array:
    return np.full((count, 468, 2), np.nan, np.float32)


@pytest.mark.parametrize("name", some(NEURAL, PER_KIND))
def test_every_family(
    name: str, sessions: Sessions, points: Float32Array, source: SourceIdentity, another: SourceIdentity
) -> None:
    swapper = open_swapper(name, sessions)
    side = swapper.side_for(90.0, source)
    crops = crops_for(name, points)
    assert crops.shape == (3, 3, side, side)
    assert (swapper.id, swapper.needs_mesh, swapper.provider) == (name, False, "CPUExecutionProvider")
    fresh, masks = swapper.swap(crops, no_mesh(3), [source] * 3)
    assert fresh.shape == crops.shape
    assert fresh.dtype == masks.dtype == np.float32
    assert 0 <= fresh.min() <= fresh.max() <= 1
    assert masks.shape == (3, 1, side, side)
    assert np.array_equal(masks, Masker(SwapOptions(), None).masks(crops, no_mesh(3)))
    # the source decides, and so does the target
    assert np.abs(fresh - swapper.swap(crops, no_mesh(3), [another] * 3)[0]).max() > 0.01
    assert np.abs(fresh[0] - fresh[2]).max() > 0.01
    # faces of one batch do not touch each other
    for row in (0, 2):
        alone = swapper.swap(crops[row : row + 1], no_mesh(1), [source])[0]
        assert np.abs(alone[0] - fresh[row]).max() < ALIKE
    assert swapper.swap(crops[:0], no_mesh(0), [])[0].shape == (0, 3, side, side)


@pytest.mark.parametrize("name", NEURAL)
def test_the_numbers_that_the_network_sees(
    name: str, sessions: Sessions, points: Float32Array, source: SourceIdentity
) -> None:
    """What the manifest says of colours and identity, done by hand on the session."""
    manifest = manifest_called(name)
    assert manifest.swap is not None
    session = sessions.open(manifest)
    if manifest.swap.identity == "image":
        item = PictureSource(manifest).of(source)
    else:
        converter = manifest.swap.converter
        opened = sessions.open(manifest_called(converter)) if converter else None
        item = Latents(manifest, session, opened).of(source.vectors["w600k_r50"][None])[0]
    crops = crops_for(name, points, count=1)
    answer = session.run({"target": numbers_of(crops, manifest.pixels), "source": item[None]})[0]
    expected = np.clip(colours_of(answer, manifest.output_pixels), 0, 1)
    made = open_swapper(name, sessions).swap(crops, no_mesh(1), [source])[0]
    assert np.abs(made - expected).max() < 1e-6


@pytest.mark.parametrize(("name", "boost"), [("inswapper_128", 2), ("inswapper_128", 3), ("ghost_1_256", 2)])
def test_boost_is_the_network_on_each_picture(
    name: str, boost: int, sessions: Sessions, points: Float32Array, source: SourceIdentity
) -> None:
    swapper, plain = open_swapper(name, sessions, SwapOptions(boost=boost)), open_swapper(name, sessions)
    count = 2 if boost == 2 else 1
    crops = crops_for(name, points, boost=boost, count=count)
    assert swapper.side_for(90.0, source) == crops.shape[-1]
    fresh, masks = swapper.swap(crops, no_mesh(count), [source] * count)
    assert masks.shape == (count, 1, crops.shape[-1], crops.shape[-1])
    for number in range(count):
        for row in range(boost):
            for column in range(boost):
                picture = np.ascontiguousarray(crops[number : number + 1, :, row::boost, column::boost])
                expected = plain.swap(picture, no_mesh(1), [source])[0][0]
                assert np.abs(fresh[number, :, row::boost, column::boost] - expected).max() < ALIKE


@pytest.mark.parametrize("name", PER_KIND)
def test_strength(
    name: str, sessions: Sessions, points: Float32Array, source: SourceIdentity, another: SourceIdentity
) -> None:
    """At 0 the target's own identity is put in, whoever the source is; in between, something between."""
    crops = crops_for(name, points, count=2)
    none, half, full = (
        open_swapper(name, sessions, SwapOptions(strength=strength)).swap(crops, no_mesh(2), [another] * 2)[0]
        for strength in (0.0, 0.5, 1.0)
    )
    ignored = open_swapper(name, sessions, SwapOptions(strength=0.0)).swap(crops, no_mesh(2), [source] * 2)[0]
    assert np.abs(none - ignored).max() < 1e-6
    assert np.abs(none - full).max() > 0.01
    apart = float(np.abs(none - full).mean())
    assert 0 < float(np.abs(none - half).mean()) < 1.2 * apart
    assert 0 < float(np.abs(half - full).mean()) < 1.2 * apart


@pytest.mark.parametrize("boost", [1, 2])
def test_own_identity_of_the_source_itself(
    boost: int, sessions: Sessions, points: Float32Array, source: SourceIdentity
) -> None:
    """The target's vector out of its crop is nearly the one out of its picture: strength does nothing to the source
    put into itself."""
    recogniser = Recogniser(sessions.open(manifest_called("w600k_r50")))
    for name in PER_KIND[:3]:
        template = manifest_called(name).template
        assert template is not None
        crops = crops_for(name, points, boost=boost, count=1)
        chip = chips_of_crops(crops, boost, template, recogniser.template)[0].astype(float)
        straight = recogniser.chip(astronaut(), points).astype(float)
        # arcface_112_v1 has another shape than v2: the similarity between them is off by some pixels at the mouth
        moved = apply(similarity(np.array(template.points), np.array(recogniser.template.points)), template.points)
        off_px = float(np.abs(moved - np.array(recogniser.template.points)).max())
        assert np.abs(chip - straight).mean() < 3 + 6 * off_px
        assert off_px < 0.01 if name != "ghost_1_256" else off_px < 4


def test_the_recogniser_is_opened_for_a_mixture_only(twins: Path) -> None:
    for strength, opened in ((1.0, ("inswapper_128",)), (0.7, ("inswapper_128", "w600k_r50"))):
        sessions = Sessions(twins, DeviceSpec(wish="cpu"))
        open_swapper("inswapper_128", sessions, SwapOptions(strength=strength))
        assert tuple(sorted(use.id for use in sessions.uses())) == opened


def test_identities_are_kept_by_what_they_are(
    sessions: Sessions, points: Float32Array, source: SourceIdentity, another: SourceIdentity
) -> None:
    """The same id with other vectors is not taken for the same."""
    swapper = open_swapper("inswapper_128", sessions)
    crops = crops_for("inswapper_128", points, count=1)
    first = swapper.swap(crops, no_mesh(1), [source])[0]
    other = swapper.swap(crops, no_mesh(1), [replace(another, id=source.id)])[0]
    assert np.abs(first - other).max() > 0.01
    for number in range(HELD + 1):
        swapper.swap(crops, no_mesh(1), [replace(source, id=str(number))])
    assert np.array_equal(swapper.swap(crops, no_mesh(1), [source])[0], first)


def test_a_source_without_what_is_needed(sessions: Sessions, points: Float32Array, identity: SourceIdentity) -> None:
    crops = crops_for("inswapper_128", points, count=1)
    without = replace(identity, vectors={"w600k_mbf": np.ones(512, np.float32)}, points=np.zeros((5, 2), np.float32))
    with pytest.raises(PlanError, match="no vector of w600k_r50, which inswapper_128 needs"):
        open_swapper("inswapper_128", sessions).swap(crops, no_mesh(1), [without])
    with pytest.raises(PlanError, match="no five points"):
        open_swapper("uniface_256", sessions).swap(crops_for("uniface_256", points, count=1), no_mesh(1), [without])


def test_points_that_are_no_face(sessions: Sessions) -> None:
    swapper = open_swapper("inswapper_128", sessions)
    for wrong in (np.full((5, 2), 7.0), np.full((5, 2), np.nan)):
        with pytest.raises(ValueError, match="points"):
            swapper.crop_from_display(wrong, no_mesh(1)[0], 128)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("inswapper_128", SwapOptions(boost=9), "pixel boost 9 for inswapper_128; a whole number from 1 to 8"),
        ("inswapper_128", SwapOptions(boost=0), "pixel boost 0"),
        ("simswap_512", SwapOptions(boost=5), "a whole number from 1 to 4"),
        ("inswapper_128", SwapOptions(strength=1.1), "swap strength 1.1; a number from 0 to 1"),
        ("inswapper", SwapOptions(), "unknown swapper inswapper; one of: mesh, .*inswapper_128"),
        ("w600k_r50", SwapOptions(), "unknown swapper w600k_r50"),
    ],
)
def test_options_that_cannot_be_followed(name: str, options: SwapOptions, message: str, sessions: Sessions) -> None:
    with pytest.raises(InputError, match=message):
        open_swapper(name, sessions, options)


def test_manifests_that_describe_no_swapper(sessions: Sessions) -> None:
    """An operator's own manifest: what is wrong with it is said, not met as an exception of the runtime."""
    session = sessions.open(manifest_called("inswapper_128"))
    good = session.manifest
    assert good.template is not None
    masker = Masker(SwapOptions(), None)
    picture = PictureSource(manifest_called("uniface_256"))
    wrong = (
        (replace(good, template=None), r"no table \[template\]"),
        (replace(good, template=replace(good.template, side_px=256)), "a template of 256 px for an input of 128 px"),
        (replace(good, inputs=good.inputs[:1]), "a swapper's inputs are source and target, the manifest has target"),
    )
    try:
        for manifest, message in wrong:
            session.manifest = manifest
            with pytest.raises(ModelError, match=message):
                NeuralSwapper(session, picture, masker, SwapOptions())
    finally:
        session.manifest = good
    with pytest.raises(ModelError, match=r"no table \[swap.image\]"):
        PictureSource(good)


def test_numbers_that_are_none(sessions: Sessions, points: Float32Array, source: SourceIdentity) -> None:
    """What overflows in a network is refused, not pasted."""
    crops = crops_for("inswapper_128", points, count=1)
    crops[0, 0, 60, 60] = np.nan
    with pytest.raises(ModelError, match="not finite; check the file of its weights"):
        open_swapper("inswapper_128", sessions).swap(crops, no_mesh(1), [source])


def test_from_several_threads(
    sessions: Sessions, points: Float32Array, source: SourceIdentity, another: SourceIdentity
) -> None:
    swapper = open_swapper("ghost_1_256", sessions)
    crops = crops_for("ghost_1_256", points, count=1)
    expected = [open_swapper("ghost_1_256", sessions).swap(crops, no_mesh(1), [who])[0] for who in (source, another)]
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda n: swapper.swap(crops, no_mesh(1), [(source, another)[n % 2]])[0], range(8)))
    for number, fresh in enumerate(made):
        assert np.array_equal(fresh, expected[number % 2])
