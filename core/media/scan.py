"""The packets of one segment as the source holds them, looked at without decoding: can they stand on their own?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import av.error
from av.packet import Packet
from av.stream import Discard
from av.video.stream import VideoStream

from core.errors import FarmError
from core.media import h264, heads, hevc
from core.media.bits import HeaderError
from core.media.guard import film_stream, open_film
from core.media.nal import (
    H264,
    HEVC,
    PPS,
    PPS_H,
    SETS,
    SPS,
    ParameterSets,
    kind_of,
    length_bytes_of,
    sets_of,
    units,
)
from core.media.seek import packets_from
from core.records import MediaIndex, Segment

_STRAY_H264 = {2, 3, 4, 14, 15, 19, 20, 21}  # partitions, scalable and multi-view coding, auxiliary pictures
_IDR_HEVC = (hevc.IDR_W_RADL, hevc.IDR_N_LP)


@dataclass(frozen=True)
class Track:
    """How the source's film track holds its packets: FFmpeg's name of the codec, extradata, its parameter sets where
    the codec has such, and the bytes of length before each NAL unit (0 for start codes)."""

    codec: str
    extradata: bytes
    sets: ParameterSets | None
    length_bytes: int
    tag: str


@dataclass
class Scan:
    """What a segment's packets are: `reason` why they cannot be copied, "" where nothing speaks against it.

    `clean`: no decoder state from before is needed, whatever came before. `inband`: parameter sets lie among the
    packets; `sets` are all that are in force.
    """

    reason: str = ""
    clean: bool = True
    inband: bool = False
    sets: ParameterSets | None = None
    heads: list[object] = field(default_factory=list)


def track_of(path: Path) -> Track:
    """The film track of `path`. `HeaderError` where its extradata make no sense."""
    with open_film(path) as container:
        stream = film_stream(container)
        codec = stream.codec_context.codec.canonical_name
        extradata = bytes(stream.codec_context.extradata or b"")
        try:
            tag = stream.codec_context.codec_tag
        except UnicodeDecodeError:
            tag = ""
    if codec not in SETS:
        return Track(codec, extradata, None, 0, tag)
    return Track(codec, extradata, sets_of(codec, extradata), length_bytes_of(codec, extradata), tag)


def segment_packets(path: Path, index: MediaIndex, segment: Segment) -> Iterator[tuple[int, Packet[VideoStream]]]:
    """(ordinal, packet) of the segment's frames in decode order; `InputError` or `PlanError` where the film does not
    hold them. The packets' times are the source's."""
    ranks = {int(rank): segment.first + place for place, rank in enumerate(index.packet[segment.first : segment.end])}
    last = max(ranks)
    with open_film(path) as container:
        stream = film_stream(container)
        for other in container.streams:
            if other.index != stream.index:
                other.discard = Discard.all
        rank = (int(index.packet[segment.first]) if segment.first else 0) - 1
        for packet in packets_from(path, container, stream, index, segment.first, last=last):
            if not packet.size:
                continue
            rank += 1
            if rank in ranks:
                yield ranks[rank], packet
            if rank >= last:
                return


def scan(path: Path, index: MediaIndex, segment: Segment, track: Track) -> Scan:
    """Look at every packet of `segment` of the film at `path`."""
    found = Scan(sets=track.sets.copy() if track.sets else None)
    count = 0
    try:
        for _, packet in segment_packets(path, index, segment):
            if packet.is_corrupt or packet.is_discard:
                return Scan("the container marks one of its packets")
            _look(found, track, bytes(packet), first=count == 0, key=packet.is_keyframe)
            count += 1
            if found.reason:
                return found
    except (HeaderError, FarmError, av.error.FFmpegError) as error:
        return Scan(getattr(error, "what", "") or str(error))
    if count != segment.frames:
        return Scan("not all of its packets are there")
    return found


def _look(found: Scan, track: Track, data: bytes, *, first: bool, key: bool) -> None:
    if track.codec == H264:
        _look_h264(found, track, data, first=first)
    elif track.codec == HEVC:
        _look_hevc(found, track, data, first=first)
    elif track.codec == "vp9":
        if first or key:
            found.heads.append(heads.vp9_key(data))
    elif track.codec == "prores":
        found.heads.append(heads.prores_frame(data))
    elif track.codec == "av1":
        found.heads.extend(heads.sequences(data))
        if first and not heads.starts_with_key(data):
            found.reason = "it does not start with a key frame that is shown"


def _take_set(found: Scan, unit: bytes) -> None:
    assert found.sets is not None
    found.inband = True
    if not found.sets.add(unit):
        found.reason = "its parameter sets change within the film"


def _look_h264(found: Scan, track: Track, data: bytes, *, first: bool) -> None:
    assert found.sets is not None
    begun = False
    for unit in units(data, track.length_bytes):
        kind = kind_of(H264, unit)
        if kind in SETS[H264]:
            _take_set(found, unit)
        elif kind in _STRAY_H264:
            found.reason = f"its packets hold NAL units of type {kind}"
        elif kind in (h264.SLICE, h264.IDR):
            pps = found.sets.units.get((PPS, h264.slice_pps(unit)))
            if pps is None:
                found.reason = "a slice names a parameter set that is not there"
            elif first and not begun:
                begun = True
                found.clean = kind == h264.IDR and not _drops_earlier(found.sets, unit, pps)


def _drops_earlier(sets: ParameterSets, unit: bytes, pps: bytes) -> bool:
    picture = h264.parse_pps(pps)
    sps = sets.units.get((SPS, picture.sps))
    if sps is None:
        raise HeaderError("a slice names a parameter set that is not there")
    return h264.drops_earlier(unit, h264.parse_sps(sps), picture)


def _look_hevc(found: Scan, track: Track, data: bytes, *, first: bool) -> None:
    assert found.sets is not None
    begun = False
    for unit in units(data, track.length_bytes):
        kind = kind_of(HEVC, unit)
        if (unit[0] & 1) << 5 | unit[1] >> 3:
            found.reason = "its packets hold pictures of a second layer"
        elif kind in SETS[HEVC]:
            _take_set(found, unit)
        elif kind in (hevc.RPU, hevc.ENHANCEMENT):
            found.reason = "its packets hold Dolby Vision data, which is not carried"
        elif kind <= hevc.LAST_VCL:
            drops, pps = hevc.slice_start(unit)
            if (PPS_H, pps) not in found.sets.units:
                found.reason = "a slice names a parameter set that is not there"
            elif first and not begun:
                begun = True
                found.clean = kind in _IDR_HEVC and not drops
