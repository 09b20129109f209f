"""What one face may do from a frame to the next ones: the limits within which two finds are taken for one face."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from core.faces.onway import Face
from core.geometry import Float64Array, box_area
from core.records import BoolArray, Float32Array, Int64Array

# Limits of what one face does between neighbouring frames, each several times what the carphone clip, a shaking
# head in a shaking car at 30 frames/s, was measured to do: 0.047, 3.5 %, 0.8 degrees.
DEFORMATION_MAX = 0.15  # root mean square of what a similarity leaves, over the mesh's root mean square radius
GROWTH_MAX = 1.35
TURN_MAX_RAD = 0.5
# Five points of a face in profile tremble more than a mesh, and a box says how large it is.
POINTS_MAX = 0.25  # root mean square of what a shift leaves, over half of the box's side
SLOW_FRAMES = 5  # over more frames than these a face may deform more
# Measured on the astronaut and the carphone clip: 19 in 20 steps of one person are below 0.035, of one and another all
# are above 0.08. A greater step is of one face only where the vectors say so.
CALM = 0.5  # of DEFORMATION_MAX, or of POINTS_MAX
GAP_S = Fraction(1, 2)  # how long a face may be lost for, and is filled in
GAP_FRAMES = 2  # so many frames may be lost, however long they are
CLOSE_SCALE = 1.5  # faces are close when their boxes, enlarged so, touch (core.faces.analyse)


@dataclass(frozen=True)
class Reach:
    """From which frame to which a track may go on without being seen. `pts` [N] is of the film's frames."""

    pts: Int64Array
    time_base: Fraction
    detect_every: int

    def spans(self, before: int, after: int) -> bool:
        """Whether the frames between two may be filled in."""
        lost = after - before - 1
        if lost <= max(GAP_FRAMES, self.detect_every - 1):
            return True
        return int(self.pts[after] - self.pts[before]) * self.time_base <= GAP_S


def deformation(before: Face, after: Face) -> float | None:
    """How much a face changed its shape; 1 is the most between neighbouring frames. None when it cannot be the same."""
    slack = min(2.0, max(1.0, (after.frame - before.frame) / SLOW_FRAMES))
    if before.mesh is None or after.mesh is None:
        return _deformation_of_points(before, after, slack)
    # With points as complex numbers a similarity is one factor, and what it leaves is what correlation leaves.
    one, other = _centred(before.mesh), _centred(after.mesh)
    lengths = float(np.vdot(one, one).real), float(np.vdot(other, other).real)
    if min(lengths) < 1e-6:
        return None
    shared = complex(np.vdot(one, other))
    share = float(np.sqrt(max(0.0, 1 - abs(shared) ** 2 / (lengths[0] * lengths[1])))) / DEFORMATION_MAX
    growth, turn = abs(shared) / lengths[0], abs(float(np.angle(shared)))
    possible = share <= slack and 1 / GROWTH_MAX <= growth <= GROWTH_MAX and turn <= TURN_MAX_RAD
    return share if possible else None


def _centred(mesh: Float32Array) -> NDArray[np.complex128]:
    """Points [n,2] about their mean as complex numbers [n]."""
    flat = np.ascontiguousarray(mesh, np.float64).view(np.complex128)[:, 0]
    return np.asarray(flat - flat.sum() / len(flat), np.complex128)


def _deformation_of_points(before: Face, after: Face, slack: float) -> float | None:
    half = np.sqrt(box_area(before.box)) / 2
    growth = growth_of(before.box, after.box)
    left = after.points.astype(np.float64) - before.points
    left -= left.mean(axis=0)
    share = float(np.sqrt((left**2).sum(axis=1).mean()) / max(half, 1e-6)) / POINTS_MAX
    return share if share <= slack and growth <= GROWTH_MAX else None


def growth_of(before: Float32Array, after: Float32Array) -> float:
    """By which factor, from 1, one of two boxes [4] is larger than the other."""
    sides = np.sqrt(np.maximum([box_area(before), box_area(after)], 1e-6))
    return float(sides.max() / sides.min())


def close(boxes: Float32Array, others: Float32Array) -> BoolArray:
    """Which of boxes [n,4] are close to which of others [m,4]: [n,m]."""
    one, other = boxes[:, None].astype(np.float64), others[None].astype(np.float64)
    away = np.abs(one[..., :2] + one[..., 2:] - other[..., :2] - other[..., 2:])  # twice the distance
    sides = one[..., 2:] - one[..., :2] + other[..., 2:] - other[..., :2]
    return np.asarray((away <= CLOSE_SCALE * sides).all(axis=-1), np.bool_)


def covered(box: Float64Array, others: Float32Array) -> float:
    """The greatest part of a box [4] that one of others [n,4] covers."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    shared = box_area(np.concatenate([low, high], axis=1))
    return float(shared.max(initial=0) / max(float(box_area(box)), 1e-6))


def centre_of(box: NDArray[np.floating]) -> Float64Array:
    """The middle of a box [4]."""
    return (np.asarray(box[:2], np.float64) + box[2:]) / 2
