"""Smoothing of many series over windows of time that are as wide as the series lets them be.

A row is a frame, a series a point (x, y) in every frame; values are [rows,2,series]. Polynomials are fitted by least
squares over nested, symmetric windows, each stiffer than the one before: the frame itself, parabolas over 5, 9 and 17
frames, lines over 32 to 256, the mean of 256. What a series becomes in a frame is the stiffest of them that says the
same as all that are less stiff, up to the noise (the idea of A. Goldenshluger and A. Nemirovski, "On spatially
adaptive estimation of nonparametric regression", 1997, with soft steps). A face that is still is averaged over many
frames, one that nods is followed; where there is no noise, nothing is changed. Windows are symmetric, so nothing
trails behind.

The noise is measured from what parabolas over five frames leave. White noise of that size explains a part of what a
step to a stiffer fit changes. Landmarks of a compressed film wander, too: their noise is alike from frame to frame, so
wide windows differ by more than white noise explains. How much more was measured with the embedded detector and mesh
on still pictures (astronaut, carphone) with sensor noise of 3 to 12 grey levels, compressed by x264 at quality 18 to
30, and is granted as a share of the face, so that it can bend no movement by more than that.

Lines and means are wide and change slowly, so they are computed at knots, every eighth row, and interpolated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.geometry import Float64Array
from core.records import BoolArray, Float32Array

PARABOLAS = (2, 4, 8)  # frames to a side
LINES = (16, 32, 64, 128)
REACH = LINES[-1]
STEPS = len(PARABOLAS) + len(LINES) + 1  # to stiffer fits; the last one is to the mean
CHUNK = 64  # frames smoothed at a time
KNOT = 8  # rows between knots
POOL = 8  # frames to a side over which evidence is averaged, at most
MARGIN = REACH + POOL
ROWS = MARGIN + CHUNK + MARGIN
LOCAL = 4  # frames to a side over which noise is averaged
# The eighth difference, of unit length: all of white noise is in it, and little of a movement that takes nine frames to
# and fro.
DIFFERENCE = np.array([1.0, -8, 28, -56, 70, -56, 28, -8, 1]) / np.sqrt(12870)
SAMPLES = 64  # of rows whose median is taken
GAP_STEPS = 8.0  # longer gaps in time count as this many frames
# A step to a stiffer fit is free up to this many standard deviations of what noise explains, and refused from the
# second on.
FREE, REFUSED = 2.0, 6.0
TINY = 1e-12


@dataclass(frozen=True)
class Nature:
    """What the noise of each series may be, in parts of its unit; arrays are [p] or [STEPS,p].

    `shared` are series that tremble alike: in each frame their median tells the noise of all of them, so that a few
    that move on their own (a blinking eye) do not look noisy. `bounded`, the last ones, are series with no more noise
    than those, which move fast: theirs is also measured from what changes to and fro, and the less of both counts.
    `limit` bounds the noise from frame to frame; `wander` is what slow noise may change in a step, and `slow` how many
    times the noise from frame to frame that is at most.
    """

    shared: slice
    bounded: slice
    limit: Float64Array
    wander: Float64Array
    slow: Float64Array


class Series:
    """The rows of a track as they come: CHUNK rows to smooth, in the middle of ROWS, with those that they need."""

    def __init__(self, nature: Nature) -> None:
        count = len(nature.limit)
        self._nature = nature
        self._values = np.zeros((ROWS, 2, count), np.float32)
        self._unit = np.ones((ROWS, count), np.float32)
        # Variance of noise as each row and its neighbours tell it; of bounded series a second time, behind the others.
        self._left = np.zeros((ROWS, count + nature.bounded.stop - nature.bounded.start), np.float32)
        self._typical = np.zeros(ROWS)  # its median over the shared series
        self._here = np.zeros(ROWS, bool)
        self._time = np.zeros(ROWS)
        self._measured = 0
        self._usual: Float64Array | None = None

    def put(self, row: int, time: Float64Array, here: BoolArray, values: Float64Array, unit: Float64Array) -> None:
        """Fill rows from `row` on: their times in frames, which of them have values [n,2,p], and their units [n,p]."""
        rows = slice(row, row + len(time))
        self._time[rows], self._here[rows], self._unit[rows] = time, here, unit
        self._values[rows] = np.where(here[:, None, None], values, 0)

    def end(self, row: int) -> None:
        """There are no rows from `row` on."""
        self._here[row:] = False
        self._values[row:] = 0
        self._time[row:] = self._time[row - 1] + np.arange(1, ROWS - row + 1)

    def shift(self) -> None:
        """Make place for the next CHUNK rows."""
        for array in (self._values, self._unit, self._left, self._typical, self._here, self._time):
            array[:-CHUNK] = array[CHUNK:]
        self._here[-CHUNK:] = False
        self._measured -= CHUNK

    def smooth(self) -> Float32Array:
        """The CHUNK rows in the middle [CHUNK,2,p]; of rows that are not here, anything."""
        self._measure()
        nature, sigma = self._nature, self._sigma()
        rows, inner = slice(MARGIN - POOL, MARGIN + CHUNK + POOL), slice(POOL, POOL + CHUNK)
        here, unit = self._here[rows], self._unit[MARGIN : MARGIN + CHUNK]
        wide = _Wide(self._time, self._here, self._values)
        allowed = np.minimum(nature.slow[:, None] * sigma, nature.wander[:, None] * unit) ** 2
        variance = sigma * sigma
        before, noise_before = self._values[rows], np.ones(len(here))
        out, given = np.zeros((CHUNK, *before.shape[1:]), np.float32), np.zeros((CHUNK, before.shape[2]), np.float32)
        for step, radius in enumerate((*PARABOLAS, LINES[0])):
            if radius in PARABOLAS:
                after, noise = _parabola(self._time, self._here, self._values, rows, radius)
            else:
                after, noise = wide.lines[0], wide.noises[0]
                after, noise = wide.at_rows(after), wide.at_rows(noise)
            change = _pooled(_power(before - after), here, max(2, min(POOL, radius // 2)))[inner]
            white = np.maximum(noise_before - noise, 0)[inner, None]
            seen = np.maximum(given, _refusal(change, variance * white + allowed[step]))
            out += (seen - given)[:, None] * before[inner]
            given, before, noise_before = seen, after, noise
        stiff = wide.at_rows(wide.stiffest(variance, allowed[len(PARABOLAS) + 1 :]))[inner]
        out += (1 - given)[:, None] * stiff
        return out

    def _measure(self) -> None:
        """The noise of the rows that have come since, from what parabolas over five frames leave."""
        rows = slice(max(self._measured, LOCAL), ROWS - LOCAL)
        fit, noise = _parabola(self._time, self._here, self._values, rows, PARABOLAS[0])
        left = _power(self._values[rows] - fit) / np.maximum(1 - noise, 1e-3)[:, None].astype(np.float32)
        # Half the sum of two squares of normal numbers has the median ln 2.
        self._typical[rows] = np.median(left[:, self._nature.shared], axis=1) / np.log(2)
        around = np.arange(rows.start, rows.stop)[:, None] + np.arange(len(DIFFERENCE)) - LOCAL
        bounded = self._nature.bounded
        rough = _power(np.einsum("w,nwcp->ncp", DIFFERENCE, self._values[around][..., bounded]))
        whole = self._here[around].all(axis=1)[:, None]
        self._left[rows] = np.concatenate([left, np.where(whole, rough, left[:, bounded])], axis=1)
        self._measured = ROWS - LOCAL

    def _sigma(self) -> Float32Array:
        """The standard deviation of the noise in each row and series [CHUNK,p]."""
        shared, bounded = self._nature.shared, self._nature.bounded
        near, unit = slice(MARGIN - LOCAL, MARGIN + CHUNK + LOCAL), self._unit[MARGIN : MARGIN + CHUNK]
        typical = _pooled(self._typical[near, None], self._here[near], LOCAL)[LOCAL:-LOCAL]
        local = self._less(_pooled(self._left[near], self._here[near], LOCAL)[LOCAL:-LOCAL])
        first, last = self._usually(MARGIN), self._usually(MARGIN + CHUNK)
        share = np.arange(CHUNK)[:, None] / CHUNK
        usual = first * (1 - share) + last * share
        variance = np.maximum(usual, local)
        most = np.minimum(local[:, bounded], typical * unit[:, bounded] ** 2)
        variance[:, bounded] = np.maximum(usual[:, bounded], most)
        variance[:, shared] = typical * usual[:, shared]
        return np.asarray(np.minimum(np.sqrt(variance), self._nature.limit * unit), np.float32)

    def _usually(self, row: int) -> Float64Array:
        """The median over the time around `row` of each series' variance [p]; of shared series, over the typical."""
        rows = np.arange(row - REACH, min(row + REACH + 1, ROWS - LOCAL))
        rows = rows[self._here[rows]]
        rows = rows[:: 1 + (len(rows) - 1) // SAMPLES]
        if not len(rows):
            return np.zeros(self._unit.shape[1])
        left = self._left[rows]
        typical = _pooled(self._typical[:, None], self._here, LOCAL)[rows]
        left[:, self._nature.shared] /= typical + TINY
        usual = self._less(np.median(left, axis=0) / np.log(2))
        usual[self._nature.shared] = np.clip(usual[self._nature.shared], 0.25, 4.0)
        return np.asarray(usual, np.float64)

    def _less(self, variance: NDArray[Any]) -> NDArray[Any]:
        """Variances [...,p] of those in both ways of measuring: the less of bounded series."""
        bounded, count = self._nature.bounded, self._unit.shape[1]
        out = variance[..., :count]
        out[..., bounded] = np.minimum(out[..., bounded], variance[..., count:])
        return out


class _Wide:
    """Lines and means over wide windows, at knots: in the middle between two rows, every KNOT rows."""

    def __init__(self, time: Float64Array, here: BoolArray, values: Float32Array) -> None:
        first, last = MARGIN - POOL, MARGIN + CHUNK + POOL
        edges = np.arange(first, last + 1, KNOT)
        self._at = (time[edges - 1] + time[edges]) / 2
        rows = time[first:last].reshape(-1, KNOT)
        share = (rows - self._at[:-1, None]) / np.maximum(self._at[1:] - self._at[:-1], TINY)[:, None]
        self._share = share.astype(np.float32)
        # Sums over blocks of KNOT rows, of values and of values times time.
        moment = time - time[ROWS // 2]
        blocks = (ROWS // KNOT, KNOT)
        weights = [here * moment**power for power in range(3)]
        counts = [_cumulated(weight.reshape(blocks).sum(axis=1)) for weight in weights]
        flat = values.reshape(*blocks, -1)
        sums = [
            _cumulated(np.einsum("bk,bkx->bx", weight.reshape(blocks), flat, dtype=np.float64))
            for weight in weights[:2]
        ]
        shape = (len(edges), *values.shape[1:])
        middle = self._at - time[ROWS // 2]
        self.lines, self.noises = [], []
        self._any = np.zeros(len(edges), bool)  # knots with rows nearby
        for radius in LINES:
            low, high = (edges - radius) // KNOT, (edges + radius) // KNOT
            count, one, two = (sums_of[high] - sums_of[low] for sums_of in counts)
            total, tilt = (sums_of[high] - sums_of[low] for sums_of in sums)
            one, two = one - middle * count, two - 2 * middle * one + middle**2 * count
            spread = count * two - one * one
            thin = spread < TINY * np.maximum(count, 1)  # of one row or none
            keep, turn = np.where(thin, 1.0, two), np.where(thin, 0.0, one)
            below = np.where(thin, np.maximum(count, 1), spread)
            # The value at the knot of the line through the window: (two total - one tilt about the knot) / spread.
            line = ((keep + turn * middle) / below)[:, None] * total - (turn / below)[:, None] * tilt
            self.lines.append(line.reshape(shape).astype(np.float32))
            self.noises.append(keep / below)
            self._any |= (count > 0) & (radius == LINES[0])
        self.lines.append((total / np.maximum(count, 1)[:, None]).reshape(shape).astype(np.float32))
        self.noises.append(1 / np.maximum(count, 1))

    def at_rows(self, knots: NDArray[Any]) -> NDArray[Any]:
        """Values at knots [k, ...] interpolated to the rows."""
        share = self._share.reshape(*self._share.shape, *[1] * (knots.ndim - 1))
        rows = knots[:-1, None] + share * (knots[1:] - knots[:-1])[:, None]
        return np.asarray(rows.reshape(-1, *knots.shape[1:]))

    def stiffest(self, variance: Float32Array, allowed: Float32Array) -> Float32Array:
        """At the knots, the stiffest line or mean that agrees with all lines that are less stiff.

        `variance` [CHUNK,p] is that of noise, `allowed` [steps,CHUNK,p] that of slow noise.
        """
        # Knots lie around the chunk's blocks of rows; the noise at a knot is that of the first row behind it.
        places = np.clip(np.arange(len(self._at)) * KNOT - POOL, 0, CHUNK - 1)
        variance, allowed = variance[places], allowed[:, places]
        before, out = self.lines[0], np.zeros_like(self.lines[0])
        given = np.zeros((len(before), before.shape[2]), np.float32)
        for step, (after, slow) in enumerate(zip(self.lines[1:], allowed, strict=True)):
            change = _pooled(_power(before - after), self._any, POOL // KNOT)
            white = np.maximum(self.noises[step] - self.noises[step + 1], 0)[:, None]
            seen = np.maximum(given, _refusal(change, variance * white + slow))
            out += (seen - given)[:, None] * before
            given, before = seen, after
        return np.asarray(out + (1 - given)[:, None] * before, np.float32)


def _parabola(
    time: Float64Array, here: BoolArray, values: Float32Array, rows: slice, radius: int
) -> tuple[Float32Array, Float64Array]:
    """The values [n,2,p] at `rows` of parabolas over `radius` rows to a side.

    And what variance [n] they have where that of each row is 1. Rows that are not here count for nothing; fewer than
    three leave a line or the mean.
    """
    around = np.arange(rows.start, rows.stop)[:, None] + np.arange(-radius, radius + 1)
    away, weight = time[around] - time[rows][:, None], here[around].astype(np.float64)
    powers = np.stack([np.ones_like(away), away / radius, (away / radius) ** 2], axis=-1)  # [n,w,3]
    normal = np.einsum("nw,nwi,nwj->nij", weight, powers, powers)
    count = weight.sum(axis=1)
    for power in range(3):
        lacking = count < power + 0.5
        normal[lacking, power, :] = normal[lacking, :, power] = 0
        normal[lacking, power, power] = 1
    first = np.linalg.solve(normal, np.broadcast_to(np.array([[1.0], [0.0], [0.0]]), (len(around), 3, 1)))[..., 0]
    kernel = np.einsum("nw,nwi,ni->nw", weight, powers, first).astype(np.float32)
    out = np.zeros((len(around), *values.shape[1:]), np.float32)
    part = np.empty_like(out)
    for place in range(2 * radius + 1):
        shifted = values[rows.start + place - radius : rows.stop + place - radius]
        out += np.multiply(kernel[:, place, None, None], shifted, out=part)
    return out, first[:, 0]


def _refusal(change: NDArray[Any], explained: NDArray[Any]) -> Float32Array:
    """How much of a step is refused, 0 to 1: `change` is its power, `explained` the variance that noise explains."""
    sure = np.clip((np.sqrt(change / (explained + TINY)) - FREE) / (REFUSED - FREE), 0, 1)
    return np.asarray(sure * sure * (3 - 2 * sure), np.float32)


def _cumulated(rows: NDArray[Any]) -> Float64Array:
    """Sums of the rows before each place [n+1, ...]."""
    out = np.zeros((len(rows) + 1, *rows.shape[1:]))
    np.cumsum(rows, axis=0, out=out[1:])
    return out


def _power(points: NDArray[Any]) -> NDArray[Any]:
    """The mean square [n,p] of the two coordinates of points [n,2,p]."""
    return np.asarray((points[:, 0] * points[:, 0] + points[:, 1] * points[:, 1]) / 2)


def _pooled(power: NDArray[Any], here: BoolArray, radius: int) -> NDArray[Any]:
    """The mean [n,p] over the rows that are here, `radius` to a side and within the n."""
    count = len(power)
    sums, rows = _cumulated(power * here[:, None]), _cumulated(here)
    low, high = np.maximum(np.arange(count) - radius, 0), np.minimum(np.arange(count) + radius + 1, count)
    return np.asarray((sums[high] - sums[low]) / np.maximum(rows[high] - rows[low], 1)[:, None], power.dtype)
