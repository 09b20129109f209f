"""Cut a face out of a frame's planes as upright RGB. Only what the crop covers is read and converted."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from core.geometry import Float64Array, apply, compose, invert, scale_of, scaling
from core.media.colour import Conversion
from core.media.planes import Plane
from core.records import Float32Array

MARGIN_PX = 2  # what bilinear sampling may touch beyond the crop


def crop_rgb(planes: Sequence[Plane], crop_from_frame: Float64Array, side_px: int, colours: Conversion) -> Float32Array:
    """The crop as float32 RGB [3,side,side] clipped to 0..1; the picture's edge pixels continue outside it.

    `planes` are the frame's, in plane order; `crop_from_frame` maps luma pixel coordinates.
    """
    codes = np.stack(
        [
            _sample(planes[number], compose(crop_from_frame, colours.frame_from_plane(number)), side_px)
            for number in range(colours.layout.colour_planes)
        ]
    )
    rgb = colours.to_rgb(codes)
    return np.asarray(np.clip(rgb, 0, 1, out=rgb), np.float32)


def _sample(plane: Plane, crop_from_plane: Float64Array, side_px: int) -> Float32Array:
    """Samples float32 [side,side] of a plane. Where the crop is smaller than its region, boxes of k x k samples are
    averaged first; they are counted from the plane's origin, so that they do not wander with a moving face."""
    high, wide = plane.shape
    corners = np.array([[0, 0], [side_px, 0], [side_px, side_px], [0, side_px]], np.float64)
    there = apply(invert(crop_from_plane), corners)
    box = max(1, int(1 / scale_of(crop_from_plane)))
    margin = MARGIN_PX * box
    low = np.floor((there.min(axis=0) - margin) / box).astype(int) * box
    top = np.ceil((there.max(axis=0) + margin) / box).astype(int) * box
    x0, y0 = (int(v) for v in np.clip(low, 0, ((wide - 1) // box * box, (high - 1) // box * box)))
    x1, y1 = (int(v) for v in np.clip(top, (x0 + 1, y0 + 1), (wide, high)))
    region = plane[y0:y1, x0:x1].astype(np.float32)
    plane_from_region = np.array([[1.0, 0.0, x0], [0.0, 1.0, y0]])
    if box > 1:
        small_wide, small_high = -(-(x1 - x0) // box), -(-(y1 - y0) // box)
        pad = ((0, small_high * box - (y1 - y0)), (0, small_wide * box - (x1 - x0)))
        padded = np.pad(region, pad, "edge")
        region = np.asarray(cv2.resize(padded, (small_wide, small_high), interpolation=cv2.INTER_AREA), np.float32)
        plane_from_region = compose(plane_from_region, scaling(box, box))
    affine = compose(crop_from_plane, plane_from_region)
    size = (side_px, side_px)
    return np.asarray(
        cv2.warpAffine(region, affine, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32
    )
