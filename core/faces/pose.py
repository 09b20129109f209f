"""How two meshes of one face differ: the head's pose, and what is left of the face's expression.

Meshes here are solid: points [468,3] in displayed pixels, x right, y down, depth smaller towards the camera
(core.faces.landmarks.Mesher.solid). The pose is the least-squares similarity in space between points of the skull,
which neither speech nor the eyes move; it is Umeyama's ("Least-squares estimation of transformation parameters between
two point patterns", 1991, eq. 39 to 43).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.geometry import Float64Array
from core.records import EYE_OUTER

# fmt: off
# Points of MediaPipe's canonical face mesh on the nose, the forehead, the temples and the cheekbones, and the corners
# of the eyes.
SKULL = (
    1, 2, 4, 5, 6, 168, 195, 197, 98, 327, 94, 10, 151, 9, 8, 67, 109, 338, 297, 54, 284, 103, 332, 127, 356, 234, 454,
    162, 389, 21, 251, 116, 345, 123, 352, 50, 280, 117, 346, 118, 347, 119, 348, 101, 330, 33, 133, 263, 362,
)
# fmt: on
LIPS = (13, 14)  # inner edge of the upper and lower lip, in the middle
LIDS = ((159, 145), (386, 374))  # upper and lower lid of the left and right eye


@dataclass(frozen=True)
class Difference:
    """What takes one solid mesh to another: see FaceSeries for units and signs; `shift` is [2], x and y.

    `turn` [3,3] is the rotation, `left` [468,3] what remains between the first mesh, moved, and the second, in parts of
    the second's distance between the outer corners of the eyes.
    """

    yaw_deg: float
    pitch_deg: float
    roll_deg: float
    shift: Float64Array
    growth: float
    turn: Float64Array
    left: Float64Array

    @property
    def residual(self) -> float:
        """Root mean square of what remains, across the picture: depth is a guess."""
        return float(np.sqrt((self.left[:, :2] ** 2).sum(axis=1).mean()))


def difference(first: NDArray[np.floating], second: NDArray[np.floating]) -> Difference:
    """How the solid mesh `second` [468,3] differs from `first`. `ValueError` when a mesh has no extent."""
    skull = list(SKULL)
    one, other = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if np.array_equal(one, other):  # without the rounding of a decomposition
        return Difference(0.0, 0.0, 0.0, np.zeros(2), 0.0, np.eye(3), np.zeros_like(one))
    scale, turn, moved = solid_similarity(one[skull], other[skull])
    yaw, pitch, roll = angles_deg(turn)
    return Difference(
        yaw_deg=yaw,
        pitch_deg=pitch,
        roll_deg=roll,
        shift=(other[skull] - one[skull]).mean(axis=0)[:2] / eye_distance(one),
        growth=scale - 1,
        turn=turn,
        left=(other - (scale * one @ turn.T + moved)) / eye_distance(other),
    )


def solid_similarity(
    source: NDArray[np.floating], target: NDArray[np.floating]
) -> tuple[float, Float64Array, Float64Array]:
    """Scale, rotation [3,3] and shift [3] that take `source` [n,3] to `target` [n,3] with least squares."""
    from_mean, to_mean = source.mean(axis=0), target.mean(axis=0)
    a, b = source - from_mean, target - to_mean
    spread = float((a * a).sum())
    if spread < 1e-12:
        raise ValueError("similarity of points that coincide")
    u, sizes, vt = np.linalg.svd(b.T @ a)
    mirror = np.array([1.0, 1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    turn = np.asarray((u * mirror) @ vt, np.float64)
    scale = float((sizes * mirror).sum()) / spread
    return scale, turn, np.asarray(to_mean - scale * turn @ from_mean, np.float64)


def angles_deg(turn: NDArray[np.floating]) -> tuple[float, float, float]:
    """Yaw, pitch and roll of a rotation [3,3]: first nodding by pitch, then turning by yaw, then tilting by roll.

    Positive yaw turns the face to the picture's right, positive pitch down, positive roll clockwise.
    """
    yaw = np.arcsin(np.clip(turn[2, 0], -1, 1))
    pitch = np.arctan2(turn[2, 1], turn[2, 2])
    roll = np.arctan2(turn[1, 0], turn[0, 0])
    return float(np.degrees(yaw)), float(np.degrees(pitch)), float(np.degrees(roll))


def rotation(yaw_deg: float, pitch_deg: float, roll_deg: float) -> Float64Array:
    """The rotation [3,3] that has these angles."""
    yaw, pitch, roll = np.radians([-yaw_deg, pitch_deg, roll_deg])
    nod = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    look = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    tilt = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    return np.asarray(tilt @ look @ nod, np.float64)


def eye_distance(mesh: NDArray[np.floating]) -> float:
    """Between the outer corners of the eyes of a solid mesh, in its pixels."""
    return max(float(np.linalg.norm(np.asarray(mesh[EYE_OUTER[1]], np.float64) - mesh[EYE_OUTER[0]])), 1e-6)


def openings(mesh: NDArray[np.floating]) -> tuple[float, float]:
    """How far the mouth, and the eyes on average, are open in a solid mesh, in parts of `eye_distance`."""
    apart = [float(np.linalg.norm(np.asarray(mesh[a], np.float64) - mesh[b])) for a, b in (LIPS, *LIDS)]
    unit = eye_distance(mesh)
    return apart[0] / unit, (apart[1] + apart[2]) / 2 / unit
