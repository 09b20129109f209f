"""The frames that a person should look at: the worst of each kind, found as a film goes by, with small pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from core.faces.align import cut, shrink
from core.geometry import Float64Array, compose, scaling
from core.records import Moment

MOST = 3  # of one kind and person
APART_S = 1.0
THUMB_PX = 96
THUMB_SCALE = 1.5  # of the face
FRAME_PX = 160  # width of a whole frame's thumbnail
JPEG_QUALITY = 82

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Kept:
    """A moment with its picture: the original on the left, the output on the right, as JPEG."""

    moment: Moment
    picture: bytes


class Moments:
    """Keeps the MOST worst moments of each person and reason that lie at least APART_S apart."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], list[Kept]] = {}

    def offer(self, moment: Moment, picture: Callable[[], bytes]) -> None:
        """Keep `moment` if it is among the worst; `picture` is called only then. Below badness 1 nothing is kept."""
        if not moment.badness >= 1:
            return
        kept = self._kept.setdefault((moment.person, moment.reason), [])
        near = [one for one in kept if abs(one.moment.time_s - moment.time_s) < APART_S]
        if any(one.moment.badness >= moment.badness for one in near):
            return
        rest = [one for one in kept if one not in near]
        if len(rest) >= MOST and rest[-1].moment.badness >= moment.badness:
            return
        rest.append(Kept(moment, picture()))
        rest.sort(key=lambda one: (-one.moment.badness, one.moment.frame))
        self._kept[moment.person, moment.reason] = rest[:MOST]

    def report(self) -> list[Kept]:
        """All that were kept, worst first."""
        every = [one for kept in self._kept.values() for one in kept]
        return sorted(every, key=lambda one: (-one.moment.badness, one.moment.frame, one.moment.person))


def face_thumb(pictures: tuple[Picture, Picture], crop_from_coded: Float64Array, crop_px: int) -> bytes:
    """JPEG of a face in both films, side by side: the surroundings of a crop of `crop_px`."""
    factor = THUMB_PX / (crop_px * THUMB_SCALE)
    wider = scaling(factor, factor)
    wider[:, 2] += (THUMB_PX - crop_px * factor) / 2
    crop = compose(wider, crop_from_coded)
    return jpeg(np.hstack([cut(picture, crop, THUMB_PX) for picture in pictures]))


def frame_thumb(pictures: tuple[Picture, Picture], wide: int, high: int, turns: int) -> bytes:
    """JPEG of whole frames, as displayed in `wide` x `high` after quarter turns, side by side."""
    size = (FRAME_PX, max(1, round(FRAME_PX * high / wide)))
    upright = [np.ascontiguousarray(np.rot90(picture, turns)) for picture in pictures]
    return jpeg(np.hstack([shrink(picture, *size) for picture in upright]))


def jpeg(rgb: Picture) -> bytes:
    _, data = cv2.imencode(".jpg", np.ascontiguousarray(rgb[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return data.tobytes()
