"""Are the copied segments of a film what they are in the source? Their packets all, their frames around the joints."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import av.error
import numpy as np

from core.errors import FarmError
from core.media.bits import HeaderError
from core.media.compare import MOST_RUNS, frame_hash, spread
from core.media.decode import decode_segment
from core.media.nal import DELIMITERS, SETS, kind_of, units
from core.media.scan import Track, segment_packets, track_of
from core.records import Check, MediaIndex, Segment

NEAR = 3  # frames that are looked at on each side of a joint


def copy_checks(
    source: Path, output: Path, before: MediaIndex, after: MediaIndex, copies: Sequence[Segment]
) -> list[Check]:
    """The checks on `copies`, segments of the film at `source` that were copied to `output`; none where there are none.

    Of H.264 and H.265 the NAL units are compared, without delimiters and parameter sets, which a container may keep
    elsewhere; of other codecs the packets' bytes.
    """
    if not copies or after.frames != before.frames:
        return []
    frames = sum(segment.frames for segment in copies)
    other = _different_packets(source, output, before, after, copies)
    shown = _different_frames(source, output, before, after, copies)
    return [
        Check("copied packets", f"{frames} as in the source", other or f"{frames} equal", not other),
        Check("copied frames", "as in the source around each joint", shown or "equal", not shown),
    ]


def _different_packets(
    source: Path, output: Path, before: MediaIndex, after: MediaIndex, copies: Sequence[Segment]
) -> str:
    """Where the first packet differs, or ""."""
    try:
        tracks = (track_of(source), track_of(output))
        for segment in copies:
            left, right = (
                _digests(path, index, segment, track)
                for path, index, track in ((source, before, tracks[0]), (output, after, tracks[1]))
            )
            for (ordinal, one), (other, two) in zip(left, right, strict=True):
                if (ordinal, one) != (other, two):
                    return f"the packet of frame {ordinal} is another"
    except (HeaderError, FarmError, ValueError, av.error.FFmpegError) as error:
        return getattr(error, "what", "") or str(error)
    return ""


def _digests(path: Path, index: MediaIndex, segment: Segment, track: Track) -> Iterator[tuple[int, bytes]]:
    """(ordinal, SHA-256) of the segment's packets in decode order."""
    for ordinal, packet in segment_packets(path, index, segment):
        data = bytes(packet)
        if track.codec in SETS:
            apart = (*SETS[track.codec], DELIMITERS[track.codec])
            found = hashlib.sha256()
            for unit in units(data, track.length_bytes):
                if kind_of(track.codec, unit) not in apart:
                    body = unit.rstrip(b"\0")
                    found.update(len(body).to_bytes(8, "big") + body)
            yield ordinal, found.digest()
        else:
            yield ordinal, hashlib.sha256(data).digest()


def _different_frames(
    source: Path, output: Path, before: MediaIndex, after: MediaIndex, copies: Sequence[Segment]
) -> str:
    """Where the first frame differs, or "". At most MOST_RUNS runs of copies are decoded, evenly spread.

    A run's first frames are decoded from the keyframe before it, so that a decoder crosses the joint; its last frames
    from their own; and the frames after it both across the joint and from their own keyframe.
    """
    runs = runs_of(copies)
    keys = np.flatnonzero(after.key)
    try:
        for number in spread(range(len(runs)), MOST_RUNS):
            first, end = runs[number]
            last = max(int(keys[np.searchsorted(keys, end) - 1]), first)
            entry = int(keys[max(int(np.searchsorted(keys, first)) - 1, 0)])
            near = min(first + NEAR, end)
            beyond = min(end + NEAR, after.frames)
            pairs = [
                ((source, before, first, first, near), (output, after, entry, first, near)),
                ((source, before, last, last, end), (output, after, last, last, end)),
            ]
            if beyond > end:
                pairs.append(((output, after, last, end, beyond), (output, after, end, end, beyond)))
            for left, right in pairs:
                if place := _first_difference(_hashes(*left), _hashes(*right)):
                    return place
    except FarmError as error:
        return error.what
    return ""


def _first_difference(left: dict[int, str], right: dict[int, str]) -> str:
    return next((f"frame {ordinal} is another" for ordinal in left if left[ordinal] != right.get(ordinal)), "")


def _hashes(path: Path, index: MediaIndex, start: int, first: int, end: int) -> dict[int, str]:
    """Hashes of the frames `[first, end)`, decoded from the keyframe `start` on (or one earlier in an open GOP)."""
    seek = int(start)
    place = Segment(0, start, end, seek, *(int(index.pts[at]) for at in (start, end - 1, seek)))
    frames = decode_segment(path, index, place)
    return {f.ordinal: f.damage or frame_hash(f.frame) for f in frames if f.ordinal >= first}


def runs_of(copies: Sequence[Segment]) -> list[tuple[int, int]]:
    """`[first, end)` of each run of copies that follow each other."""
    ordered = sorted(copies, key=lambda segment: segment.first)
    starts = [ordered[0].first, *(b.first for a, b in pairwise(ordered) if a.end != b.first)]
    ends = [*(a.end for a, b in pairwise(ordered) if a.end != b.first), ordered[-1].end]
    return list(zip(starts, ends, strict=True))
