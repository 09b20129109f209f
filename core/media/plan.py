"""The plan: which runs of whole GOPs are rendered apart. Integer arithmetic on the index; no PyAV."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from core.media.timebase import seconds_to_ticks
from core.records import BoolArray, Int32Array, Int64Array, MediaIndex, Segment

# A frame is decoded and encoded, which at 1080p takes about as long as one face by the mesh swapper (20 ms on one
# core); networks take longer. Balance is all that depends on it.
FACE_FRAMES = 2
# A run of GOPs with or without faces shorter than this part of a segment is no segment of its own.
LEAST_PART = 4


def plan_segments(index: MediaIndex, segment_s: Fraction) -> tuple[Segment, ...]:
    """Segments that cover `[0, index.frames)` without gap or overlap, each of whole GOPs.

    A segment lasts at least `segment_s` seconds; the remainder of the film joins the last one when it is shorter
    than half of that. `segment_s <= 0` gives one segment a keyframe. `seek` is the keyframe where decoding starts:
    the segment's own, or the one before it when frames that are shown before that keyframe are stored after it
    (open GOP), because decoders then do not agree on what the keyframe alone restores.
    """
    return _segments(index, _starts(index, segment_s))


def plan_balanced(index: MediaIndex, segment_s: Fraction, faces: Int32Array) -> tuple[Segment, ...]:
    """Segments as `plan_segments` makes them, of about equal work instead of equal length.

    `faces` int32 [N] is how many faces are seen in each frame; a face counts as much as FACE_FRAMES frames. One
    segment's share of the work is that of `segment_s` seconds on average. Where GOPs with faces begin or end, a
    segment does too, unless it had less than a fourth of its share: so whole segments have nothing to replace.
    """
    if segment_s <= 0:
        return plan_segments(index, segment_s)
    keys = np.flatnonzero(index.key)
    pieces = len(_starts(index, segment_s))
    ends = np.append(keys[1:], index.frames)
    seen = np.add.reduceat(np.asarray(faces, np.int64), keys)
    work = (ends - keys) + FACE_FRAMES * seen  # a GOP each
    share = Fraction(int(work.sum()), pieces)
    starts = [0]
    for gop in range(1, len(keys)):
        done = int(work[starts[-1] : gop].sum())
        turns = bool(seen[gop]) != bool(seen[gop - 1])
        if done >= share or (turns and LEAST_PART * done >= share):
            starts.append(gop)
    last = int(work[starts[-1] :].sum())
    same = len(starts) > 1 and bool(seen[starts[-1] :].any()) == bool(seen[starts[-2] : starts[-1]].any())
    if same and 2 * last < share:
        starts.pop()
    return _segments(index, [int(keys[gop]) for gop in starts])


def _starts(index: MediaIndex, segment_s: Fraction) -> list[int]:
    """The keyframes at which segments of at least `segment_s` seconds begin."""
    keys = np.flatnonzero(index.key)
    pts = index.pts
    least = seconds_to_ticks(segment_s, index.time_base) if segment_s > 0 else 0
    starts = [int(keys[0])]
    for key in keys[1:]:
        if pts[key] - pts[starts[-1]] >= least:
            starts.append(int(key))
    if len(starts) > 1 and least > 0 and 2 * (index.end_pts - int(pts[starts[-1]])) < least:
        starts.pop()
    return starts


def _segments(index: MediaIndex, starts: Sequence[int]) -> tuple[Segment, ...]:
    """The segments that begin at these keyframes, the first of which is 0."""
    keys, pts = np.flatnonzero(index.key), index.pts
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
