"""Enhancers on their twins: one path for all of them, and a film through swap and enhancer."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from core.errors import InputError, ModelError
from core.geometry import apply
from core.inference.manifest import by_id, load_manifests, manifest_folder
from core.inference.pixels import colours_of, numbers_of
from core.inference.providers import DeviceSpec
from core.inference.sessions import Sessions
from core.media.compare import frame_hash, frame_hashes
from core.media.plan import plan_segments
from core.records import (
    EncoderSettings,
    EncodeSpec,
    FaceTable,
    Float32Array,
    Role,
    SegmentReceipt,
    SourceIdentity,
    SwapOptions,
    WorkOrder,
)
from core.swap.enhance import BATCH, Enhancer, open_enhancer
from core.swap.masker import Masker, box_mask
from core.swap.segment import render_segment
from core.swap.stages import RoleOpener, Stage
from tests.core.media import rendering
from tests.core.swap.conftest import Film
from tests.frames import NOBODY

QUICK = ("gpen_256", "gfpgan_1.4", "restoreformer++", "codeformer")


@pytest.fixture(scope="module")
def sessions(twins: Path) -> Sessions:
    return Sessions(twins, DeviceSpec(wish="cpu"))


def opened(name: str, sessions: Sessions, **options: object) -> Enhancer:
    made = open_enhancer(replace(SwapOptions(enhancer=name), **options), sessions)  # type: ignore[arg-type]
    assert made is not None
    return made


def crops_for(enhancer: Enhancer, count: int, seed: int = 0) -> Float32Array:
    side = enhancer.side_for(100.0, NOBODY)
    coarse = np.random.default_rng(seed).random((count, 3, 8, 8), np.float32)
    return np.asarray(np.kron(coarse, np.ones((1, 1, side // 8, side // 8), np.float32)), np.float32)


def unknown(count: int) -> Float32Array:
    return np.full((count, 468, 2), np.nan, np.float32)


@pytest.mark.parametrize("name", [*QUICK[:2], *(pytest.param(name, marks=pytest.mark.heavy) for name in QUICK[2:])])
def test_every_family(name: str, sessions: Sessions) -> None:
    """Crops of the template's side come back restored: what the network itself says, as colours within 0..1."""
    enhancer = opened(name, sessions)
    manifest = by_id(load_manifests(manifest_folder()), name)
    crops = crops_for(enhancer, 2)
    fresh, masks = enhancer.swap(crops, unknown(2), [NOBODY] * 2)
    assert fresh.shape == crops.shape
    assert masks.shape == (2, 1, *crops.shape[2:])
    feeds = {manifest.inputs[0].name: numbers_of(crops[1:], manifest.pixels)}
    if len(manifest.inputs) > 1:
        feeds["weight"] = np.array([0.5], np.float32)
    alone = colours_of(sessions.open(manifest).run(feeds)[0], manifest.output_pixels)
    assert np.abs(fresh[1] - np.clip(alone[0], 0, 1)).max() < 1e-4
    assert 0 <= fresh.min() < fresh.max() <= 1
    assert np.abs(fresh - crops).max() > 0.05


@pytest.mark.heavy
def test_the_weight_is_given_to_the_network(sessions: Sessions) -> None:
    """The twin's weight scales what its transformer adds, so another one is another picture: the network's own."""
    manifest = by_id(load_manifests(manifest_folder()), "codeformer")
    crops = crops_for(opened("codeformer", sessions), 1)
    made = {}
    for weight in (0.0, 0.5, 1.0):
        made[weight], _ = opened("codeformer", sessions, enhancer_weight=weight).swap(crops, unknown(1), [NOBODY])
        feeds = {"input": numbers_of(crops, manifest.pixels), "weight": np.array([weight], np.float32)}
        alone = colours_of(sessions.open(manifest).run(feeds)[0], manifest.output_pixels)
        assert np.abs(made[weight] - np.clip(alone, 0, 1)).max() < 1e-6
    assert np.abs(made[0.0] - made[1.0]).max() > 0.01
    with pytest.raises(InputError, match=r"enhancer weight 1\.5; a number from 0 to 1"):
        opened("codeformer", sessions, enhancer_weight=1.5)


