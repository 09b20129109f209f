"""Masks of a crop: what each kind leaves, that the rim is 0, and that kinds combine by minimum."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import InputError, ModelError
from core.inference.manifest import ModelManifest, load_manifests, manifest_folder
from core.inference.providers import DeviceSpec
from core.inference.sessions import Sessions
from core.records import Float32Array, SwapOptions
from core.swap.masker import Masker, box_mask, mask_fault, network_input, occlusion_of, region_of
from tests.faces_assets import shape_of_dots

UNKNOWN = np.full((1, 468, 2), np.nan, np.float32)


def crops(count: int = 1, side: int = 64) -> Float32Array:
    return np.asarray(np.random.default_rng(1).random((count, 3, side, side)), np.float32)


def face(side: int = 64, radius: float = 0.3) -> Float32Array:
    return np.asarray(shape_of_dots() * radius * side + side / 2, np.float32)


@settings(deadline=None, max_examples=60)
@given(
    side=st.sampled_from([64, 128, 256]),
    blur=st.floats(0, 1),
    padding=st.tuples(*[st.floats(0, 0.45)] * 4),
)
def test_box(side: int, blur: float, padding: tuple[float, float, float, float]) -> None:
    mask = box_mask(side, blur, padding)
    assert mask.dtype == np.float32
    rim = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    assert rim.max() == 0
    assert 0 <= mask.min() <= mask.max() <= 1
    if padding == (0, 0, 0, 0):
        assert np.allclose(mask, mask.T)
        assert np.allclose(mask, mask[::-1, ::-1])


def test_box_follows_the_known_one() -> None:
    """Blur 0.3 at a side of 128: half way at 9.6 px from the edge, 1 in the middle."""
    row = box_mask(128, 0.3, (0, 0, 0, 0))[64]
    assert row[64] == pytest.approx(1, abs=1e-6)
    assert np.interp(9.1, np.arange(128), row) == pytest.approx(0.5, abs=0.02)
    assert row[20] > 0.98
    padded = box_mask(128, 0.0, (0.25, 0, 0.5, 0.125))
    assert (padded > 0.5).sum(axis=0).max() == 32
    assert np.flatnonzero(padded[40] > 0.5)[[0, -1]].tolist() == [16, 126]


def test_no_blur_still_leaves_the_rim() -> None:
    mask = Masker(SwapOptions(mask_blur=0), None).masks(crops(), UNKNOWN)
    assert mask.shape == (1, 1, 64, 64)
    assert mask[0, 0, 1:-1, 1:-1].min() == 1
    assert mask[0, 0, 0].max() == 0


def test_hull_is_inside_the_face_and_the_minimum_counts() -> None:
    both = Masker(SwapOptions(masks=("box", "hull")), None)
    hull = Masker(SwapOptions(masks=("hull",)), None)
    box = Masker(SwapOptions(), None)
    landmarks = np.stack([face(), UNKNOWN[0], face(radius=0.45)])
    made = [masker.masks(crops(3), landmarks) for masker in (both, hull, box)]
    assert np.allclose(made[0], np.minimum(made[1], made[2]), atol=1e-6)
    rows, columns = np.nonzero(made[1][0, 0])
    assert np.hypot(rows - 32, columns - 32).max() <= 0.3 * 64 + 1
    assert made[1][0, 0, 32, 32] == 1
    assert np.array_equal(made[1][1], made[2][1]), "no mesh: the box"


def test_no_face_at_all() -> None:
    assert Masker(SwapOptions(), None).masks(crops(2)[:0], UNKNOWN[:0]).shape == (0, 1, 64, 64)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (SwapOptions(masks=("oval",)), "unknown mask oval"),  # type: ignore[arg-type]
        (SwapOptions(mask_blur=1.5), "mask blur 1.5"),
        (SwapOptions(mask_padding=(0.5, 0, 0.5, 0)), "leaves no mask"),
        (SwapOptions(masks=("occlusion",)), "without its model"),
    ],
)
def test_what_cannot_be(options: SwapOptions, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Masker(options, None)


def test_outputs_of_the_networks() -> None:
    scores = np.zeros((1, 19, 2, 2), np.float32)
    scores[0, [1, 17, 13, 0], [0, 0, 1, 1], [0, 1, 0, 1]] = 5  # skin, hair; lip, background
    assert region_of(scores)[0].tolist() == [[1, 0], [1, 0]]
    seen = np.array([[-1, 0.25], [0.5, 2]], np.float32)
    for layout in (seen[None, ..., None], seen[None, None]):
        assert occlusion_of(layout)[0].tolist() == [[0, 0.25], [0.5, 1]]


@pytest.mark.parametrize(
    "options",
    [SwapOptions(masks=("occlusion",), occlusion_model="bisenet"), SwapOptions(masks=("region",), region_model="none")],
)
def test_a_network_of_another_role(options: SwapOptions, twins: Path) -> None:
    with pytest.raises(ModelError, match=f"no {options.masks[0]} called '(bisenet|none)'; one of: (xseg|bisenet)"):
        Masker(options, Sessions(twins, DeviceSpec(wish="cpu")))


def test_tensors_that_are_no_masks() -> None:
    manifests = load_manifests(manifest_folder())
    xseg, bisenet = manifests["xseg"], manifests["bisenet"]
    assert mask_fault(xseg) is None
    assert mask_fault(bisenet) is None

    def shaped(manifest: ModelManifest, into: tuple[int | str, ...], out: tuple[int | str, ...]) -> str | None:
        first, answer = manifest.inputs[0], manifest.outputs[0]
        return mask_fault(
            replace(manifest, inputs=(replace(first, shape=into),), outputs=(replace(answer, shape=out),))
        )

    assert shaped(xseg, (1, 3, 128, 128), (1, 1, 128, 128)) is None
    assert "one square picture" in str(shaped(xseg, (1, 4, 128, 128), (1, 1, 128, 128)))
    assert "one square picture" in str(shaped(xseg, (1, 3, "h", "w"), (1, 1, 128, 128)))
    assert "a square of 1 channels" in str(shaped(xseg, (1, 3, 128, 128), (1, 2, 128, 128)))
    assert "a square of 19 channels" in str(shaped(bisenet, (1, 3, 128, 128), (1, 11, 128, 128)))
    assert "a square of 19 channels" in str(shaped(bisenet, (1, 3, 128, 128), (1, 128, 128, 19)))
    assert "one square picture" in str(mask_fault(replace(xseg, inputs=(*xseg.inputs, *xseg.inputs))))


@pytest.mark.parametrize(("name", "shape"), [("xseg", (2, 256, 256, 3)), ("bisenet", (2, 3, 512, 512))])
def test_inputs_of_the_networks(name: str, shape: tuple[int, ...]) -> None:
    """Red crops: the channel, its number and its axis are as the manifest says."""
    manifest = load_manifests(manifest_folder())[name]
    red = np.zeros((2, 3, 64, 64), np.float32)
    red[:, 0] = 1
    made = network_input(red, manifest)
    assert made.shape == shape
    if name == "xseg":
        assert made[0, 5, 5].tolist() == [0, 0, 1]
    else:
        assert np.allclose(made[0, :, 5, 5], [(1 - 0.485) / 0.229, -0.456 / 0.224, -0.406 / 0.225])
