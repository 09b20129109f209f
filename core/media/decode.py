"""Decoding one segment: exactly its frames, in order, by pts, wherever the container's seek lands.

Frames are the decoder's own, in the film's working format, not rotated, and not copied: whoever paints on one
calls `frame.make_writable()` first.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import av.error
import numpy as np

from core.errors import InputError
from core.media.guard import LIMITS, film_stream, open_film
from core.media.planes import copy_frame, to_working, working_format
from core.media.seek import packets_from
from core.records import MediaIndex, OnDamage, Segment

# Frames that may come out of order before an absent one is given up; undamaged films need none.
PATIENCE = 8
NOT_DECODED = "no frame came out of the decoder"
MARKED = "the decoder marks it as damaged"


@dataclass
class DecodedFrame:
    """A frame of the film: its ordinal, its pts in the film's time base, and what is wrong with it, if anything."""

    ordinal: int
    pts: int
    frame: av.VideoFrame
    damage: str | None = None


def decode_segment(
    path: Path, index: MediaIndex, segment: Segment, *, on_damage: OnDamage = "keep", threads: int = 0
) -> Iterator[DecodedFrame]:
    """Yield the `segment.frames` frames `[first, end)` of the film, each once, in order.

    A frame that is missing is replaced by a copy of the one shown before it (at the film's start: by the first that
    decodes) and says so in `damage`, as does a frame that the decoder marks as damaged. `on_damage` does not change
    what is yielded; the caller decides. `threads` is the decoder's, 0 for as many as there are cores.
    `InputError` when the film cannot be read or nothing in it decodes; `PlanError` when index and film disagree.
    """
    del on_damage
    keys = np.flatnonzero(index.key)
    start, back = segment.seek, 1
    while True:
        decoder = _Decoder(path, index, start, threads)
        frames = decoder.frames()
        try:
            whole = yield from _assemble(decoder, frames, index, segment, from_start=start == 0)
        finally:
            frames.close()
        if whole:
            return
        rank = int(np.searchsorted(keys, start)) - back
        start = int(keys[max(rank, 0)])
        back *= 2


def _assemble(
    decoder: _Decoder,
    frames: Iterator[DecodedFrame],
    index: MediaIndex,
    segment: Segment,
    *,
    from_start: bool,
) -> Generator[DecodedFrame, None, bool]:
    """Order what the decoder gives and fill what it does not.

    Returns False, having yielded nothing, when the first frame is missing and no frame before it was decoded
    although the film holds some: the caller then starts earlier. One frame is kept back, so that a copy of it can
    be made before anybody paints on it.
    """
    expected, end = segment.first, segment.end
    held: dict[int, DecodedFrame] = {}
    before: DecodedFrame | None = None  # shown before the segment
    after: DecodedFrame | None = None  # shown after it
    pending: DecodedFrame | None = None  # decided, not yet yielded
    past = 0
    ended = False
    while expected < end:
        raw = next(frames, None)
        if raw is None:
            ended = True
        elif raw.ordinal >= end:
            past += 1
            after = after or raw
        elif raw.ordinal >= expected:
            held.setdefault(raw.ordinal, raw)
        elif raw.ordinal < segment.first and (before is None or raw.ordinal > before.ordinal):
            before = raw
        while expected < end:
            found = held.pop(expected, None)
            if found is None:
                if not (ended or past > PATIENCE or len(held) > PATIENCE):
                    break
                model = pending or before
                if model is None and not from_start:
                    return False
                if model is None:
                    model = held[min(held)] if held else after
                if model is None and not ended:
                    break
                if model is None:
                    raise InputError(
                        "no frame of it can be decoded", where=str(decoder.path), hint="the film is damaged"
                    )
                found = DecodedFrame(expected, 0, copy_frame(model.frame), decoder.error or NOT_DECODED)
            if pending is not None:
                yield pending
            found.pts = int(index.pts[expected])
            found.frame.pts = found.pts
            found.frame.time_base = index.time_base
            pending = found
            expected += 1
    if pending is not None:
        yield pending
    return True


class _Decoder:
    """Frames of the film from the keyframe with ordinal `start` on, in the decoder's order."""

    def __init__(self, path: Path, index: MediaIndex, start: int, threads: int) -> None:
        self.path = path
        self.index = index
        self.start = start
        self.threads = threads
        self.error = ""

    def frames(self) -> Generator[DecodedFrame, None, None]:
        """Decode to the end of the film; whoever has enough stops asking.

        A decoder with several threads loses what is still in it when an error comes up while it is drained, so a
        caller who asks on after the end gets everything again from a decoder with one thread.
        """
        yield from self._decode(self.threads)
        if self.threads != 1:
            yield from self._decode(1)

    def _decode(self, threads: int) -> Generator[DecodedFrame, None, None]:
        index = self.index
        video = index.video
        pix_fmt = working_format(video.pix_fmt)
        shape = (video.width, video.height, video.pix_fmt)
        number = _Numbering(index)
        with open_film(self.path) as container:
            stream = film_stream(container)
            for other in container.streams:
                if other.index != stream.index:
                    other.discard = av.stream.Discard.all
            context = stream.codec_context
            context.thread_type = "AUTO"
            context.thread_count = threads
            context.options = {"max_pixels": str(LIMITS.max_pixels)}
            if video.codec == "h264":
                # Without it a film whose headers state no reorder depth loses frames where the decoder guesses low.
                context.reorder_depth = max(context.reorder_depth, video.reorder_depth)
            try:
                for packet in packets_from(self.path, container, stream, index, self.start):
                    try:
                        frames = context.decode(packet)
                    except av.error.EOFError:
                        return
                    except av.error.FFmpegError as error:
                        self.error = f"the decoder failed: {error.strerror}"
                        continue
                    for frame in frames:
                        ordinal = number(frame.pts)
                        if ordinal < 0:
                            continue
                        if (frame.width, frame.height, frame.format.name) != shape:
                            self.error = (
                                f"the picture changes to {frame.width}x{frame.height} {frame.format.name}"
                                f" from {video.width}x{video.height} {video.pix_fmt}"
                            )
                            continue
                        damage = MARKED if frame.is_corrupt else None
                        yield DecodedFrame(ordinal, 0, to_working(frame, pix_fmt), damage)
            finally:
                context.flush_buffers()


class _Numbering:
    """Ordinal of a decoded frame from its pts (or its packet's rank), -1 where the index has none."""

    def __init__(self, index: MediaIndex) -> None:
        if index.indexed_by == "demux":
            self.values = index.pts
            self.ordinals = None
        else:
            order = np.argsort(index.packet, kind="stable")
            self.values = index.packet[order]
            self.ordinals = order
        self.next = 0

    def __call__(self, value: int | None) -> int:
        if value is None:
            return -1
        values = self.values
        place = self.next
        if place >= len(values) or values[place] != value:
            place = int(np.searchsorted(values, value))
            if place >= len(values) or values[place] != value:
                return -1
        self.next = place + 1
        return place if self.ordinals is None else int(self.ordinals[place])
