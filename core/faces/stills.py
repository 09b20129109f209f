"""The pictures that a source face comes from: one of an image file, several of a film."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.errors import InputError
from core.faces.align import shrink
from core.geometry import display_from_coded
from core.media.decode import decode_segment
from core.media.image import TAKEN, is_image, read_image
from core.media.index import index_film
from core.media.picture import rgb_picture
from core.media.plan import plan_segments
from core.records import MediaIndex

FILM_FRAMES = 24  # looked at in a film, spread evenly over it


@dataclass(frozen=True)
class Still:
    """A picture uint8 RGB [h,w,3], upright with square pixels; `frame` is its ordinal in a film, None in an image."""

    rgb: NDArray[np.uint8]
    frame: int | None


def read_stills(path: Path | str) -> Iterator[Still]:
    """The image, or FILM_FRAMES frames of the film, or all where it has fewer; damaged frames are left out.

    `InputError` when the file is neither, or cannot be read.
    """
    if is_image(path) or not Path(path).is_file():
        yield Still(read_image(path), None)
        return
    try:
        index = index_film(Path(path))
    except InputError as error:
        hint = f"give {TAKEN}, or a short film"
        raise InputError("is neither an image nor a film that we read", where=str(path), hint=hint) from error
    yield from _frames(Path(path), index)


def _frames(path: Path, index: MediaIndex) -> Iterator[Still]:
    count = min(FILM_FRAMES, index.frames)
    wanted = {int((2 * number + 1) * index.frames) // (2 * count) for number in range(count)}
    for segment in plan_segments(index, Fraction(0)):
        left = {ordinal for ordinal in wanted if segment.first <= ordinal < segment.end}
        if not left:
            continue
        for item in decode_segment(path, index, segment):
            if item.ordinal in left and item.damage is None:
                yield Still(_upright(rgb_picture(item.frame), index), item.ordinal)
            left.discard(item.ordinal)
            if not left:
                break


def _upright(picture: NDArray[np.uint8], index: MediaIndex) -> NDArray[np.uint8]:
    """The coded picture uint8 RGB as it is shown."""
    video = index.video
    _, wide, high = display_from_coded(video.width, video.height, video.sample_aspect_ratio, video.rotation)
    turns = round(video.rotation / 90) % 4
    size = (high, wide) if turns % 2 else (wide, high)
    return np.ascontiguousarray(np.rot90(shrink(picture, *size), turns))