def test_no_faces_at_all(sessions: Sessions) -> None:
    enhancer = opened("gpen_256", sessions)
    fresh, masks = enhancer.swap(crops_for(enhancer, 1)[:0], unknown(0), [])
    assert fresh.shape == (0, 3, 256, 256)
    assert masks.shape == (0, 1, 256, 256)
    assert 1 <= enhancer.batch <= BATCH


def test_the_blend_is_in_the_mask(sessions: Sessions) -> None:
    crops = crops_for(enhancer := opened("gpen_256", sessions), 1)
    for blend in (0.25, 1.0):
        enhancer = opened("gpen_256", sessions, enhancer_blend=blend, mask_padding=(0.2, 0.0, 0.0, 0.0))
        mask = enhancer.swap(crops, unknown(1), [NOBODY])[1][0, 0]
        assert np.allclose(mask, blend * box_mask(256, 0.3, (0, 0, 0, 0)), atol=1e-6)


def test_the_face_lies_on_the_template(sessions: Sessions) -> None:
    enhancer = opened("gfpgan_1.4", sessions)
    template = by_id(load_manifests(manifest_folder()), "gfpgan_1.4").template
    assert template is not None
    wanted = np.array(template.points)
    turn = np.array([[0.3, -0.1, 40.0], [0.1, 0.3, 25.0]])
    crop_from_display = enhancer.crop_from_display(apply(turn, wanted), unknown(1)[0], 512)
    assert np.allclose(apply(crop_from_display, apply(turn, wanted)), wanted, atol=1e-6)
    with pytest.raises(ValueError, match="coincide"):
        enhancer.crop_from_display(np.full((5, 2), 7.0), unknown(1)[0], 512)


def test_what_cannot_be(sessions: Sessions) -> None:
    assert open_enhancer(SwapOptions(), sessions) is None
    assert open_enhancer(SwapOptions(enhancer="gpen_256", enhancer_blend=0), sessions) is None
    with pytest.raises(InputError, match="enhancer blend"):
        open_enhancer(SwapOptions(enhancer="gpen_256", enhancer_blend=1.5), sessions)
    with pytest.raises(ModelError, match="no enhancer called 'inswapper_128'"):
        open_enhancer(SwapOptions(enhancer="inswapper_128"), sessions)
    xseg = by_id(load_manifests(manifest_folder()), "xseg")
    with pytest.raises(ModelError, match="template's side"):
        Enhancer(xseg, sessions.open(xseg), Masker(SwapOptions(), None), SwapOptions())


def test_left_out_for_want_of_memory() -> None:
    """Without a session, as when it could not even be loaded: crops as they came, masks of nothing, and a count."""
    manifest = by_id(load_manifests(manifest_folder()), "gpen_256")
    enhancer = Enhancer(manifest, None, Masker(SwapOptions(), None), SwapOptions(enhancer_may_go=True))
    assert (enhancer.provider, enhancer.batch, enhancer.left_out) == ("none", BATCH, 0)
    crops = crops_for(enhancer, 3)
    fresh, masks = enhancer.swap(crops, unknown(3), [NOBODY] * 3)
    assert np.array_equal(fresh, crops)
    assert not masks.any()
    assert enhancer.left_out == 3
    with pytest.raises(ModelError, match="too little memory; allow it with --enhancer-may-go"):
        Enhancer(manifest, None, Masker(SwapOptions(), None), SwapOptions()).swap(crops, unknown(3), [NOBODY] * 3)


@pytest.mark.parametrize("kind", ["occlusion", "region"])
def test_masks_by_networks(kind: str, sessions: Sessions) -> None:
    """A network's mask lies within the box; crops of one call do not mix."""
    masker = Masker(SwapOptions(masks=("box", kind)), sessions)  # type: ignore[arg-type]
    crops = np.random.default_rng(2).random((3, 3, 128, 128), np.float32)
    crops[1] *= np.linspace(0, 1, 128, dtype=np.float32)
    together = masker.masks(crops, unknown(3))
    assert together.shape == (3, 1, 128, 128)
    assert (together <= box_mask(128, 0.3, (0, 0, 0, 0)) + 1e-6).all()
    assert together[:, 0, [0, -1]].max() == 0
    alone = np.concatenate([masker.masks(crop[None], unknown(1)) for crop in crops])
    assert np.abs(together - alone).mean() < 1e-3


