"""Tracks: the same face from frame to frame, over a whole film, inside a shot.

Pure arithmetic on the face table. A face continues a track when its box overlaps the one predicted from the track's
last two and its mesh is a small deformation of the track's last mesh; a cut breaks one or the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.geometry import Float64Array, apply, iou, scale_of, similarity
from core.records import FaceTable, Int32Array

GAP_FRAMES = 5  # frames a face may be lost for, and is filled in
OVERLAP_MIN = 0.3
# Limits of what one face does between neighbouring frames, each several times what the carphone clip, a shaking
# head in a shaking car at 30 frames/s, was measured to do: 0.047, 3.5 %, 0.8 degrees.
DEFORMATION_MAX = 0.15  # root mean square of what a similarity leaves, over the mesh's root mean square radius
GROWTH_MAX = 1.35
TURN_MAX_RAD = 0.5


@dataclass
class _Track:
    """A track being followed: the row of its last face and the box movement a frame before that [4]."""

    number: int
    row: int
    movement: Float64Array


def link(table: FaceTable) -> Int32Array:
    """Track numbers int32 [n], counted from 0 in order of first appearance; -1 for rows without a mesh.

    Depends on the table alone; rows may come in any number of frames with gaps.
    """
    track = np.full(len(table), -1, np.int32)
    usable = np.flatnonzero(np.isfinite(table.mesh).all(axis=(1, 2)))
    live: list[_Track] = []
    count = 0
    starts = np.flatnonzero(np.diff(table.frame[usable], prepend=-1))
    for rows in np.split(usable, starts[1:]) if len(usable) else []:
        frame = int(table.frame[rows[0]])
        live = [one for one in live if frame - int(table.frame[one.row]) <= GAP_FRAMES + 1]
        for one, row in _pairs(table, live, rows):
            steps = frame - int(table.frame[one.row])
            one.movement = (table.box[row].astype(np.float64) - table.box[one.row]) / steps
            one.row = row
            track[row] = one.number
        for row in rows[track[rows] < 0]:
            track[row] = count
            live.append(_Track(count, int(row), np.zeros(4)))
            count += 1
    return track


def _pairs(table: FaceTable, live: list[_Track], rows: NDArray[np.intp]) -> list[tuple[_Track, int]]:
    """Which live track goes on with which row: best overlap first, each at most once."""
    if not live:
        return []
    frame = table.frame[rows[0]]
    expected = np.stack([table.box[one.row] + one.movement * (frame - table.frame[one.row]) for one in live])
    overlap = np.maximum(iou(expected, table.box[rows]), iou(table.box[[one.row for one in live]], table.box[rows]))
    pairs: list[tuple[_Track, int]] = []
    for flat in np.argsort(-overlap, axis=None, kind="stable"):
        number, column = divmod(int(flat), len(rows))
        if overlap[number, column] < OVERLAP_MIN:
            break
        one, row = live[number], int(rows[column])
        taken = any(one is other or row == used for other, used in pairs)
        if not taken and _continues(table.mesh[one.row], table.mesh[row]):
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
