"""The plan: which runs of whole GOPs are rendered apart. Integer arithmetic on the index; no PyAV."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from core.media.timebase import seconds_to_ticks
from core.records import BoolArray, Int64Array, MediaIndex, Segment


def plan_segments(index: MediaIndex, segment_s: Fraction) -> tuple[Segment, ...]:
    """Segments that cover `[0, index.frames)` without gap or overlap, each of whole GOPs.

    A segment lasts at least `segment_s` seconds; the remainder of the film joins the last one when it is shorter
    than half of that. `segment_s <= 0` gives one segment a keyframe. `seek` is the keyframe where decoding starts:
    the segment's own, or the one before it when frames that are shown before that keyframe are stored after it
    (open GOP), because decoders then do not agree on what the keyframe alone restores.
    """
    keys = np.flatnonzero(index.key)
    pts = index.pts
    least = seconds_to_ticks(segment_s, index.time_base) if segment_s > 0 else 0
    starts = [int(keys[0])]
    for key in keys[1:]:
        if pts[key] - pts[starts[-1]] >= least:
            starts.append(int(key))
    if len(starts) > 1 and least > 0 and 2 * (index.end_pts - int(pts[starts[-1]])) < least:
        starts.pop()
    leading = has_leading(index.key, index.packet)
    ends = [*starts[1:], index.frames]
    segments = []
    for number, (first, end) in enumerate(zip(starts, ends, strict=True)):
        rank = int(np.searchsorted(keys, first))
        seek = int(keys[rank - 1]) if leading[first] and rank > 0 else first
        segments.append(
            Segment(
                index=number,
                first=first,
                end=end,
                seek=seek,
                pts_first=int(pts[first]),
                pts_end=int(pts[end]) if end < index.frames else index.end_pts,
                pts_seek=int(pts[seek]),
            )
        )
    return tuple(segments)


def has_leading(key: BoolArray, packet: Int64Array) -> BoolArray:
    """[N]: whether a frame is a keyframe with leading frames: shown before it, stored after it."""
    latest = np.maximum.accumulate(packet)
    before = np.concatenate([np.array([-1], dtype=np.int64), latest[:-1]])
    found: BoolArray = key & (before > packet)
    return found