@pytest.mark.heavy
def test_a_film_through_both_stages(film: Film, identity: SourceIdentity, sessions: Sessions, tmp_path: Path) -> None:
    """Swapped and enhanced, the same frames however the film is cut; the receipt names the stages."""
    faces = film.faces.take(film.faces.frame % 2 == 0)
    enhanced = SwapOptions(enhancer="gpen_256", enhancer_blend=0.5, paste="poisson")
    whole, receipts = frames_of(film, faces, identity, enhanced, sessions, tmp_path, Fraction(100))
    parts, _ = frames_of(film, faces, identity, enhanced, sessions, tmp_path, Fraction(0))
    assert whole == parts
    plain, _ = frames_of(film, faces, identity, replace(enhanced, enhancer=None), sessions, tmp_path, Fraction(100))
    original = frame_hashes(film.path, film.index)
    assert [a != b for a, b in zip(whole, original, strict=True)] == [n % 2 == 0 for n in range(len(original))]
    assert [a != b for a, b in zip(whole, plain, strict=True)] == [n % 2 == 0 for n in range(len(original))]
    assert set(receipts[0].seconds) == {"decode", "crop", "swap", "enhance", "paste", "encode"}
    assert receipts[0].faces_replaced == receipts[0].frames_replaced == len(faces)
    assert receipts[0].provider == "OpenCV"


def lossless(film: Film) -> EncoderSettings:
    chosen = rendering.settings(film.index, "matroska", [EncodeSpec("ffv1", None, None)])
    assert chosen is not None
    return chosen


def frames_of(
    film: Film,
    faces: FaceTable,
    identity: SourceIdentity,
    options: SwapOptions,
    sessions: Sessions,
    folder: Path,
    segment_s: Fraction,
) -> tuple[list[str], list[SegmentReceipt]]:
    """Hashes of the frames of the film's lossless segments, and their receipts."""
    chosen = lossless(film)
    role = Role("identity/a.json", "a", "mesh", options)
    hashes: list[str] = []
    receipts = []
    for segment in plan_segments(film.index, segment_s):
        order = WorkOrder(f"order {segment.index}", segment, str(film.path), film.index.sha256, "index", chosen)
        path = folder / f"{segment.index}.mkv"
        receipts.append(
            render_segment(
                source=film.path,
                index=film.index,
                order=order,
                faces=faces,
                roles=RoleOpener(lambda: sessions).open([(role, identity)]),
                output=path,
                threads=1,
                heartbeat=lambda _: None,
                sessions=sessions,
            )
        )
        with av.open(str(path)) as container:
            hashes += [frame_hash(frame) for frame in container.decode(video=0)]
    return hashes, receipts


def test_stages_of_roles(sessions: Sessions) -> None:
    """What roles have in common is opened once; how a face is laid into the frame is each role's own."""
    opener = RoleOpener(lambda: sessions)

    def opened(*wishes: tuple[str, SwapOptions]) -> list[tuple[Stage, ...]]:
        roles = [(Role("identity/a.json", "a", swapper, options), NOBODY) for swapper, options in wishes]
        return [role.stages for role in opener.open(roles)]

    padded = SwapOptions(mask_padding=(0.1, 0, 0, 0))
    (only,), two, other, (same,), softer, (unblended,) = opened(
        ("mesh", SwapOptions(colour="light")),
        ("mesh", SwapOptions(enhancer="gpen_256", paste="poisson")),
        ("inswapper_128", replace(padded, enhancer="gpen_256", colour="mean")),
        ("inswapper_128", replace(padded, paste="multiband")),
        ("inswapper_128", SwapOptions(enhancer="gpen_256", enhancer_blend=0.5)),
        ("mesh", SwapOptions(enhancer="gpen_256", enhancer_blend=0)),
    )
    assert (only.name, only.colour, only.paste) == ("swap", "light", "feather")
    assert [(stage.name, stage.paste) for stage in two] == [("swap", "poisson"), ("enhance", "feather")]
    assert two[0].model is only.model is unblended.model
    assert other[1].model is two[1].model
    assert same.model is other[0].model is not softer[0].model
    assert softer[1].model is not two[1].model
    ((again, enhancer),) = opened(("inswapper_128", replace(padded, enhancer="gpen_256")))
    assert again.model is same.model
    assert enhancer.model is not two[1].model, "counts of faces left out are of one call"
