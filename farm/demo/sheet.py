"""The demo's contact sheet."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, cast

import av
import cv2
import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from farm.demo.film import Image

MOMENTS_S = (1.0, 3.5, 7.0, 11.0)  # all in stretches with faces


def frame_at(path: Path, time_s: float) -> Image:
    """The frame shown at `time_s`, RGB."""
    with av.open(str(path)) as film:
        shown = None
        for frame in film.decode(video=0):
            if shown is not None and frame.time is not None and frame.time > time_s:
                break
            shown = frame
        assert shown is not None
        return cast(Image, shown.to_ndarray(format="rgb24"))


def caption(picture: Image, text: str) -> None:
    """Write `text` on a dark plate at the bottom left of an RGB picture, in place."""
    plate = PIL.Image.fromarray(picture)
    draw = PIL.ImageDraw.Draw(plate)
    font = PIL.ImageFont.load_default(18)
    left, top, right, bottom = draw.textbbox((10, 330), text, font=font)
    draw.rectangle((left - 5, top - 4, right + 5, bottom + 4), fill=(0, 0, 0))
    draw.text((10, 330), text, font=font, fill=(255, 255, 255))
    picture[:] = np.asarray(plate)


def contact_sheet(before: Path, after: Path, sheet: Path) -> None:
    """One row a moment, the original left and the result right."""
    rows: list[Any] = []
    for time_s in MOMENTS_S:
        frames = [frame_at(film, time_s) for film in (before, after)]
        pair = [cv2.resize(frame, (640, 360), interpolation=cv2.INTER_AREA) for frame in frames]
        for picture, word in zip(pair, ("before", "after"), strict=True):
            caption(cast(Image, picture), f"{word}, {time_s:.1f} s")
        rows.append(np.hstack(pair))
    if not cv2.imwrite(str(sheet), np.vstack(rows)[..., ::-1]):
        sys.exit(f"farm demo: {sheet}: could not be written")
