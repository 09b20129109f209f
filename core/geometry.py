"""Plane geometry of boxes, points and affine maps.

Points are (x, y) with pixel centres at integers; an affine map is float64 [2,3] and maps columns (x, y, 1). Names
read `there_from_here`, so maps compose as `compose(c_from_b, b_from_a)`.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float64Array = np.ndarray[Any, np.dtype[np.float64]]

IDENTITY: Float64Array = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
IDENTITY.setflags(write=False)


def compose(second: Float64Array, first: Float64Array) -> Float64Array:
    """The map that applies `first`, then `second`."""
    linear = second[:, :2] @ first[:, :2]
    return np.column_stack([linear, second[:, :2] @ first[:, 2] + second[:, 2]])


def invert(affine: Float64Array) -> Float64Array:
    """The inverse map; `ValueError` when it flattens the plane."""
    if abs(float(np.linalg.det(affine[:, :2]))) < 1e-12:
        raise ValueError("affine map has no inverse")
    linear = np.linalg.inv(affine[:, :2])
    return np.column_stack([linear, -linear @ affine[:, 2]])


def apply(affine: Float64Array, points: NDArray[Any]) -> Float64Array:
    """`points` [..., 2] mapped."""
    return np.asarray(points, np.float64) @ affine[:, :2].T + affine[:, 2]


def scale_of(affine: Float64Array) -> float:
    """The factor by which lengths grow, as the square root of the area's."""
    return float(np.sqrt(abs(np.linalg.det(affine[:, :2]))))


def scaling(factor_x: float, factor_y: float) -> Float64Array:
    """Resampling of a picture, whose edges (at -0.5) stay in place."""
    return np.array([[factor_x, 0.0, (factor_x - 1) / 2], [0.0, factor_y, (factor_y - 1) / 2]])


def similarity(source: NDArray[Any], target: NDArray[Any]) -> Float64Array:
    """The rotation, uniform scale and shift that takes `source` [n,2] to `target` [n,2] with least squares.

    S. Umeyama, "Least-squares estimation of transformation parameters between two point patterns" (1991), eq. 40-43;
    in the plane the solution is one complex division.
    """
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    from_mean, to_mean = source.mean(axis=0), target.mean(axis=0)
    a, b = source - from_mean, target - to_mean
    spread = float((a * a).sum())
    if spread < 1e-12:
        raise ValueError("similarity of points that coincide")
    cosine = float((a * b).sum()) / spread
    sine = float((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum()) / spread
    linear = np.array([[cosine, -sine], [sine, cosine]])
    return np.column_stack([linear, to_mean - linear @ from_mean])


def square_crop(centre: NDArray[Any], side_px: float, angle_rad: float, crop_px: int) -> Float64Array:
    """crop_from_picture for a square of `side_px` around `centre`, turned so that `angle_rad` becomes level.

    The angle is of the vector from left to right eye, y down. The square's edges fall on the crop's edges.
    """
    factor = crop_px / side_px
    cosine, sine = factor * np.cos(angle_rad), factor * np.sin(angle_rad)
    linear = np.array([[cosine, sine], [-sine, cosine]])
    middle = np.full(2, (crop_px - 1) / 2)
    return np.column_stack([linear, middle - linear @ np.asarray(centre, np.float64)])


def level_extent(points: NDArray[Any], left: int, right: int) -> Float64Array:
    """The longer side [...] of the box around points [...,n,2] that is level with the line between two of them."""
    points = np.asarray(points, np.float64)
    along = points[..., right, :] - points[..., left, :]
    along = along / np.maximum(np.linalg.norm(along, axis=-1, keepdims=True), 1e-12)
    across = np.stack([-along[..., 1], along[..., 0]], axis=-1)
    sides = [np.ptp(np.einsum("...nc,...c->...n", points, axis), axis=-1) for axis in (along, across)]
    return np.asarray(np.maximum(*sides), np.float64)


def display_from_coded(
    width: int, height: int, sample_aspect_ratio: Fraction, rotation: int
) -> tuple[Float64Array, int, int]:
    """The map from coded pixels to the upright picture with square pixels, and that picture's width and height.

    `rotation` is in degrees counter-clockwise, a multiple of 90 (others count as the nearest one). The longer
    axis of a pixel is stretched, never the other shrunk. An aspect ratio of 0 means unknown and counts as 1.
    """
    ratio = sample_aspect_ratio if sample_aspect_ratio > 0 else Fraction(1)
    wide, high = max(1, round(width * max(ratio, Fraction(1)))), max(1, round(height / min(ratio, Fraction(1))))
    stretched = scaling(wide / width, high / height)
    turns = round(rotation / 90) % 4
    turned: Float64Array = {
        0: IDENTITY,
        1: np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, wide - 1.0]]),
        2: np.array([[-1.0, 0.0, wide - 1.0], [0.0, -1.0, high - 1.0]]),
        3: np.array([[0.0, -1.0, high - 1.0], [1.0, 0.0, 0.0]]),
    }[turns]
    return compose(turned, stretched), *((high, wide) if turns % 2 else (wide, high))


def map_boxes(affine: Float64Array, boxes: NDArray[Any]) -> Float64Array:
    """The upright boxes [n,4] around the mapped corners of `boxes` [n,4]."""
    corners = apply(affine, np.asarray(boxes, np.float64)[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2))
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)


def box_area(boxes: NDArray[Any]) -> Float64Array:
    """Areas [...] of boxes [...,4]; 0 for boxes turned inside out."""
    sides = np.maximum(np.asarray(boxes, np.float64)[..., 2:] - np.asarray(boxes, np.float64)[..., :2], 0)
    return np.asarray(sides[..., 0] * sides[..., 1], np.float64)


def iou(first: NDArray[Any], second: NDArray[Any]) -> Float64Array:
    """Intersection over union [n,m] of boxes [n,4] and [m,4]."""
    a, b = np.asarray(first, np.float64)[:, None], np.asarray(second, np.float64)[None]
    low, high = np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., 2:], b[..., 2:])
    shared = box_area(np.concatenate([low, high], axis=-1))
    union = box_area(a) + box_area(b) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
