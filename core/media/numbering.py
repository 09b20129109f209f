"""From packets to frames: which frames there are, when each is shown, which packet holds it.

By demuxing alone where every shown packet has its own pts; otherwise by one sequential decode in which every
packet is tagged with its rank, so that each frame names the packet it came from.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import av
import av.error
import numpy as np
from av.packet import Packet
from av.stream import Stream

from core.media.guard import Limits, film_stream, open_film
from core.media.probe import Probe
from core.records import BoolArray, Damage, Int64Array

NO_PTS = -(1 << 63)  # AV_NOPTS_VALUE


@dataclass(frozen=True)
class PacketTable:
    """The film's packets in decode order, [P]: pts, dts (NO_PTS where absent), duration (0 unknown) and flags.

    `hidden` packets hold a frame that is never shown. `counts` are the packets of every stream; `error` is what
    stopped the reading, "" at a clean end; `lost` are (rank of the next packet, bytes) of stretches between packets
    that could not be read; `places` are byte positions [P]; `seen` names what
    packets hold beside pictures (core.media.beside).
    """

    pts: Int64Array
    dts: Int64Array
    duration: Int64Array
    key: BoolArray
    discard: BoolArray
    corrupt: BoolArray
    hidden: BoolArray
    counts: dict[int, int]
    error: str
    places: Int64Array
    lost: tuple[tuple[int, int], ...] = ()
    seen: frozenset[str] = frozenset()


@dataclass(frozen=True)
class FrameTable:
    """Frames in presentation order, [N]; `duration` is the packet's own, 0 where unknown."""

    pts: Int64Array
    duration: Int64Array
    key: BoolArray
    packet: Int64Array
    damage: tuple[Damage, ...]
    notes: tuple[str, ...]

    def with_note(self, note: str) -> FrameTable:
        return replace(self, notes=(note, *self.notes))


def _vp8_hidden(packet: Packet[Stream]) -> bool:
    """RFC 6386, 9.1: bit 4 of the first byte is show_frame."""
    return not memoryview(packet)[0] & 0x10


def _vp9_hidden(packet: Packet[Stream]) -> bool:
    """VP9 bitstream 6.2 and Annex B: show_frame of a packet that is one frame; a superframe shows its last."""
    data = memoryview(packet)
    if data[-1] & 0xE0 == 0xC0:
        return False
    bits = data[0]
    profile = (bits >> 5 & 1) | (bits >> 4 & 1) << 1
    shift = 2 if profile == 3 else 3  # profile 3 has a reserved bit
    show_existing = bits >> shift & 1
    show = bits >> (shift - 2) & 1
    return bits >> 6 == 2 and not show_existing and not show


HIDDEN_FRAMES: dict[str, Callable[[Packet[Stream]], bool]] = {"vp8": _vp8_hidden, "vp9": _vp9_hidden}

# Codecs in which two packets may be the fields of one frame, and one in which a packet may say "nothing new".
_FIELD_CODECS = frozenset({"h264", "mpeg2video", "mpeg1video", "vc1"})
_SKIPPING_CODECS = frozenset({"mpeg4", "msmpeg4v3", "msmpeg4v2", "h263"})


def why_decode(packets: PacketTable, first: Probe, codec: str) -> str | None:
    """Why the frames cannot be known from the packets alone, or None when they can."""
    pts = packets.pts[~packets.discard & ~packets.hidden]
    absent = int(np.count_nonzero(pts == NO_PTS))
    if absent:
        return f"{absent} of {len(pts)} packets have no pts"
    distinct = np.unique(pts)
    if len(distinct) < len(pts):
        return f"{len(pts) - len(distinct)} of {len(pts)} packets share a pts with another"
    lost = _not_shown(packets, first) if first.clean else 0
    if codec in _SKIPPING_CODECS and lost:
        return "some packets hold no frame of their own"
    if codec in _FIELD_CODECS and first.interlaced:
        steps = np.diff(distinct)
        halves = bool(len(steps)) and 5 * int(steps.min()) < 3 * int(np.median(steps))
        if halves or 3 * lost > len(first.shown):
            return "some frames are stored as two fields in packets of their own"
    return None


