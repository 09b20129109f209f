"""Tracks: the same face from frame to frame, over a whole film, inside a shot.

Pure arithmetic on the face table. A face continues a track when its box overlaps the one predicted from the track's
last two and its mesh is a small deformation of the track's last mesh; a cut breaks one or the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.geometry import Float64Array, apply, iou, scale_of, similarity
from core.records import FaceTable, Float32Array, Int32Array, Int64Array

GAP_FRAMES = 5  # frames a face may be lost for, and is filled in
OVERLAP_MIN = 0.3
# Limits of what one face does between neighbouring frames, each several times what the carphone clip, a shaking
# head in a shaking car at 30 frames/s, was measured to do: 0.047, 3.5 %, 0.8 degrees.
DEFORMATION_MAX = 0.15  # root mean square of what a similarity leaves, over the mesh's root mean square radius
GROWTH_MAX = 1.35
TURN_MAX_RAD = 0.5


@dataclass
class _Track:
    """A track being followed: its last face and the box movement a frame before that [4]."""

    number: int
    frame: int
    box: Float32Array
    mesh: Float32Array
    movement: Float64Array


class Linker:
    """Numbers the faces of a film that comes in parts; remembers only the tracks that the next frame can continue."""

    def __init__(self, cuts: Int64Array | None = None, detect_every: int = 1) -> None:
        """`cuts` are the ordinals that start a new shot, in order; of `detect_every` frames one was looked at."""
        self._gap = max(GAP_FRAMES, detect_every - 1)
        self._cuts = np.zeros(0, np.int64) if cuts is None else cuts
        self._live: list[_Track] = []
        self._count = 0

    def follow(self, table: FaceTable) -> Int32Array:
        """Track numbers int32 [n], counted from 0 in order of first appearance; -1 for rows without a mesh.

        Rows are sorted by frame, and later than those of the table before; frames may be missing. The numbers
        depend on the rows alone, not on where the film is cut into tables.
        """
        track = np.full(len(table), -1, np.int32)
        usable = np.flatnonzero(np.isfinite(table.mesh).all(axis=(1, 2)))
        starts = np.flatnonzero(np.diff(table.frame[usable], prepend=-1))
        for rows in np.split(usable, starts[1:]) if len(usable) else []:
            frame = int(table.frame[rows[0]])
            shot = int(np.searchsorted(self._cuts, frame, side="right"))
            self._live = [
                one
                for one in self._live
                if frame - one.frame <= self._gap + 1
                and int(np.searchsorted(self._cuts, one.frame, side="right")) == shot
            ]
            for one, row in _pairs(table, self._live, rows):
                one.movement = (table.box[row].astype(np.float64) - one.box) / (frame - one.frame)
                # Copies, so that a track does not keep its part of the film in memory.
                one.frame, one.box, one.mesh = frame, table.box[row].copy(), table.mesh[row].copy()
                track[row] = one.number
            for row in rows[track[rows] < 0]:
                track[row] = self._count
                self._live.append(
                    _Track(self._count, frame, table.box[row].copy(), table.mesh[row].copy(), np.zeros(4))
                )
                self._count += 1
        return track


def _pairs(table: FaceTable, live: list[_Track], rows: NDArray[np.intp]) -> list[tuple[_Track, int]]:
    """Which live track goes on with which row: best overlap first, each at most once."""
    if not live:
        return []
    frame = int(table.frame[rows[0]])
    expected = np.stack([one.box + one.movement * (frame - one.frame) for one in live])
    overlap = np.maximum(iou(expected, table.box[rows]), iou(np.stack([one.box for one in live]), table.box[rows]))
    pairs: list[tuple[_Track, int]] = []
    for flat in np.argsort(-overlap, axis=None, kind="stable"):
        number, column = divmod(int(flat), len(rows))
        if overlap[number, column] < OVERLAP_MIN:
            break
        one, row = live[number], int(rows[column])
        taken = any(one is other or row == used for other, used in pairs)
        if not taken and _continues(one.mesh, table.mesh[row]):
            pairs.append((one, row))
    return pairs


def _continues(before: NDArray[np.float32], after: NDArray[np.float32]) -> bool:
    """Whether mesh points [468,2] are a small step from those of the frame before."""
    step = similarity(before, after)
    left = apply(step, before) - after
    radius = np.sqrt(((after - after.mean(axis=0)) ** 2).sum(axis=1).mean())
    deformation = float(np.sqrt((left**2).sum(axis=1).mean()) / max(radius, 1e-6))
    growth = scale_of(step)
    turn = abs(float(np.arctan2(step[1, 0], step[0, 0])))
    return deformation <= DEFORMATION_MAX and 1 / GROWTH_MAX <= growth <= GROWTH_MAX and turn <= TURN_MAX_RAD
