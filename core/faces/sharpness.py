"""How sharp a face is: the share of fine detail in the light and shade of its skin, where it has least of it.

The variance of the Laplacian is the usual measure of focus (Pech-Pacheco et al., "Diatom autofocusing in brightfield
microscopy", 2000; Pertuz et al., "Analysis of focus measure operators", 2013). As it comes it grows with the picture's
size, contrast and noise, with whatever stands behind the face, and hardly sees blur along one direction. So second
differences in four directions are taken inside the face alone, in a crop of fixed size, after a slight blur; the least
of their variances, divided by the variance of the grey values, is a number without a unit, the same for a dark and a
bright, a large and a huge face. Scikit-image's astronaut has 0.020; blurred with a sigma of 1, 2 and 4 % of its face's
height 0.015, 0.008 and 0.003; moved by 8 % of it while the shutter was open 0.006 to 0.010, according to the direction.
A face of fewer pixels than the crop is blurred by being enlarged.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from core.faces.align import cut
from core.geometry import IDENTITY, Float64Array, apply, compose, square_crop
from core.records import EYE_OUTER

CROP_PX = 64
AROUND = 1.1  # the crop's side in extents of the face
SIGMA_PX = 0.8  # hides noise, and most of what bilinear sampling does
RIM_PX = 5  # of the erosion that keeps the face's outline out
LEAST_VARIANCE = 4.0  # grey values squared: a plain surface has neither detail nor shade, and counts as blurred
ROUND = 2.0**-20
# Second differences along the rows, the columns and both diagonals; these are 1.4 times as far apart, hence the half.
DIRECTIONS = tuple(
    np.array(kernel, np.float32) / 2
    for kernel in (
        [[0, 0, 0], [2, -4, 2], [0, 0, 0]],
        [[0, 2, 0], [0, -4, 0], [0, 2, 0]],
        [[1, 0, 0], [0, -2, 0], [0, 0, 1]],
        [[0, 0, 1], [0, -2, 0], [1, 0, 0]],
    )
)


def sharpness(
    picture: NDArray[np.uint8],
    box: NDArray[np.floating],
    mesh: NDArray[np.floating],
    display_from_picture: Float64Array = IDENTITY,
) -> float:
    """The sharpness of the face with `mesh` [468,2] in a picture uint8 RGB [h,w,3], from 0; see above.

    Where no mesh was found (NaN) the ellipse inside `box` [4] is taken for the face. Both are in picture pixels.
    """
    region = np.zeros((CROP_PX, CROP_PX), np.uint8)
    if np.isfinite(mesh).all():
        shown = apply(display_from_picture, mesh)
        left, right = shown[EYE_OUTER[0]], shown[EYE_OUTER[1]]
        crop = _crop(shown, float(np.arctan2(right[1] - left[1], right[0] - left[0])))
        outline = cv2.convexHull(np.round(apply(crop, shown)).astype(np.int32))
        cv2.fillConvexPoly(region, outline, 1)
    else:
        shown = apply(display_from_picture, np.asarray(box, np.float64).reshape(2, 2))
        crop = _crop(shown, 0.0)
        half = np.abs(np.diff(apply(crop, shown), axis=0))[0] / 2
        middle = (CROP_PX // 2, CROP_PX // 2)
        cv2.ellipse(region, middle, (round(half[0]), round(half[1])), 0.0, 0.0, 360.0, (1,), cv2.FILLED)
    region = np.asarray(cv2.erode(region, np.ones((RIM_PX, RIM_PX), np.uint8)), np.uint8)
    inside = region.astype(bool)
    if not inside.any():
        return 0.0
    chip = cut(picture, compose(crop, display_from_picture), CROP_PX)
    grey = cv2.cvtColor(chip, cv2.COLOR_RGB2GRAY).astype(np.float32)
    soft = cv2.GaussianBlur(grey, (0, 0), SIGMA_PX)
    detail = min(float(cv2.filter2D(soft, cv2.CV_32F, kernel)[inside].var()) for kernel in DIRECTIONS)
    value = detail / (float(grey[inside].var()) + LEAST_VARIANCE)
    return round(value / ROUND) * ROUND


def _crop(shown: Float64Array, angle_rad: float) -> Float64Array:
    """crop_from_display around points [n,2] of the displayed picture."""
    low, high = shown.min(axis=0), shown.max(axis=0)
    return square_crop((low + high) / 2, max(float((high - low).max()), 1.0) * AROUND, angle_rad, CROP_PX)