def _not_shown(packets: PacketTable, first: Probe) -> int:
    """How many of the first packets gave no frame although later ones did."""
    shown = {*first.shown, *packets.pts[packets.hidden].tolist()}
    start, horizon = _first_key_pts(packets), first.horizon
    return sum(
        pts not in shown and pts >= start and (horizon is None or pts < horizon)
        for pts in first.sent
        if pts is not None
    )


def _first_key_pts(packets: PacketTable) -> int:
    keys = np.flatnonzero(packets.key)
    return int(packets.pts[keys[0]]) if len(keys) else int(packets.pts[0])


def by_demux(packets: PacketTable, first: Probe) -> FrameTable:
    """Frames of a film whose shown packets each have a pts of their own."""
    rank = np.arange(len(packets.pts))
    shown = ~packets.discard & ~packets.hidden
    notes: list[str] = []
    keys = np.flatnonzero(packets.key)
    head = int(keys[0]) if len(keys) else 0
    if head:
        notes.append(f"{head} packets before the first keyframe hold nothing that can be shown; left out")
        shown &= rank >= head
    came_out = set(first.shown) - first.broken
    start = int(packets.pts[head])
    dropped = [
        pts
        for pts in first.sent
        if pts is not None and pts < start and pts not in came_out and (first.horizon is None or pts < first.horizon)
    ]
    if dropped and not packets.discard[head]:
        lost = np.isin(packets.pts, np.array(dropped, dtype=np.int64)) & shown
        if lost.any():
            notes.append(f"{int(lost.sum())} frames before the first keyframe cannot be decoded; left out")
            shown &= ~lost
    ranks = rank[shown]
    order = np.argsort(packets.pts[shown], kind="stable")
    ranks = ranks[order]
    damage = [
        Damage(frame=int(frame), pts=int(packets.pts[ranks[frame]]), reason="the container marks its packet as damaged")
        for frame in np.flatnonzero(packets.corrupt[ranks])
    ]
    return _table(packets, ranks, packets.pts[ranks], damage, notes)


def _table(
    packets: PacketTable, ranks: Int64Array, pts: Int64Array, damage: list[Damage], notes: list[str]
) -> FrameTable:
    key = packets.key[ranks].copy()
    if len(key):
        key[0] = True  # decoding of the first frame starts at the start of the file
    return FrameTable(pts, packets.duration[ranks], key, ranks.astype(np.int64), tuple(damage), tuple(notes))


def by_decode(path: Path, packets: PacketTable, limits: Limits, *, trust_pts: bool, nominal: int) -> FrameTable:
    """Frames of a film as one sequential decode gives them; `nominal` is the usual frame duration in ticks.

    `trust_pts` is False for containers that store no pts (AVI), where libavformat guesses them.
    """
    tags, failed, corrupt = _decode_all(path, limits)
    damage_at: dict[int, str] = {}
    order = list(tags)
    position = {tag: place for place, tag in enumerate(order)}
    for tag, reason in failed.items():
        if tag not in position and not packets.discard[tag] and not packets.hidden[tag]:
            damage_at[tag] = reason
    for tag in sorted(damage_at):
        # A frame that failed is shown where its packet stands among the frames stored before it.
        place = next((i for i, other in enumerate(order) if other > tag), len(order))
        order.insert(place, tag)
    for tag in corrupt:
        damage_at.setdefault(tag, "the decoder marks it as damaged")
    ranks = np.array(order, dtype=np.int64)
    if len(ranks) == 0:
        return _table(packets, ranks, ranks, [], [])
    pts, note = assign_pts(packets.pts[ranks], packets.dts[ranks], trust_pts=trust_pts, nominal=nominal)
    damage = [
        Damage(frame=frame, pts=int(pts[frame]), reason=damage_at[int(rank)])
        for frame, rank in enumerate(ranks)
        if int(rank) in damage_at
    ]
    return _table(packets, ranks, pts, damage, [note] if note else [])


