"""The crop's side follows the face: fine for large faces, the same all through a track, never finer than the source."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from core.geometry import level_extent
from core.media.index import index_film
from core.media.planes import Plane
from core.records import EYE_OUTER, FaceTable, Float32Array, SourceIdentity
from core.swap import mask as masks
from core.swap.batch import Batcher
from core.swap.mesh import CROP_MARGIN, STRETCH, MeshSwapper
from core.swap.replace import Replacer
from core.swap.swapper import Swapper
from core.trust.label import label_for
from tests.core.media import rendering
from tests.core.swap.conftest import Film
from tests.core.swap.test_segment import rendered, some_faces
from tests.frames import Negative, copied, index_of, roles_of
from tests.media_clips import make_clip

ENLARGED = 5  # the astronaut's face of 109 px becomes one of 546


@pytest.fixture(scope="module")
def sharp(identity: SourceIdentity) -> SourceIdentity:
    """A source with detail of one pixel: the astronaut enlarged, under fine grain."""
    return replace(identity, image=enlarged(identity, 1), mesh=enlarged_mesh(identity))


def enlarged(identity: SourceIdentity, seed: int) -> NDArray[np.uint8]:
    big = cv2.resize(identity.image, None, fx=ENLARGED, fy=ENLARGED, interpolation=cv2.INTER_CUBIC).astype(np.float32)
    grain = np.random.default_rng(seed).standard_normal(big.shape[:2]).astype(np.float32)
    grain = cv2.GaussianBlur(grain, (0, 0), 0.8)
    return np.clip(np.rint(big * (1 + 0.06 * grain / grain.std())[..., None]), 0, 255).astype(np.uint8)


def enlarged_mesh(identity: SourceIdentity) -> Float32Array:
    return np.asarray((identity.mesh + 0.5) * ENLARGED - 0.5, np.float32)


def face_at(mesh: Float32Array) -> FaceTable:
    """A table of this one face [468,2], the largest of its track."""
    return FaceTable(
        frame=np.zeros(1, np.int64),
        box=np.concatenate([mesh.min(axis=0), mesh.max(axis=0)])[None],
        score=np.ones(1, np.float32),
        points=mesh[None, :5],
        mesh=mesh[None],
        presence=np.ones(1, np.float32),
        track=np.zeros(1, np.int32),
        role=np.zeros(1, np.int32),
        reach_px=np.array([level_extent(mesh, *EYE_OUTER)], np.float32),
    )


def test_the_side_follows_the_track_and_stays_within_the_source(
    identity: SourceIdentity, sharp: SourceIdentity
) -> None:
    swapper = MeshSwapper()
    edge = STRETCH * 256 / CROP_MARGIN
    sides = [swapper.side_for(reach, sharp) for reach in (0, 100, edge - 0.01, edge + 0.01, 600, 5000)]
    assert sides == [256, 256, 256, 512, 512, 512]
    assert swapper.side_for(5000, identity) == 256
    assert [MeshSwapper((512,)).side_for(reach, identity) for reach in (0, 5000)] == [512, 512]


def test_a_close_up_keeps_its_detail(identity: SourceIdentity, sharp: SourceIdentity) -> None:
    """Of a face 546 px high the finer crop shows at least 1.8 times the detail; what lies outside keeps its bits."""
    before = tuple(np.ascontiguousarray(plane) for plane in np.moveaxis(enlarged(identity, 2)[..., [1, 2, 0]], 2, 0))
    high, wide = before[0].shape
    index = index_of(wide, high, "gbrp")
    table = face_at(enlarged_mesh(identity))
    hull = masks.filled_hull(table.mesh[0], masks.OVAL, max(high, wide))[:high, :wide]
    x0, y0, x1, y1 = label_for(index, "gbrp").box
    hull[y0:y1, x0:x1] = 1
    found = []
    for swapper, side in ((MeshSwapper((256,)), 256), (MeshSwapper(), 512)):
        after, cover = replaced(before, table, swapper, sharp, side)
        assert not np.concatenate([cover[0], cover[-1], cover[:, 0], cover[:, -1]]).any()
        for old, new in zip(before, after, strict=True):
            assert np.array_equal(old[hull == 0], new[hull == 0])
        found.append(detail(after[0], table.mesh[0]))
    assert found[1] > 1.8 * found[0]
    assert found[1] > 0.45 * detail(before[0], table.mesh[0])


def replaced(
    before: tuple[Plane, ...], table: FaceTable, swapper: MeshSwapper, source: SourceIdentity, side: int
) -> tuple[tuple[Plane, ...], Float32Array]:
    """The planes with the face and the label in, and the crop's mask."""
    planes = copied(before)
    replacer = Replacer(
        index_of(planes[0].shape[1], planes[0].shape[0], "gbrp"), "gbrp", table, roles_of(swapper, source)
    )
    works = replacer.cut(planes, replacer.wanted(0))
    batcher = Batcher(swapper)
    batcher.add(works)
    batcher.flush()
    replacer.finish(planes, works)
    assert works[0].side_px == side
    assert works[0].mask is not None
    assert works[0].mask.shape == (side, side)
    return planes, works[0].mask


def detail(plane: Plane, mesh: Float32Array) -> float:
    """Standard deviation of what a blur of 1 px takes away, on both cheeks."""
    value = plane.astype(np.float32)
    fine = value - cv2.GaussianBlur(value, (0, 0), 1.0)
    spots = [fine[round(y) - 20 : round(y) + 21, round(x) - 20 : round(x) + 21] for x, y in mesh[[50, 280]].tolist()]
    return float(np.sqrt(np.mean(np.square(spots))))


def test_a_small_face_looks_the_same_at_either_side(film: Film, identity: SourceIdentity, tmp_path: Path) -> None:
    """So a face that is small in one part of its track and large in another loses nothing where it is small."""
    order = rendering.cut(film.index, 1)
    made = []
    for sides in ((256,), (512,)):
        _, firsts, receipts = rendered(
            film.path, film.index, order, tmp_path, faces=film.faces, swapper=MeshSwapper(sides), identity=identity
        )
        assert receipts[0].faces_replaced == film.index.frames
        made.append(np.stack(firsts).astype(int))
    difference = np.abs(made[0] - made[1])
    assert difference.max() <= 4
    assert difference[difference > 0].mean() < 1.5
    steps = [np.abs(np.diff(one, axis=0)).mean() for one in made]
    assert steps[1] < 1.02 * steps[0]


class TwoSides(Negative):
    """Crops of 32 or 64 px, by reach."""

    def side_for(self, reach_px: float, identity: SourceIdentity) -> int:
        del identity
        return 64 if reach_px > 50 else 32


def test_two_sides_in_one_film_however_cut(clips: Path, tmp_path: Path) -> None:
    """Two faces a frame at different sides, their batches filling at different times: same frames for any cut."""
    source = make_clip("cfr_mp4", clips)
    index = index_film(source)
    fine = some_faces(index, [frame for frame in range(index.frames) if frame % 5 < 2], radius=20)
    coarse = some_faces(index, [frame for frame in range(index.frames) if frame % 3 == 0], radius=10)
    table = FaceTable.concat([replace(fine, reach_px=np.full(len(fine), 80, np.float32)), coarse])
    table = table.take(np.argsort(table.frame, kind="stable"))
    results = []
    for pieces in (1, 0):
        swapper: Swapper = TwoSides()
        hashes, _, receipts = rendered(
            source, index, rendering.cut(index, pieces), tmp_path, faces=table, swapper=swapper
        )
        assert sum(receipt.faces_replaced for receipt in receipts) == len(table)
        results.append(hashes)
    assert results[0] == results[1]
