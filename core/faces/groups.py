"""Agglomerative grouping of many points by the mean squared distance over all pairs, where some pairs must stay apart.

Mean (average) linkage of squared Euclidean distances needs of a group its count, sum and sum of squares alone. It is
reducible - a joined group is no nearer to a third than the nearer of its parts, also where pairs that must stay apart
count as infinitely far - so all pairs of groups that are nearest to each other may be joined at once, and the result
is that of joining the nearest pair first each time (F. Murtagh, "A survey of recent advances in hierarchical
clustering algorithms", 1983).

Distances are taken between points on a grid whose products are whole numbers below 2^24: float32 sums them exactly in
any order, so that neither threads nor processors change who is grouped with whom.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from core.geometry import Float64Array
from core.records import BoolArray, Int64Array

# Of a point on the grid: its square is at most 2^21, so what makes up a squared distance is never above 2^23.
LONGEST = 1448
BLOCK = 128  # rows of the table of distances that are in memory together
UNKNOWN, NONE = -2, -1
# Beside a bit a point: who is of the one side, who of the other. Those of the first side also stay apart themselves.
SIDES = 2

Rows = NDArray[np.intp]
Bits = NDArray[np.uint8]
Float32Rows = NDArray[np.float32]


@dataclass(frozen=True)
class Groups:
    """k groups of n points.

    `member` [n] is each point's group; `sums` [k,D], `squares` [k] and `counts` [k] are of the points on the grid,
    `scale` times as large as given. `mine` and `apart` [k, (n + SIDES + 7) // 8] are bits: the points of a group, and
    the points that it must stay apart from.
    """

    member: Rows
    sums: Int64Array
    squares: Int64Array
    counts: Int64Array
    mine: Bits
    apart: Bits
    scale: float

    def __len__(self) -> int:
        return len(self.counts)

    @staticmethod
    def of(points: Float64Array, first: Int64Array, end: Int64Array) -> Groups:
        """A group for each of `points` [n,D]; those whose ranges [first, end) overlap must stay apart."""
        grid, scale = on_grid(points)
        n, width = len(grid), (len(grid) + SIDES + 7) // 8
        mine, apart = np.zeros((n, width), np.uint8), np.zeros((n, width), np.uint8)
        for start in range(0, n, BLOCK):
            rows = slice(start, min(start + BLOCK, n))
            own = np.arange(start, rows.stop)[:, None] == np.arange(n)
            shared = (first[rows, None] < end) & (end[rows, None] > first) & ~own
            for bits, told in ((mine, own), (apart, shared)):
                bits[rows, : (n + 7) // 8] = np.packbits(told, axis=1)
        return Groups(np.arange(n), grid, (grid * grid).sum(axis=1), np.ones(n, np.int64), mine, apart, scale)

    def kept_apart(self, people: BoolArray, others: BoolArray) -> Groups:
        """The groups, where no two of `people` [k] may be joined, and none of them with one of `others` [k]."""
        mine, apart = self.mine.copy(), self.apart.copy()
        for bits, groups, side in ((mine, people, 0), (mine, others, 1), (apart, people, 0), (apart, people, 1)):
            _set(bits, groups, len(self.member) + side)
        _set(apart, others, len(self.member))
        return replace(self, mine=mine, apart=apart)

    def nearest_two(self, rows: Rows, columns: Rows) -> tuple[Float64Array, Float64Array]:
        """The least and second least squared distance of each of `rows` to `columns`; infinite where there is none."""
        two = np.full((2, len(rows)), np.inf)
        for block, squares in _Distances(self.sums, self.squares, self.counts).blocks(rows, columns):
            for number in range(2):
                best = np.argmin(squares, axis=1)
                place = np.arange(len(best)), best
                two[number, block] = squares[place]
                squares[place] = np.inf
        return two[0] / self.scale**2, two[1] / self.scale**2

    def joined(self, limit: Float64Array) -> Groups:
        """The groups joined, nearest first, while the squared distance is at most the `limit` [k] of both.

        The limit of a joined group is the lesser of its parts'.
        """
        groups, limit = self, limit * self.scale**2
        nearest = np.where(limit >= 0, UNKNOWN, NONE)
        while True:
            groups._look(nearest, limit, np.flatnonzero(nearest == UNKNOWN))
            pairs = _mutual(nearest)
            if not len(pairs) and (nearest != NONE).any():
                # Rounded means can be a step nearer than what they are made of; then all is looked at again.
                groups._look(nearest, limit, np.flatnonzero(nearest != NONE))
                pairs = _mutual(nearest)
            if not len(pairs):
                return groups
            groups, limit, nearest = groups._join(pairs, limit, nearest)

    def _look(self, nearest: Rows, limit: Float64Array, rows: Rows) -> None:
        """Set the nearest group of each of `rows`, of equals the first; NONE where nobody is within the limits."""
        columns = np.flatnonzero(nearest != NONE)
        order = np.argsort(self.member, kind="stable")
        place = np.zeros(len(self), np.intp)
        place[columns] = np.arange(len(columns))
        for block, squares in _Distances(self.sums, self.squares, self.counts).blocks(rows, columns):
            own = rows[block]
            line = np.arange(len(own))
            squares[line, place[own]] = np.inf
            best = np.argmin(squares, axis=1)
            least = squares[line, best]
            bad = (least > limit[columns[best]]) | self._share(own, columns[best])
            # Mostly the nearest will do, or is too far for anybody; only the others are looked at one by one.
            again = np.flatnonzero(bad & (least <= limit[own]))
            if len(again):
                mask = self._apart_from(own[again], order)[:, columns]
                mask |= squares[again] > np.minimum(limit[columns], limit[own[again], None])
                rest = np.where(mask, np.inf, squares[again])
                best[again] = np.argmin(rest, axis=1)
                least[again] = rest[np.arange(len(again)), best[again]]
            nearest[own] = np.where(least <= limit[own], columns[best], NONE)

    def _share(self, some: Rows, others: Rows) -> BoolArray:
        """Which of the pairs of groups must stay apart [m]."""
        return np.asarray((self.apart[some] & self.mine[others]).any(axis=1), np.bool_)

    def _apart_from(self, rows: Rows, order: Rows) -> BoolArray:
        """Which groups [r,k] each of `rows` must stay apart from; `order` are the points sorted by groups."""
        n = len(self.member)
        told = np.unpackbits(self.apart[rows], axis=1, count=n + SIDES)
        sides = np.unpackbits(self.mine, axis=1, count=n + SIDES)[:, n:] if told[:, n:].any() else None
        starts = np.flatnonzero(np.diff(self.member[order], prepend=-1))
        apart = np.asarray(np.maximum.reduceat(told[:, order], starts, axis=1), np.bool_)
        if sides is not None:
            apart |= (told[:, n:] @ sides.T).astype(np.bool_)
        return apart

    def _join(self, pairs: NDArray[np.intp], limit: Float64Array, nearest: Rows) -> tuple[Groups, Float64Array, Rows]:
        """The groups with `pairs` [m,2] joined, their limits, and whose nearest is still known."""
        kept = np.ones(len(self), np.bool_)
        kept[pairs[:, 1]] = False
        place = np.cumsum(kept) - 1
        place[pairs[:, 1]] = place[pairs[:, 0]]
        limit = limit.copy()
        limit[pairs[:, 0]] = np.minimum(limit[pairs[:, 0]], limit[pairs[:, 1]])

        def added(values: Int64Array) -> Int64Array:
            whole = values.copy()
            whole[pairs[:, 0]] += values[pairs[:, 1]]
            return whole[kept]

        def either(bits: Bits) -> Bits:
            whole = bits.copy()
            whole[pairs[:, 0]] |= bits[pairs[:, 1]]
            return whole[kept]

        groups = Groups(
            place[self.member],
            added(self.sums),
            added(self.squares),
            added(self.counts),
            either(self.mine),
            either(self.apart),
            self.scale,
        )
        touched = np.zeros(len(self) + 1, np.bool_)  # the last one is for NONE
        touched[pairs] = True
        known = np.where(touched[nearest], UNKNOWN, np.append(place, NONE)[nearest])
        known[pairs[:, 0]] = UNKNOWN
        return groups, limit[kept], known[kept]


class _Distances:
    """Mean squared distances between groups, on the grid: whole numbers in float32, by one product of matrices."""

    def __init__(self, sums: Int64Array, squares: Int64Array, counts: Int64Array) -> None:
        means = np.rint(sums / counts[:, None])
        spread = np.rint(squares / counts)[:, None]
        ones = np.ones_like(spread)
        self._left = np.concatenate([-2 * means, spread, ones], axis=1).astype(np.float32)
        self._right = np.concatenate([means, ones, spread], axis=1).astype(np.float32)

    def blocks(self, rows: Rows, columns: Rows) -> Iterator[tuple[slice, Float32Rows]]:
        """Blocks of `rows`: their place and distances [b, columns]; nothing where there are no columns."""
        right = np.ascontiguousarray(self._right[columns].T)
        for start in range(0, len(rows) if len(columns) else 0, BLOCK):
            block = slice(start, min(start + BLOCK, len(rows)))
            yield block, self._left[rows[block]] @ right


def on_grid(points: Float64Array) -> tuple[Int64Array, float]:
    """Points [n,D] times a scale, as whole numbers, none longer than LONGEST; and the scale, a power of 2."""
    longest = float(np.sqrt((points * points).sum(axis=1)).max(initial=0.0))
    scale = 2.0 ** np.floor(np.log2(LONGEST / max(longest, 1e-12)))
    grid = np.rint(points * scale).astype(np.int64)
    # Rounding lengthens a point by up to half a step in each dimension; a coarser grid is safe.
    if int((grid * grid).sum(axis=1).max(initial=0)) > LONGEST**2:
        scale /= 2
        grid = np.rint(points * scale).astype(np.int64)
    return grid, float(scale)


def nearest_in_sight(
    points: Float64Array, first: Int64Array, end: Int64Array, counted: BoolArray, least: float
) -> Float64Array:
    """For each of `points` [n,D] the least squared distance, of at least `least`, to one of those `counted` [n] whose
    range [first, end) shares a frame with its own; infinite where there is none."""
    order = np.argsort(first, kind="stable")
    grid, scale = on_grid(points)
    distances = _Distances(grid[order], (grid * grid).sum(axis=1)[order], np.ones(len(order), np.int64))
    first, end, counted = first[order], end[order], counted[order]
    nearest = np.full(len(order), np.inf)
    last = np.searchsorted(first, end)  # those that begin later, but before a point's end, are between it and this
    for start in range(0, len(order), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(order)))
        columns = np.arange(start, int(last[rows].max()))
        for _, squares in distances.blocks(rows, columns):
            shared = (columns > rows[:, None]) & (columns < last[rows, None]) & (squares >= least * scale**2)
            for axis, whose, others in ((1, rows, counted[columns]), (0, columns, counted[rows][:, None])):
                seen = np.where(shared & others, squares, np.inf).min(axis=axis)
                nearest[whose] = np.minimum(nearest[whose], seen)
    found = np.full(len(order), np.inf)
    found[order] = nearest / scale**2
    return found


def _mutual(nearest: Rows) -> NDArray[np.intp]:
    """The pairs [m,2] that are nearest to each other."""
    mine = np.arange(len(nearest))
    low = np.flatnonzero((nearest > mine) & (nearest[nearest] == mine))
    return np.stack([low, nearest[low]], axis=1)


def _set(bits: Bits, rows: BoolArray, column: int) -> None:
    bits[rows, column // 8] |= np.uint8(128 >> column % 8)
