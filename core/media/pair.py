"""Two films' frames side by side: the planes in which they can be compared sample by sample."""

from __future__ import annotations

from dataclasses import dataclass

import av

from core.errors import InputError
from core.media.picture import rgb_picture
from core.media.planes import Plane, plane_views, to_working, working_format
from core.records import MediaIndex


@dataclass(frozen=True)
class PairFormat:
    """`format` is the planar format compared in, `of` are the films' own; `as_rgb` where those cannot be compared."""

    format: str
    of: tuple[str, str]
    as_rgb: bool = False

    @property
    def note(self) -> str:
        """What a report must say about it; "" nothing."""
        if not self.as_rgb:
            return ""
        return f"outside the faces the films are compared as 8-bit RGB: they are in {self.of[0]} and {self.of[1]}"

    def planes(self, frame: av.VideoFrame, which: int) -> tuple[Plane, ...]:
        """The colour planes of a frame of the film `which`, 0 or 1."""
        if self.as_rgb:
            rgb = rgb_picture(frame)
            return rgb[..., 1], rgb[..., 2], rgb[..., 0]
        return plane_views(to_working(frame, self.of[which]))


def pair_format(first: MediaIndex, second: MediaIndex) -> PairFormat:
    """How two films are compared; `InputError` where their numbers of frames or their sizes differ."""
    if first.frames != second.frames:
        raise InputError(
            f"the films have {first.frames} and {second.frames} frames and cannot be compared frame by frame",
            hint="give the film as it was, and the one made of it",
        )
    sizes = [f"{index.video.width}x{index.video.height}" for index in (first, second)]
    if sizes[0] != sizes[1]:
        raise InputError(
            f"the films are {sizes[0]} and {sizes[1]} pixels large and cannot be compared sample by sample",
            hint="give films of one size",
        )
    formats = (working_format(first.video.pix_fmt), working_format(second.video.pix_fmt))
    plain = [_plain(form, index) for form, index in zip(formats, (first, second), strict=True)]
    if plain[0] == plain[1]:
        return PairFormat(formats[0], formats)
    return PairFormat("gbrp", formats, as_rgb=True)


def _plain(pix_fmt: str, index: MediaIndex) -> tuple[str, bool]:
    """The format without the mark of full range, and whether its range is full."""
    full = pix_fmt.startswith("yuvj") or index.video.colour.range == 2
    return pix_fmt.replace("yuvj", "yuv"), full
