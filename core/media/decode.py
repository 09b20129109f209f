"""Decoding one segment: exactly its frames, in order, by pts, wherever the container's seek lands.

Frames are the decoder's own, in the film's working format, not rotated, and not copied: whoever paints on one
calls `frame.make_writable()` first.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import av

from core.media.far import as_path
from core.media.feed import Film, feed
from core.media.repair import Repair
from core.records import MediaIndex, Segment

# Frames that may come out of order before an absent one is given up; undamaged films need none.
PATIENCE = 8


@dataclass
class DecodedFrame:
    """A frame of the film: its ordinal, its pts in the film's time base, and what is wrong with it, if anything."""

    ordinal: int
    pts: int
    frame: av.VideoFrame
    damage: str | None = None


def decode_segment(path: Path, index: MediaIndex, segment: Segment, *, threads: int = 0) -> Iterator[DecodedFrame]:
    """Yield the `segment.frames` frames `[first, end)` of the film, each once, in order.

    A frame that is missing is replaced by a copy of the one shown before it (at the film's start: by the first that
    decodes) and says so in `damage`, as does a frame that the decoder marks as damaged, and one that was decoded
    after such a frame and before the next keyframe. What that means is the caller's decision.
    `threads` is the decoder's, 0 for as many as there are cores; whole frames do not depend on it.
    `InputError` when the film cannot be read or nothing in it decodes; `PlanError` when index and film disagree.
    """
    film = Film(as_path(path), index)
    repair = Repair(film)
    position, start = segment.first, segment.seek
    if index.format == "mpegts" and segment.end == index.frames:
        # A transport stream that is cut off ends in half a picture, which no packet tells. With several threads FFmpeg
        # hands frames out before it knows that they are damaged, and at times the mark is lost.
        threads = 1
    while position < segment.end:
        position = yield from _undamaged(film, start, position, segment.end, threads)
        if position >= segment.end:
            return
        key, end = film.gop(position)
        for ordinal, frame, damage in repair.frames(key, end):
            if position <= ordinal < segment.end:
                yield DecodedFrame(ordinal, int(index.pts[ordinal]), frame, damage)
        position = end
        start = film.seek(end) if end < index.frames else 0


def _undamaged(film: Film, start: int, position: int, end: int, threads: int) -> Generator[DecodedFrame, None, int]:
    """Yield frames from `position` on while nothing is wrong; returns the first ordinal that was not yielded.

    A damaged reference frame is shown after frames that are built on it, so frames are kept back until those that
    may be its references have come.
    """
    index = film.index
    held: dict[int, av.VideoFrame] = {}
    newest, run = -1, position - 1  # the latest frame that came; the last one before which none is missing
    # The keyframe at `end` is a reference of the leading frames before it.
    target = end if end < index.frames and film.leading[end] else end - 1
    events = feed(film, start, threads=threads)
    ended = True
    for event in events:
        ordinal = event.ordinal
        if event.fault and (ordinal >= position or ordinal < 0):
            ended = False
            break
        if event.frame is None or ordinal < position:
            continue
        newest = max(newest, ordinal)
        if ordinal < end:
            held[ordinal] = event.frame
        while run + 1 in held:
            run += 1
        while position <= run and run >= min(position + film.reach, end - 1):
            if run == end - 1 and newest < target:
                break
            yield DecodedFrame(position, int(index.pts[position]), held.pop(position))
            position += 1
        if position >= end or newest - run > PATIENCE + film.reach:
            ended = False
            break
    events.close()
    while ended and position <= run:
        yield DecodedFrame(position, int(index.pts[position]), held.pop(position))
        position += 1
    return position
