"""Smoothing of one track's points over time: steady where the face is still, without lag where it moves.

A face's movement as a whole and its shape are smoothed apart (core.faces.windows), because they differ: the movement,
known from 468 points, must be followed or the face swims on the head; the single points tremble. A find without a
mesh, as of a profile, has its movement from the detector's five points.

On the still clips that core.faces.windows tells of, the deviation of mesh, points and box from their means falls to
0.02 to 0.2 of what it was. On clips of the same faces in motion whose true positions are known, the mesh's error falls
to 0.17 to 0.65. On the carphone clip at 448x368, each frame's face aligned by its movement differs from the next one's
by 5.45 grey levels (not smoothed 5.57, with parabolas of a fixed width 5.52), patches at its points by 2.78 (2.98,
2.78): what moves is not blurred.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.faces.windows import CHUNK, GAP_STEPS, MARGIN, Nature, Series
from core.geometry import Float64Array, apply, similarity
from core.records import MESH_POINTS, BoolArray, Int64Array

POINTS = 5
OTHERS = POINTS + 2  # and two corners of the box

# What noise may be, as parts of the root mean square radius of the face's mesh, about a third of its height: from
# frame to frame, and what slow noise may change in a step to a stiffer parabola, line, and mean; and how many times
# the noise from frame to frame slow noise is in lines and in the mean. Measured as core.faces.windows tells.
KINDS = {
    "mesh": (np.inf, 0.00075, 0.0016, 0.01, 4.5, 20.0),
    "points": (0.02, 0.002, 0.005, 0.016, 6.0, 20.0),
    "box": (0.03, 0.004, 0.008, 0.02, 6.0, 20.0),
    "whole": (0.001, 0.00075, 0.0015, 0.002, 4.0, 6.0),  # its place and turn, known from the mesh
    "roughly": (0.004, 0.002, 0.005, 0.01, 5.0, 8.0),  # known from five points
}
# The radius of a mesh in distances from the middle of the eyes to that of the mouth.
RADIUS = 0.75
# A point whose squared distance from where the movement takes it is this many times the median one counts half.
ODD = 4.0

Complex = NDArray[np.complex128]
Points = tuple[Float64Array | None, Float64Array]


class MeanShape:
    """The mean of a track's meshes [468,2], each brought onto the first by a similarity, summed one by one."""

    def __init__(self, first: NDArray[Any]) -> None:
        self._first = np.asarray(first, np.float64)
        self._total = np.zeros_like(self._first)
        self._count = 0

    def add(self, mesh: NDArray[Any]) -> None:
        self._total += apply(similarity(mesh, self._first), mesh)
        self._count += 1

    def shape(self) -> Float64Array:
        return np.asarray(self._total / self._count, np.float64)


@dataclass(frozen=True)
class _Row:
    """A frame that is not given yet."""

    time: float
    mesh: NDArray[Any] | None
    found: bool


