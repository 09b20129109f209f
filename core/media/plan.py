"""The plan: which runs of whole GOPs are rendered apart. Integer arithmetic on the index; no PyAV."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

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
    """Segments of about equal work instead of equal length, each of whole GOPs.

    `faces` int32 [N] is how many faces are seen in each frame; a face counts as much as FACE_FRAMES frames. One
    segment's share of the work is the film's over the number of segments that `plan_segments` makes. Where GOPs with
    faces begin or end, a segment does too, unless it had less than a fourth of its share by then: so whole segments
    have nothing to replace. Each such run is cut at the keyframes nearest to equal parts of its work.
    """
    if segment_s <= 0:
        return plan_segments(index, segment_s)
    keys = np.flatnonzero(index.key)
    seen = np.add.reduceat(np.asarray(faces, np.int64), keys) > 0
    work = np.add.reduceat(1 + FACE_FRAMES * np.asarray(faces, np.int64), keys)  # a GOP each
    done = np.concatenate([[0], np.cumsum(work)])  # before each GOP, and at the end
    share = Fraction(int(done[-1]), len(_starts(index, segment_s)))
    runs = [0]
    for gop in range(1, len(keys)):
        if seen[gop] != seen[gop - 1] and LEAST_PART * int(done[gop] - done[runs[-1]]) >= share:
            runs.append(gop)
    if len(runs) > 1 and LEAST_PART * int(done[-1] - done[runs[-1]]) < share:
        runs.pop()
    starts: set[int] = set()
    for first, end in pairwise([*runs, len(keys)]):
        whole = int(done[end] - done[first])
        pieces = max(1, round(whole / share))
        since = (done[first:end] - done[first]) * pieces
        starts |= {first + int(np.argmin(np.abs(since - number * whole))) for number in range(pieces)}
    return _segments(index, [int(keys[gop]) for gop in sorted(starts)])


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