def _decode_all(path: Path, limits: Limits) -> tuple[list[int], dict[int, str], list[int]]:
    """(packet rank of each frame in output order, error by packet rank, ranks of frames marked corrupt)."""
    tags: list[int] = []
    seen: set[int] = set()
    failed: dict[int, str] = {}
    corrupt: list[int] = []
    with open_film(path, limits) as container:
        stream = film_stream(container)
        context = stream.codec_context
        context.thread_type = "SLICE"  # frame threads would report errors against a later packet
        context.thread_count = 0
        context.options = {"max_pixels": str(limits.max_pixels)}
        rank = -1
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
            except av.error.FFmpegError:
                packet = None
            if packet is None:
                break
            if packet.size:
                rank += 1
                packet.pts, packet.dts = rank, None
            try:
                frames = packet.decode()
            except av.error.EOFError:
                break
            except av.error.FFmpegError as error:
                failed[rank] = f"the decoder failed: {error.strerror}"
                continue
            for frame in frames:
                if frame.pts is None or frame.pts in seen:
                    continue
                seen.add(frame.pts)
                tags.append(frame.pts)
                if frame.is_corrupt:
                    corrupt.append(frame.pts)
    return tags, failed, corrupt


def assign_pts(pts: Int64Array, dts: Int64Array, *, trust_pts: bool, nominal: int) -> tuple[Int64Array, str]:
    """Strictly increasing pts [N] for frames in output order, and a note on what was not in the file ("" if nothing).

    Frames whose packets have increasing pts keep them. Without trusted pts, the packets' dts in ascending order, late
    by the reorder depth, are the display times, as in AVI, which counts frames. Single frames without a usable pts
    are spaced evenly between their neighbours, or by `nominal` at the ends.
    """
    count = len(pts)
    usable = (pts != NO_PTS) & trust_pts
    if usable.all() and bool(np.all(np.diff(pts) > 0)):
        return pts, ""
    if 2 * int(usable.sum()) < count and bool(np.all(dts != NO_PTS)):
        times = np.sort(dts)
        if bool(np.all(np.diff(times) > 0)):
            # A frame cannot be shown before it is decoded: the k-th is shown when the packet `depth` later is due.
            order = np.argsort(np.argsort(dts))
            depth = int(np.max(order - np.arange(count), initial=0))
            tail = times[-1] + max(nominal, 1) * np.arange(1, depth + 1, dtype=np.int64)
            shifted = np.concatenate([times[depth:], tail])
            return shifted, "" if not trust_pts else "display times are the packets' decoding times in order"
    anchors: list[int] = []
    for place in np.flatnonzero(usable):
        room = int(place) - anchors[-1] if anchors else 0
        if not anchors or pts[place] - pts[anchors[-1]] >= room:
            anchors.append(int(place))
    step = max(nominal, 1)
    if not anchors:
        return np.arange(count, dtype=np.int64) * step, "the file states no display times; frames are spaced evenly"
    result = np.empty(count, dtype=np.int64)
    result[: anchors[0] + 1] = pts[anchors[0]] - step * np.arange(anchors[0], -1, -1)
    for left, right in pairwise(anchors):
        gap = int(pts[right] - pts[left])
        steps = np.arange(right - left + 1, dtype=np.int64)
        result[left : right + 1] = pts[left] + gap * steps // (right - left)
    tail = np.arange(count - anchors[-1], dtype=np.int64)
    result[anchors[-1] :] = pts[anchors[-1]] + step * tail
    guessed = count - len(anchors)
    return result, f"{guessed} frames state no usable display time; they are spaced between their neighbours"


def longest_rise(values: Int64Array, *, slack: int) -> list[int]:
    """Positions of a longest subsequence of `values` in which none falls more than `slack` below its predecessor.

    Patience sorting on `value + slack` per step would let slack add up, so values are first rounded to `slack`.
    """
    rounded = values // max(slack, 1)
    ends: list[int] = []  # the least last value of a rise of each length
    ends_at: list[int] = []
    parent = [-1] * len(rounded)
    for place, value in enumerate(rounded.tolist()):
        length = bisect_right(ends, value)
        parent[place] = ends_at[length - 1] if length else -1
        if length == len(ends):
            ends.append(value)
            ends_at.append(place)
        else:
            ends[length] = value
            ends_at[length] = place
    rise: list[int] = []
    place = ends_at[-1] if ends_at else -1
    while place >= 0:
        rise.append(place)
        place = parent[place]
    return rise[::-1]
