"""A decoded frame as an RGB picture, for looking at it. What is rendered never takes this way (see colour)."""

from __future__ import annotations

import av
import av.error
import numpy as np
from av.video.reformatter import Interpolation
from numpy.typing import NDArray

from core.errors import InputError


def rgb_picture(frame: av.VideoFrame, width: int = 0, height: int = 0) -> NDArray[np.uint8]:
    """The frame as uint8 RGB [height,width,3], full range, resampled to the given size (0 keeps the frame's).

    The picture is as coded: display rotation and pixel shape are not applied. High bit depths are reduced, HDR
    transfer curves kept. Depends on nothing but the frame and the size.
    """
    try:
        made = frame.reformat(
            width=width or frame.width,
            height=height or frame.height,
            format="rgb24",
            interpolation=Interpolation.BILINEAR,
        )
        return np.asarray(made.to_ndarray(), np.uint8)
    except (av.error.FFmpegError, ValueError) as error:
        raise InputError(f"frame cannot be shown as RGB: {error}", where=frame.format.name) from error