class TrackSmoother:
    """Smooths one track as its frames come: a frame is given out when the neighbours that it needs are in.

    `time` int64 [n] is of all frames of the track, increasing; `mean` [468,2] is the mean shape of its meshes, NaN
    where it has none. Holds about 340 faces found (1.5 MB); what it gives depends on the track alone. Only faces that
    were found are smoothed; those between them lie on straight lines in time.
    """

    def __init__(self, time: Int64Array, mean: Float64Array) -> None:
        self._time = _in_frames(time)
        self._solid = _Model.of_mesh(mean) if np.isfinite(mean).all() else None
        self._five = _Model.of_five()
        self._rows: deque[_Row] = deque()
        self._waiting: list[tuple[_Row, NDArray[Any]]] = []  # those found that the models do not have yet
        self._before: tuple[float, Points] | None = None  # the last one found that was given
        self._added = self._found = self._given = 0

    def add(self, mesh: NDArray[Any] | None, others: NDArray[Any], *, found: bool = True) -> list[Points]:
        """Take the next frame's mesh [468,2] or None, and its five points and two corners of its box [7,2].

        Gives the smoothed ones that are ready, in order; None for the mesh of a frame without one. `found` is whether
        the face was found there, or filled in; of a track's first and last frame it is true.
        """
        row = _Row(float(self._time[self._added]), mesh, found)
        self._rows.append(row)
        self._added += 1
        if found:
            self._waiting.append((row, others))
            self._found += 1
        ready: list[Points] = []
        over = self._added == len(self._time)
        while self._given < self._found and (over or self._found >= self._given + CHUNK + MARGIN):
            ready += self._next(min(CHUNK, self._found - self._given), over)
        return ready

    def _next(self, count: int, over: bool) -> list[Points]:
        """The frames up to the `count`th next one that was found."""
        self._fill()
        models = [one for one in (self._solid, self._five) if one is not None]
        if over:
            for model in models:
                model.series.end(MARGIN + self._found - self._given)
        meshed = [row.mesh is not None for row in self._rows if row.found][:count]
        solid = self._solid.smooth() if self._solid is not None and any(meshed) else None
        five = self._five.smooth() if not all(meshed) else None
        out: list[Points] = []
        for place, whole in enumerate(meshed):
            points = solid if whole else five
            assert points is not None
            out += self._up_to((points[place, :-OTHERS] if whole else None, points[place, -OTHERS:]))
        self._given += count
        for model in models:
            model.series.shift()
        return out

    def _up_to(self, points: Points) -> Iterator[Points]:
        """The frames up to the next one that was found, which has `points`."""
        between: list[_Row] = []
        while not (row := self._rows.popleft()).found:
            between.append(row)
        for one in between:
            assert self._before is not None
            start, before = self._before
            share = (one.time - start) / (row.time - start)
            mesh = None if one.mesh is None else np.asarray(one.mesh, np.float64)
            if mesh is not None and before[0] is not None and points[0] is not None:
                mesh = before[0] * (1 - share) + points[0] * share
            yield mesh, before[1] * (1 - share) + points[1] * share
        self._before = (row.time, points)
        yield points

    def _fill(self) -> None:
        """Hand the faces that wait to the models."""
        count = len(self._waiting)
        if not count:
            return
        row = MARGIN + self._found - count - self._given
        time = np.array([one.time for one, _ in self._waiting])
        others = np.array([others for _, others in self._waiting], np.float64)
        self._five.put(row, time, np.ones(count, bool), others)
        if self._solid is not None:
            meshes = [one.mesh for one, _ in self._waiting if one.mesh is not None]
            here = np.array([one.mesh is not None for one, _ in self._waiting])
            points = np.zeros((count, MESH_POINTS + OTHERS, 2))
            points[:, MESH_POINTS:] = others
            if meshes:
                points[here, :MESH_POINTS] = meshes
            self._solid.put(row, time, here, points)
        self._waiting.clear()


def _in_frames(time: Int64Array) -> Float64Array:
    """Times in typical steps of time from the first; very long and very short steps count as less so."""
    if len(time) < 2:
        return np.zeros(len(time))
    steps = np.diff(time)
    return np.concatenate([[0.0], np.cumsum(np.clip(steps / np.median(steps), 1 / GAP_STEPS, GAP_STEPS))])


