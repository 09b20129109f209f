"""Grouping against an oracle that joins the nearest pair first, one by one."""

from __future__ import annotations

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from core.faces.groups import LONGEST, Groups, nearest_in_sight, on_grid

Partition = set[frozenset[int]]


def partition(groups: Groups) -> Partition:
    return {frozenset(np.flatnonzero(groups.member == number).tolist()) for number in range(len(groups))}


def oracle(
    points: NDArray[np.float64], first: NDArray[np.int64], end: NDArray[np.int64], limit: NDArray[np.float64]
) -> Partition:
    """Average linkage by its definition: the nearest admissible pair of groups is joined, until there is none."""
    squares = ((points[:, None] - points[None]) ** 2).sum(axis=-1)
    shared = (first[:, None] < end) & (end[:, None] > first)
    groups = [[number] for number in range(len(points))]
    while True:
        best: tuple[float, int, int] | None = None
        for a, one in enumerate(groups):
            for b, other in enumerate(groups[a + 1 :], a + 1):
                mean = float(squares[np.ix_(one, other)].mean())
                allowed = not shared[np.ix_(one, other)].any() and mean <= min(limit[one + other])
                if allowed and (best is None or mean < best[0]):
                    best = (mean, a, b)
        if best is None:
            return {frozenset(group) for group in groups}
        groups[best[1]] += groups.pop(best[2])


@settings(max_examples=60)
@given(st.integers(0, 10_000), st.integers(1, 16), st.floats(0.2, 3), st.booleans())
def test_the_nearest_pairs_are_joined_first(seed: int, n: int, most: float, crowded: bool) -> None:
    random = np.random.default_rng(seed)
    points = random.normal(size=(n, 3)) + 2 * random.integers(0, 3, (n, 1))
    first = random.integers(0, 20 if crowded else 2000, n)
    end = first + random.integers(1, 10, n)
    limit = (most * random.uniform(0.8, 1.2, n)).astype(np.float64)
    want = oracle(points, first, end, limit)
    # The grid moves points by a thousandth of their length; where that much decides, nothing is promised.
    moved = points + random.uniform(-0.02, 0.02, points.shape)
    assume(want == oracle(moved, first, end, limit * 1.01) == oracle(moved, first, end, limit * 0.99))
    assert partition(Groups.of(points, first, end).joined(limit)) == want


@given(st.integers(0, 10_000), st.integers(2, 40))
def test_order_does_not_matter(seed: int, n: int) -> None:
    random = np.random.default_rng(seed)
    points = random.normal(size=(n, 5))
    first = random.integers(0, 50, n)
    order = random.permutation(n)
    limit = np.full(n, 6.0)
    straight = partition(Groups.of(points, first, first + 5).joined(limit))
    mixed = partition(Groups.of(points[order], first[order], first[order] + 5).joined(limit))
    assert {frozenset(order[list(group)].tolist()) for group in mixed} == straight


def test_equal_points_are_one_group() -> None:
    n = 300
    groups = Groups.of(np.ones((n, 4)), np.arange(n), np.arange(n) + 1).joined(np.zeros(n))
    assert len(groups) == 1


def test_points_that_share_a_frame_are_not_joined_however_near() -> None:
    groups = Groups.of(np.ones((3, 4)), np.array([0, 5, 9]), np.array([6, 10, 12])).joined(np.full(3, np.inf))
    assert partition(groups) == {frozenset({0, 2}), frozenset({1})}


def test_sides_stay_apart() -> None:
    points = np.zeros((6, 2))
    groups = Groups.of(points, np.arange(6), np.arange(6) + 1)
    people, doubtful = np.array([1, 1, 0, 0, 0, 0], np.bool_), np.array([0, 0, 1, 1, 0, 0], np.bool_)
    joined = partition(groups.kept_apart(people, doubtful).joined(np.full(6, 1.0)))
    assert not any({0, 1} <= group for group in joined)
    assert not any(group & {0, 1} and group & {2, 3} for group in joined)
    assert any({2, 3} <= group for group in joined)
    assert len(joined) == 3


def test_grid_keeps_products_exact() -> None:
    random = np.random.default_rng(3)
    for size in (1e-6, 1.0, 1.4, 25.0, 1e6):
        points = random.normal(size=(50, 512))
        points *= size / np.linalg.norm(points, axis=1).max()
        grid, scale = on_grid(points)
        longest = int((grid * grid).sum(axis=1).max())
        assert (LONGEST / 4) ** 2 < longest <= LONGEST**2
        assert np.abs(grid / scale - points).max() <= 0.5 / scale
        exact = grid.astype(np.float32) @ grid.T.astype(np.float32)
        assert (exact == grid @ grid.T).all()


@given(st.integers(0, 10_000), st.integers(1, 60))
def test_nearest_in_sight(seed: int, n: int) -> None:
    random = np.random.default_rng(seed)
    points = np.rint(random.normal(size=(n, 3)) * 100)
    first = random.integers(0, 60, n)
    end, counted = first + random.integers(1, 30, n), random.random(n) < 0.7
    squares = ((points[:, None] - points[None]) ** 2).sum(axis=-1)
    seen = (first[:, None] < end) & (end[:, None] > first) & ~np.eye(n, dtype=np.bool_) & counted & (squares >= 900)
    want = np.where(seen, squares, np.inf).min(axis=1)
    assert np.array_equal(nearest_in_sight(points, first, end, counted, 900.0), want)
