"""Two films side by side: tables of the copied packets, attachments, and hashes of decoded frames."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import av
import av.error
import numpy as np
from av.packet import Packet
from av.stream import AttachmentStream, Discard, Stream
from av.video.frame import VideoFrame

from core.errors import FarmError
from core.media.decode import decode_segment
from core.media.guard import open_film
from core.media.plan import plan_segments
from core.media.planes import plane_views, to_working, working_format
from core.records import MediaIndex, Segment, StreamInfo

_NONE = -(1 << 62)
MOST_KEYS, MOST_RUNS = 300, 24
_PAYLOAD_SIDE = ("skip_samples", "matroska_block_additional", "webvtt_identifier", "webvtt_settings", "palette")


@dataclass
class PacketTable:
    """One copied stream's packets in file order, [P] each: pts and duration in `time_base` (ticks; _NONE absent),
    and the first 8 bytes of the SHA-256 of the payload and of the side data that changes what is heard or shown."""

    info: StreamInfo
    time_base: Fraction
    pts: array[int] = field(default_factory=lambda: array("q"))
    duration: array[int] = field(default_factory=lambda: array("q"))
    digest: array[int] = field(default_factory=lambda: array("Q"))
    side: array[int] = field(default_factory=lambda: array("Q"))
    payload: hashlib._Hash = field(default_factory=hashlib.sha256)


def packet_tables(path: Path, streams: list[StreamInfo], *, bare: bool = False) -> dict[int, PacketTable]:
    """Tables of the named streams, by stream index; one demux pass. `bare` leaves the container's framing of H.264,
    H.265 and AAC out of account, for two films in different containers. A demuxer that fails midway ends the pass: the
    other file must then end at the same place."""
    with open_film(path) as container:
        tables = {
            info.index: PacketTable(info, container.streams[info.index].time_base or Fraction(0)) for info in streams
        }
        for stream in container.streams:
            if stream.index not in tables:
                stream.discard = Discard.all
        if tables:
            for packet in whole_packets(container.demux([container.streams[i] for i in tables])):
                _add(tables[packet.stream_index], packet, bare)
    return tables


def whole_packets(packets: Iterator[Packet[Stream]]) -> Iterator[Packet[Stream]]:
    """Packets with content, up to the end or the first error of a damaged file."""
    while True:
        try:
            packet = next(packets)
        except (StopIteration, av.error.FFmpegError):
            return
        if packet.size or packet.pts is not None or packet.dts is not None:
            yield packet


def _add(table: PacketTable, packet: Packet[Stream], bare: bool) -> None:
    content = _essence(table.info.codec, bytes(packet)) if bare else bytes(packet)
    table.payload.update(content)
    side = b"".join(d.data_type.encode() + bytes(d) for d in packet.iter_sidedata() if d.data_type in _PAYLOAD_SIDE)
    table.digest.append(_short(content))
    table.side.append(_short(side))
    table.pts.append(packet.pts if packet.pts is not None else _NONE)
    table.duration.append(packet.duration or 0)


def _short(data: bytes) -> int:
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "little")


def _essence(codec: str, data: bytes) -> bytes:
    """The payload apart from its framing: AAC without the ADTS header (ISO/IEC 13818-7 6.2.1), H.264 and H.265 as NAL
    units without start codes, lengths, delimiters and the parameter sets that mp4 keeps elsewhere."""
    if codec == "aac" and len(data) > 7 and data[0] == 0xFF and data[1] & 0xF6 == 0xF0:
        return data[7 if data[1] & 1 else 9 :]
    if codec in _NAL_APART:
        shift, mask = (0, 31) if codec == "h264" else (1, 63)
        units = (unit for unit in _nal_units(data) if unit)
        return b"|".join(unit for unit in units if unit[0] >> shift & mask not in _NAL_APART[codec])
    return data


_NAL_APART = {"h264": (7, 8, 9), "hevc": (32, 33, 34, 35)}  # parameter sets and access unit delimiters


def _nal_units(data: bytes) -> list[bytes]:
    """The NAL units of an access unit: length-prefixed where the lengths add up to the whole, else Annex B."""
    units, at = [], 0
    while at + 4 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        units.append(data[at + 4 : at + 4 + size].rstrip(b"\0"))
        at += 4 + size
    return units if at == len(data) else [unit.rstrip(b"\0") for unit in data.split(b"\0\0\1")]


def attachments(path: Path) -> list[tuple[str, str, str]]:
    """(name, MIME type, SHA-256) of each attachment, in order."""
    with open_film(path) as container:
        return [
            (stream.name or "", stream.mimetype or "", hashlib.sha256(stream.data).hexdigest())
            for stream in container.streams
            if isinstance(stream, AttachmentStream)
        ]


def frame_hash(frame: VideoFrame) -> str:
    """SHA-256 over the frame's planes in its working format, rows without padding."""
    digest = hashlib.sha256()
    for plane in plane_views(to_working(frame, working_format(frame.format.name))):
        digest.update(np.ascontiguousarray(plane).data)
    return digest.hexdigest()


def frame_hashes(path: Path, index: MediaIndex) -> list[str]:
    """The hash of every frame of the film in presentation order, by one sequential decode; for tests."""
    found: dict[int, str] = {}
    wanted = set(index.pts.tolist())
    in_order: list[str] = []
    with open_film(path) as container:
        stream = container.streams[index.video.stream_index]
        for frame in container.decode(stream):
            assert isinstance(frame, VideoFrame)
            value = frame_hash(frame)
            in_order.append(value)
            if frame.pts is not None and frame.pts in wanted:
                found[frame.pts] = value
    if index.indexed_by == "decode":
        return in_order
    return [found.get(int(pts), "missing") for pts in index.pts]


def undecodable_places(path: Path, index: MediaIndex, joints: Sequence[int] = ()) -> list[str]:
    """Where decoding does not give the frames that the table names, whole: one line a place, empty when all is well.

    Tried are the first three frames from each keyframe and everything after the last one, and at the joints (ordinals
    of the segments' first frames, which must be keyframes) the run of frames before each as well. Of long films at
    most MOST_KEYS keyframes and MOST_RUNS runs are tried, evenly spread, the first and last among them.
    """
    plan = plan_segments(index, Fraction(0))
    by_first = {segment.first: number for number, segment in enumerate(plan)}
    faults = [f"frame {at}: a segment begins without a keyframe" for at in joints if at not in by_first]
    inner = [by_first[at] for at in joints if by_first.get(at, 0) > 0]
    places = [_shorten(index, plan[n]) for n in spread(range(len(plan) - 1), MOST_KEYS)]
    places += [plan[n - 1] for n in spread(inner, MOST_RUNS)]
    for place in (*places, plan[-1]):
        try:
            broken = next(
                (f"frame {f.ordinal}: {f.damage}" for f in decode_segment(path, index, place) if f.damage), None
            )
        except FarmError as error:
            broken = f"frame {place.first}: {error.what}"
        if broken:
            faults.append(broken)
    return faults


def spread(items: Sequence[int], most: int) -> list[int]:
    """At most `most` of `items`, evenly spread."""
    if len(items) <= most:
        return list(items)
    return [items[i] for i in np.linspace(0, len(items) - 1, most).round().astype(int).tolist()]


def _shorten(index: MediaIndex, segment: Segment) -> Segment:
    """The first three frames of `segment`."""
    end = min(segment.first + 3, segment.end)
    return replace(segment, end=end, pts_end=int(index.pts[end]))
