"""Frames through several face stages: order, contents, batches and the bound on what is held."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.geometry import Float64Array, square_crop
from core.media.decode import DecodedFrame
from core.media.planes import plane_views
from core.records import FaceTable, Float32Array, SourceIdentity
from core.swap.chain import Chain, Clock
from core.swap.replace import Replacer
from core.swap.stages import OpenRole, Stage
from core.trust.label import label_for
from tests.faces_assets import made_up_faces
from tests.frames import NOBODY, Negative, disc, index_of, noise, roles_of

WIDE, HIGH = 192, 144
INDEX = index_of(WIDE, HIGH, "gray")


class Brighter(Negative):
    """A second stage: halfway to white inside a smaller disc of a larger crop; remembers what it was shown."""

    id = "brighter"

    def __init__(self, side: int = 96, least_px: float = 0.0) -> None:
        super().__init__(side)
        self.seen: list[float] = []
        self._least_px = least_px

    def crop_from_display(self, points: np.ndarray, mesh: np.ndarray, side_px: int) -> Float64Array:
        del mesh
        extent = float(np.ptp(points, axis=0).max())
        if extent < self._least_px:
            raise ValueError("too little")
        return square_crop(points.mean(axis=0), 2.0 * extent, 0.3, side_px)

    def swap(
        self, crops: Float32Array, landmarks: Float32Array, identities: Sequence[SourceIdentity]
    ) -> tuple[Float32Array, Float32Array]:
        del landmarks, identities
        self.batches.append(len(crops))
        middle = crops.shape[-1] // 2
        self.seen += crops[:, 0, middle, middle].tolist()
        masks = np.broadcast_to(disc(crops.shape[-1], 0.2), (len(crops), 1, *crops.shape[2:]))
        return np.asarray(crops / 2 + 0.5, np.float32), np.asarray(masks, np.float32)


def frames(count: int) -> Iterator[DecodedFrame]:
    """Grey noise, another seed each."""
    for number in range(count):
        frame = av.VideoFrame(WIDE, HIGH, "gray")
        plane_views(frame)[0][...] = noise(WIDE, HIGH, "gray", 8, number)[0]
        yield DecodedFrame(number, number, frame)


def faces_on(numbers: Sequence[int], radius: float = 20.0) -> FaceTable:
    """A face to be replaced on each of these frames; a number given twice has two."""
    at = np.asarray(numbers, np.int64)
    copy = np.array([list(numbers[:place]).count(number) for place, number in enumerate(numbers)])
    centres = np.stack([50.0 + 80 * copy, np.full(len(at), 60.0)], axis=1)
    table = made_up_faces(at, centres.reshape(-1, 2), radius)
    return replace(table, role=np.zeros(len(at), np.int32))


def through(
    count: int, table: FaceTable, stages: Sequence[Stage], ring: int = 8
) -> tuple[list[np.ndarray], Replacer, Chain]:
    replacer = Replacer(INDEX, "gray", table, [OpenRole(NOBODY, tuple(stages))])
    chain = Chain(replacer, Clock(), lambda: ring)
    taken = given_back = 0

    def counted() -> Iterator[DecodedFrame]:
        nonlocal taken
        for item in frames(count):
            taken += 1
            assert taken - given_back <= ring
            yield item

    made = []
    for item in chain.through(counted()):
        assert item.ordinal == given_back
        given_back += 1
        made.append(plane_views(item.frame)[0].copy())
    assert given_back == count
    return made, replacer, chain


def one_by_one(count: int, table: FaceTable, stages: Sequence[Stage]) -> list[np.ndarray]:
    """The same without a ring: each frame alone through all stages."""
    made = []
    for item in frames(count):
        replacer = Replacer(INDEX, "gray", table, [OpenRole(NOBODY, tuple(stages))])
        planes = plane_views(item.frame)
        rows = replacer.wanted(item.ordinal)
        for number, stage in enumerate(stages):
            works = replacer.cut(planes, rows, number)
            for work in works:
                fresh, masks = stage.model.swap(work.crop[None], work.landmarks[None], [NOBODY])
                work.fresh, work.mask = fresh[0], masks[0, 0]
            replacer.paste(planes, works)
        if rows:
            label_for(INDEX, "gray").draw(planes)
        made.append(planes[0].copy())
    return made


@settings(deadline=None, max_examples=20)
@given(
    on=st.lists(st.integers(0, 19), max_size=40).map(sorted).filter(lambda on: all(on.count(n) <= 2 for n in on)),
    ring=st.integers(1, 9),
    sizes=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    second=st.booleans(),
)
def test_as_if_each_frame_went_alone(on: list[int], ring: int, sizes: tuple[int, int], second: bool) -> None:
    """Any faces, ring and batch sizes: the same frames, in order, and never more of them held than the ring's size."""
    stages = [Stage("swap", Negative(), batch=sizes[0])]
    if second:
        stages.append(Stage("enhance", Brighter(), batch=sizes[1]))
    table = faces_on(on)
    made, replacer, _ = through(20, table, stages, ring)
    assert all(np.array_equal(a, b) for a, b in zip(made, one_by_one(20, table, stages), strict=True))
    assert replacer.faces_replaced == len(on)
    assert replacer.frames_replaced == len(set(on))


