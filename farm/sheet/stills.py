"""Pictures of people out of the film: each at its best moment, upright, with some room around the face."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.faces.align import cut
from core.geometry import compose, display_from_coded, map_boxes, square_crop
from core.media.decode import decode_segment
from core.media.picture import rgb_picture
from core.media.plan import plan_segments
from core.records import MediaIndex, Person, TrackTable

SIDE_PX = 192
ROOM = 1.7  # the picture's side, in sides of the face's box


def best_tracks(people: Iterable[Person], tracks: TrackTable) -> dict[str, int]:
    """For each person's id the track that shows him best: facing the camera, then large, then surely found."""
    return {
        person.id: max(
            person.tracks,
            key=lambda row: (round(float(tracks.frontal[row]), 1), float(tracks.area_px[row]), -row),
        )
        for person in people
    }


def portraits(
    film: Path, index: MediaIndex, tracks: TrackTable, wanted: Mapping[str, int]
) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """(key, picture uint8 RGB [192,192,3]) of each of the tracks `wanted`, in order of the film.

    Only the GOPs that hold the tracks' best frames are decoded. The picture's edge continues outside it.
    """
    video = index.video
    shown = display_from_coded(video.width, video.height, video.sample_aspect_ratio, video.rotation)[0]
    by_frame: dict[int, list[str]] = {}
    for key, row in wanted.items():
        by_frame.setdefault(int(tracks.best_frame[row]), []).append(key)
    for frame, picture in frames_at(film, index, by_frame):
        for key in by_frame[frame]:
            box = map_boxes(shown, tracks.best_box[wanted[key]][None])[0]
            centre = (box[:2] + box[2:]) / 2
            side = float(np.max(box[2:] - box[:2])) * ROOM
            yield key, cut(picture, compose(square_crop(centre, side, 0.0, SIDE_PX), shown), SIDE_PX)


def frames_at(film: Path, index: MediaIndex, frames: Iterable[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """(ordinal, coded picture uint8 RGB [h,w,3]) of some frames, in order."""
    todo = sorted(set(frames))
    for segment in plan_segments(index, Fraction(0)):
        here = [frame for frame in todo if segment.first <= frame < segment.end]
        if not here:
            continue
        for item in decode_segment(film, index, segment):
            if item.ordinal in here:
                yield item.ordinal, rgb_picture(item.frame)
            if item.ordinal >= here[-1]:
                break
