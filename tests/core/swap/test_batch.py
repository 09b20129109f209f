"""Batches: four at a time, in order, the rest at the flush."""

from __future__ import annotations

import numpy as np
import pytest

from core.geometry import IDENTITY
from core.swap.batch import Batcher, FaceWork
from core.swap.stages import Stage
from tests.frames import NOBODY, Negative

STAGE = Stage("swap", Negative(16))


def faces(count: int, side: int = 16) -> list[FaceWork]:
    return [
        FaceWork(
            IDENTITY, np.full((3, side, side), number / 100, np.float32), np.zeros((468, 2), np.float32), NOBODY, STAGE
        )
        for number in range(count)
    ]


@pytest.mark.parametrize(
    ("arrivals", "batches"),
    [([1, 1, 1, 1], [4]), ([3], [3]), ([9], [4, 4, 1]), ([2, 3, 2], [4, 3]), ([0, 0], []), ([4, 4], [4, 4])],
)
def test_sizes(arrivals: list[int], batches: list[int]) -> None:
    swapper = Negative(16)
    batcher = Batcher(swapper)
    for count in arrivals:
        batcher.add(faces(count))
    batcher.flush()
    batcher.flush()
    assert swapper.batches == batches


def test_each_face_gets_its_own_result() -> None:
    batcher = Batcher(Negative(16))
    works = faces(10)
    batcher.add(works)
    assert [work.done for work in works] == [True] * 8 + [False] * 2
    batcher.flush()
    for number, work in enumerate(works):
        assert work.fresh is not None
        assert work.mask is not None
        assert np.allclose(work.fresh, 1 - number / 100)
        assert work.mask.shape == (16, 16)


def test_one_batch_has_one_side() -> None:
    """Sides that come mixed wait apart; each face gets its own result at its own side."""
    swapper = Negative(16)
    batcher = Batcher(swapper)
    small, large = faces(5), faces(3, 32)
    mixed = [small[0], large[0], small[1], large[1], small[2], small[3], large[2], small[4]]
    batcher.add(mixed[:6])
    assert swapper.batches == [4]
    assert [work.done for work in mixed[:6]] == [True, False, True, False, True, True]
    batcher.add(mixed[6:])
    batcher.flush()
    batcher.flush()
    assert swapper.batches == [4, 1, 3]
    for works, side in ((small, 16), (large, 32)):
        for number, work in enumerate(works):
            assert work.fresh is not None
            assert work.fresh.shape == (3, side, side)
            assert np.allclose(work.fresh, 1 - number / 100)
