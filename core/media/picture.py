"""A decoded frame as an RGB picture, for looking at it. What is rendered never takes this way (see colour)."""

from __future__ import annotations

import av
import av.error
import numpy as np
from numpy.typing import NDArray

from core.errors import InputError


def rgb_picture(frame: av.VideoFrame) -> NDArray[np.uint8]:
    """The frame as uint8 RGB [height,width,3], full range.

    The picture is as coded: display rotation and pixel shape are not applied. High bit depths are reduced, HDR
    transfer curves kept.
    """
    try:
        return np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
    except (av.error.FFmpegError, ValueError) as error:
        raise InputError(f"frame cannot be shown as RGB: {error}", where=frame.format.name) from error
