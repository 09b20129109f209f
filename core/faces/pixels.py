"""Pictures as a network wants to read them."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from core.inference.manifest import PixelSpec
from core.records import Float32Array


def network_input(pictures: Sequence[NDArray[np.uint8]], pixels: PixelSpec) -> Float32Array:
    """float32 [n,3,h,w] out of n >= 1 pictures uint8 RGB [h,w,3] of one size, by a manifest's rule (PixelSpec)."""
    high, wide = pictures[0].shape[:2]
    out = np.empty((len(pictures), 3, high, wide), np.float32)
    for row, picture in enumerate(pictures):
        for channel, plane in enumerate(cv2.split(picture)):
            place = channel if pixels.order == "RGB" else 2 - channel
            np.multiply(plane, np.float32(1 / (pixels.scale * pixels.std[place])), out=out[row, place])
            if pixels.mean[place]:
                out[row, place] -= np.float32(pixels.mean[place] / pixels.std[place])
    return out