def test_batches_are_filled_in_both_stages() -> None:
    """A face on each frame: fours all the way, the rest at the end. Seconds are known by stage."""
    swapper, enhancer = Negative(), Brighter()
    _, replacer, chain = through(18, faces_on(range(18)), [Stage("swap", swapper), Stage("enhance", enhancer)])
    assert swapper.batches == [4, 4, 4, 4, 2]
    assert enhancer.batches == [4, 4, 4, 4, 2]
    assert set(chain.seconds()) == {"swap", "enhance"}
    assert replacer.skipped == {}


def test_the_ring_may_shrink_on_the_way() -> None:
    """Asked at every frame: from the tenth frame on only two are held, and batches are no larger than that."""
    swapper = Negative()
    replacer = Replacer(INDEX, "gray", faces_on(range(20)), roles_of(swapper))
    taken = given_back = 0
    chain = Chain(replacer, Clock(), lambda: 8 if taken < 10 else 2)

    def counted() -> Iterator[DecodedFrame]:
        nonlocal taken
        for item in frames(20):
            taken += 1
            assert taken - given_back <= (8 if taken < 11 else 2)
            yield item

    for item in chain.through(counted()):
        assert item.ordinal == given_back
        given_back += 1
    assert given_back == 20
    assert swapper.batches == [4, 4, 2, 2, 2, 2, 2, 2]


def test_the_second_stage_sees_what_the_first_left() -> None:
    """The face's middle was made white; the frame under it was black."""
    black = [DecodedFrame(0, 0, av.VideoFrame(WIDE, HIGH, "gray"))]
    plane_views(black[0].frame)[0][...] = 0
    enhancer = Brighter()
    stages = (Stage("swap", Negative()), Stage("enhance", enhancer))
    replacer = Replacer(INDEX, "gray", faces_on([0]), [OpenRole(NOBODY, stages)])
    list(Chain(replacer, Clock()).through(iter(black)))
    assert enhancer.seen == pytest.approx([1.0], abs=1e-6)


def test_what_a_later_stage_leaves_alone_is_counted_apart() -> None:
    stages = [Stage("swap", Negative()), Stage("enhance", Brighter(least_px=1000))]
    _, replacer, _ = through(5, faces_on([1, 3]), stages)
    assert replacer.skipped == {"no area to enhance": 2}
    assert (replacer.faces_replaced, replacer.frames_replaced) == (2, 2)


def test_a_face_that_cannot_be_cut_leaves_the_frame_as_it_is() -> None:
    table = faces_on([2])
    table = replace(table, points=np.full_like(table.points, 50), mesh=np.full_like(table.mesh, 50))
    made, replacer, _ = through(4, table, [Stage("swap", Negative()), Stage("enhance", Brighter())])
    assert all(np.array_equal(a, plane_views(b.frame)[0]) for a, b in zip(made, frames(4), strict=True))
    assert replacer.skipped == {"no area": 1}
    assert replacer.frames_replaced == 0


def test_paste_and_colour_are_the_stage_s() -> None:
    """Each setting changes the result, and nothing outside the disc."""
    table = faces_on([0])
    plain = through(1, table, [Stage("swap", Negative())])[0][0]
    for stage in (Stage("swap", Negative(), "poisson"), Stage("swap", Negative(), colour="mean")):
        made = through(1, table, [stage])[0][0]
        rows, columns = np.nonzero(made != plain)
        assert len(rows) > 100
        extent = float(np.ptp(table.points[0], axis=0).max())
        middle = table.points[0].mean(axis=0)
        assert np.hypot(columns - middle[0], rows - middle[1]).max() < 2.5 * extent * 0.45 + 3
