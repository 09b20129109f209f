"""Soft masks from mesh points: float32 [S,S] in 0..1, points in crop pixels, everything 0 on the crop's rim.

Point numbers are those of MediaPipe's canonical face mesh.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from core.records import Float32Array

# fmt: off
# The face's outline, cut below the hairline and before the ears: hair begins above the second row of forehead points.
OUTLINE = (
    151, 337, 299, 333, 298, 301, 383, 372, 345, 352, 376, 433, 416, 367, 364, 394, 395, 369, 396, 175,
    171, 140, 170, 169, 135, 138, 192, 213, 147, 123, 116, 143, 156, 71, 68, 104, 69, 108,
)
# The whole oval, chin and temples included.
OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152,
    148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)
LEFT_EYE = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
RIGHT_EYE = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
INNER_LIPS = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191)
OUTER_LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
LEFT_FOLD = (129, 203, 206, 216, 212)  # from the nose's wing round the corner of the mouth
RIGHT_FOLD = (358, 423, 426, 436, 432)
LEFT_BROW = (70, 63, 105, 66, 107, 55, 65, 52, 53, 46)
RIGHT_BROW = (300, 293, 334, 296, 336, 285, 295, 282, 283, 276)
# fmt: on
SUBPIXEL_BITS = 4
FEATHER_MIN_PX = 1.0


def filled(mesh: NDArray[np.floating], outline: tuple[int, ...], side_px: int) -> Float32Array:
    """Coverage of the polygon through these mesh points [468,2], anti-aliased."""
    picture = np.zeros((side_px, side_px), np.uint8)
    corners = np.rint(mesh[list(outline)] * (1 << SUBPIXEL_BITS)).astype(np.int32)
    cv2.fillPoly(picture, [corners], 255, cv2.LINE_AA, SUBPIXEL_BITS)
    return np.asarray(picture, np.float32) / np.float32(255)


def filled_hull(mesh: NDArray[np.floating], part: tuple[int, ...], side_px: int) -> Float32Array:
    """Coverage of the convex hull of these mesh points: whole however a turned head folds its outline."""
    hull = np.asarray(cv2.convexHull(np.asarray(mesh[list(part)], np.float32)), np.float32).reshape(-1, 2)
    return filled(hull, tuple(range(len(hull))), side_px)


def lined(
    mesh: NDArray[np.floating], part: tuple[int, ...], side_px: int, width_px: int, *, closed: bool = True
) -> Float32Array:
    """Coverage of a line of this width through these mesh points."""
    picture = np.zeros((side_px, side_px), np.uint8)
    corners = np.rint(mesh[list(part)] * (1 << SUBPIXEL_BITS)).astype(np.int32)
    cv2.polylines(picture, [corners], closed, 255, width_px, cv2.LINE_AA, SUBPIXEL_BITS)
    return np.asarray(picture, np.float32) / np.float32(255)


def softened(cover: Float32Array, sigma_px: float) -> Float32Array:
    """`cover` with edges blurred to both sides."""
    return np.asarray(cv2.GaussianBlur(cover, (0, 0), sigma_px, borderType=cv2.BORDER_CONSTANT), np.float32)


def feathered(cover: Float32Array, width_px: float) -> Float32Array:
    """A mask that is 0 at the cover's edge and rises inwards to 1 over `width_px`, without a kink at either end."""
    width = max(width_px, FEATHER_MIN_PX)
    bounded = (cover >= 0.5).astype(np.uint8)
    bounded[[0, -1], :] = 0  # the crop's rim is an edge too
    bounded[:, [0, -1]] = 0
    depth = cv2.distanceTransform(bounded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    rise = np.clip(depth / np.float32(width), 0, 1)
    return np.asarray(rise * rise * (3 - 2 * rise), np.float32)
