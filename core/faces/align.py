"""Cutting straightened faces out of pictures."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from core.geometry import Float64Array, apply, compose, invert, scale_of, scaling, similarity
from core.inference.manifest import Template
from core.records import Float32Array

# Bilinear sampling looks at two pixels each way: below this scale it would skip some, which shows as shimmer.
ALIAS_FREE_SCALE = 0.75
MARGIN_PX = 4


def cut(rgb: NDArray[np.uint8], chip_from_picture: Float64Array, side_px: int) -> NDArray[np.uint8]:
    """The square chip uint8 RGB [side,side,3] of a picture uint8 RGB [h,w,3]; edge pixels continue outside it.

    A chip much smaller than its region is taken from an area-averaged copy of the region.
    """
    scale = scale_of(chip_from_picture)
    if scale >= ALIAS_FREE_SCALE:
        return _warp(rgb, chip_from_picture, side_px)
    corners = np.array([[0, 0], [side_px, 0], [side_px, side_px], [0, side_px]], np.float64)
    there = apply(invert(chip_from_picture), corners)
    high, wide = rgb.shape[:2]
    margin = MARGIN_PX / scale
    x0, y0 = (int(v) for v in np.clip(np.floor(there.min(axis=0) - margin), 0, (wide - 1, high - 1)))
    x1, y1 = (int(v) for v in np.clip(np.ceil(there.max(axis=0) + margin), (x0 + 1, y0 + 1), (wide, high)))
    region = rgb[y0:y1, x0:x1]
    small_wide, small_high = max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale))
    small = np.asarray(cv2.resize(region, (small_wide, small_high), interpolation=cv2.INTER_AREA), np.uint8)
    small_from_region = scaling(small_wide / (x1 - x0), small_high / (y1 - y0))
    region_from_picture = np.array([[1.0, 0.0, -x0], [0.0, 1.0, -y0]])
    picture_from_small = invert(compose(small_from_region, region_from_picture))
    return _warp(small, compose(chip_from_picture, picture_from_small), side_px)


def _warp(rgb: NDArray[np.uint8], affine: Float64Array, side_px: int) -> NDArray[np.uint8]:
    size = (side_px, side_px)
    return np.asarray(
        cv2.warpAffine(rgb, affine, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8
    )


def chip_from_points(points: NDArray[np.float32], template: Template) -> Float64Array:
    """The least-squares similarity that takes the five points [5,2] of a picture onto a template's chip."""
    return similarity(points, np.array(template.points))


def template_chip(rgb: NDArray[np.uint8], points: Float32Array, template: Template) -> NDArray[np.uint8]:
    """The chip of a face whose five points [5,2] are known, aligned to the template."""
    return cut(rgb, chip_from_points(points, template), template.side_px)