class _Model:
    """A face's points as movement and shape, each a series (core.faces.windows).

    Points are complex numbers. `moves` tells of points [n,k] the place [n,1] of the face and its turn and scale [n,1];
    what is left, with `form` [k] taken off, is the shape. The box, the last two points, stays upright in a turn.
    """

    def __init__(
        self, kinds: Sequence[str], shared: int, radius: float, form: Complex, moves: Callable[[Complex], _Moves]
    ) -> None:
        self._radius, self._form, self._moves = radius, form, moves
        self.series = Series(_nature(kinds, shared, radius))

    @staticmethod
    def of_mesh(mean: Float64Array) -> _Model:
        """Points are mesh, five points, box; the movement is the similarity from `mean` [468,2] to the mesh.

        Points that move on their own, as lids and lips do, count for less in it.
        """
        form = _complex(mean)
        form -= form.mean()
        radius = float(np.sqrt((np.abs(form) ** 2).mean()))

        def moves(points: Complex) -> _Moves:
            mesh = points[:, :MESH_POINTS]
            place, turn = _fitted(form, mesh, np.ones(mesh.shape))
            away = np.abs(mesh - place - turn * form) ** 2
            usual = np.median(away, axis=1, keepdims=True)
            return _fitted(form, mesh, 1 / (1 + away / (ODD * usual + 1e-12)))

        kinds = ["mesh"] * MESH_POINTS + ["points"] * POINTS + ["box"] * 2 + ["whole"] * 2
        return _Model(kinds, MESH_POINTS, radius, np.append(form, np.zeros(OTHERS)), moves)

    @staticmethod
    def of_five() -> _Model:
        """Points are five points, box; the turn is the way from the eyes to the mouth."""

        def moves(points: Complex) -> _Moves:
            eyes, mouth = points[:, :2].mean(axis=1, keepdims=True), points[:, 3:5].mean(axis=1, keepdims=True)
            return points[:, :POINTS].mean(axis=1, keepdims=True), mouth - eyes

        kinds = ["points"] * POINTS + ["box"] * 2 + ["roughly"] * 2
        return _Model(kinds, POINTS, RADIUS, np.zeros(OTHERS, np.complex128), moves)

    def put(self, row: int, time: Float64Array, here: BoolArray, points: Float64Array) -> None:
        """Fill the series' rows from `row` on with points [n,k,2]."""
        flat = _complex(points)
        place, turn = self._moves(flat)
        turn = np.where(np.abs(turn) < 1e-3, 1e-3, turn)  # of points that coincide
        shape = (flat - place) / turn - self._form
        shape[:, -2:] = (flat[:, -2:] - place) / np.abs(turn)
        unit = np.ones((len(flat), flat.shape[1] + 2))
        unit[:, -2:] = np.abs(turn)
        values = np.concatenate([shape, place, turn * self._radius], axis=1)
        self.series.put(row, time, here, np.stack([values.real, values.imag], axis=1), unit)

    def smooth(self) -> Float64Array:
        """The points [CHUNK,k,2] of the series' rows in the middle."""
        rows = self.series.smooth()
        values = rows[:, 0] + 1j * rows[:, 1].astype(np.float64)
        shape, place, turn = values[:, :-2], values[:, -2:-1], values[:, -1:] / self._radius
        flat = (shape + self._form) * turn + place
        flat[:, -2:] = shape[:, -2:] * np.abs(turn) + place
        return np.stack([flat.real, flat.imag], axis=-1)


_Moves = tuple[Complex, Complex]


def _fitted(form: Complex, points: Complex, weight: Float64Array) -> _Moves:
    """Place and turn [n,1] that take `form` [k] to each of `points` [n,k] with least squares of weights [n,k]."""
    total = weight.sum(axis=1, keepdims=True)
    middle = (weight * form).sum(axis=1, keepdims=True) / total
    place = (weight * points).sum(axis=1, keepdims=True) / total
    away = form - middle
    power = (weight * np.abs(away) ** 2).sum(axis=1, keepdims=True)
    turn = (weight * (points - place) * away.conj()).sum(axis=1, keepdims=True) / power
    return place - turn * middle, turn


def _nature(kinds: Sequence[str], shared: int, radius: float) -> Nature:
    table = np.array([KINDS[kind] for kind in kinds]).T
    limit, parabola, line, mean, slow_line, slow_mean = table
    one = np.ones(len(kinds))
    return Nature(
        shared=slice(0, shared),
        bounded=slice(len(kinds) - 2, len(kinds)),
        limit=limit * radius,
        wander=np.stack([parabola] * 3 + [line] * 4 + [mean]) * radius,
        # A part of LEFT: slow noise is measured against what a parabola over five frames leaves.
        slow=np.stack([one, one, one * 1.2, *[slow_line] * 4, slow_mean]) * np.sqrt(18 / 35),
    )


def _complex(points: NDArray[Any]) -> Complex:
    return np.asarray(points[..., 0] + 1j * points[..., 1], np.complex128)
