"""Lay a changed crop back into a frame's planes. Samples where the mask is 0 keep their bits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from core.geometry import Float64Array, apply, compose, invert, scale_of
from core.media.colour import Conversion
from core.media.planes import Plane
from core.records import Float32Array, PasteKind
from core.swap.blend import BLENDS

COVERED_MIN = 0.99
MASK_MIN = 1 / 512  # less cannot change an 8-bit sample by half a step


def paste(
    planes: Sequence[Plane],
    rgb: Float32Array,
    mask: Float32Array,
    crop_from_frame: Float64Array,
    colours: Conversion,
    kind: PasteKind = "feather",
) -> None:
    """Blend `rgb` float32 [3,S,S] into writable `planes` by `mask` float32 [S,S] in 0..1.

    Each plane is blended on its own grid inside the mask's region only, and rounded: "feather" is sample + mask *
    (new - sample), the others see core.swap.blend. An alpha plane is left alone.
    """
    rows, columns = np.flatnonzero(mask.max(axis=1) > 0), np.flatnonzero(mask.max(axis=0) > 0)
    if len(rows) == 0:
        return
    low, high = np.array([columns[0], rows[0]]) - 1.0, np.array([columns[-1], rows[-1]]) + 1.0
    corners = np.array([low, [high[0], low[1]], high, [low[0], high[1]]])
    codes = colours.to_codes(np.clip(rgb, 0, 1))
    for number in range(colours.layout.colour_planes):
        plane_from_crop = invert(compose(crop_from_frame, colours.frame_from_plane(number)))
        mixed = _Mix(codes[number], mask, plane_from_crop, corners, colours.layout.top_code)
        _blend(planes[number], mixed, kind)


@dataclass(frozen=True)
class _Mix:
    """What goes into one plane: code values [S,S], the mask, where both belong, and the box of the mask."""

    codes: Float32Array
    mask: Float32Array
    plane_from_crop: Float64Array
    corners: Float64Array
    top_code: int


def _blend(plane: Plane, mix: _Mix, kind: PasteKind) -> None:
    """Blend one plane inside the box around the mapped corners."""
    codes, mask = mix.codes, mix.mask
    scale = scale_of(mix.plane_from_crop)
    sigma = 0.5 * float(np.sqrt(max(1 / scale**2 - 1, 0)))
    there = apply(mix.plane_from_crop, mix.corners)
    grow = 1 + 3 * sigma * scale
    size = np.array(plane.shape[::-1])
    x0, y0 = (int(v) for v in np.clip(np.floor(there.min(axis=0) - grow), 0, size))
    x1, y1 = (int(v) for v in np.clip(np.ceil(there.max(axis=0) + grow) + 1, 0, size))
    if x0 >= x1 or y0 >= y1:
        return
    if sigma > 0:  # a crop finer than the plane: without this, thin lines would come and go
        codes = np.asarray(cv2.GaussianBlur(codes, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE), np.float32)
        mask = np.asarray(cv2.GaussianBlur(mask, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT), np.float32)
    region_from_crop = compose(np.array([[1.0, 0.0, -x0], [0.0, 1.0, -y0]]), mix.plane_from_crop)
    shape = (x1 - x0, y1 - y0)
    shown = cv2.warpAffine(mask, region_from_crop, shape, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    weight = np.asarray(cv2.threshold(shown, MASK_MIN, 0, cv2.THRESH_TOZERO)[1], np.float32)
    np.minimum(weight, 1, out=weight)
    how = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_LINEAR
    fresh = np.asarray(
        cv2.warpAffine(codes, region_from_crop, shape, flags=how, borderMode=cv2.BORDER_REPLICATE), np.float32
    )
    region = plane[y0:y1, x0:x1]
    old = region.astype(np.float32)
    if kind != "feather":  # the others look beyond the mask: beside the crop there are only old samples
        ones = np.ones_like(mask)
        covered = cv2.warpAffine(ones, region_from_crop, shape, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        fresh = np.asarray(np.where(covered > COVERED_MIN, fresh, old), np.float32)
    mixed = BLENDS[kind](old, fresh, weight)
    np.rint(mixed, out=mixed)  # in place: memory that is new to the process costs more than the arithmetic
    np.clip(mixed, 0, mix.top_code, out=mixed)
    region[...] = mixed.astype(plane.dtype)
