"""Boxes of ISO base media files that PyAV gives no way to set: HDR10 metadata and free tags.

The muxer writes `mdcv` and `clli` only from side data of a stream template, and PyAV builds templates from files
alone; so a one-packet file is made in memory, the two boxes are put into its sample entry, and it is opened as the
template. Tags that the muxer has no iTunes name for go into `moov/meta` with the handler `mdta` (QuickTime File
Format, "Metadata item keys atom"), the form the muxer itself uses under `use_metadata_tags`; with that flag it would
leave out the iTunes tags and the cover.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
from av.container import InputContainer

from core.errors import PlanError
from core.media.extras import SAMPLE_BOXES
from core.records import Mastering

_VISUAL_ENTRY = 78  # bytes of a visual sample entry before its boxes (14496-12, 12.1.3)
_PATH = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")


def _box(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(payload), kind) + payload


def _find(data: bytes, kind: bytes, start: int, end: int) -> int:
    """Offset of the first box of `kind` in [start, end)."""
    at = start
    while at + 8 <= end:
        size, name = struct.unpack_from(">I4s", data, at)
        if size == 1:
            size = struct.unpack_from(">Q", data, at + 8)[0]
        if name == kind:
            return at
        if size < 8:
            break
        at += size
    raise PlanError(f"no {kind.decode()} box in a segment file")


def _u16(value: Fraction) -> int:
    return int(value * 50000 + Fraction(1, 2))


def mastering_boxes(mastering: Mastering) -> bytes:
    """`mdcv` (ISO/IEC 14496-12 12.1.5, primaries in the order green, blue, red) and `clli`."""
    boxes = b""
    points = (mastering.green, mastering.blue, mastering.red, mastering.white)
    if all(points) and mastering.max_luminance is not None and mastering.min_luminance is not None:
        numbers = [_u16(c) for p in points if p is not None for c in p]
        high, low = (int(v * 10000 + Fraction(1, 2)) for v in (mastering.max_luminance, mastering.min_luminance))
        boxes += _box(b"mdcv", struct.pack(">8H2I", *numbers, high, low))
    if mastering.max_content_light is not None or mastering.max_frame_average_light is not None:
        light = (mastering.max_content_light or 0, mastering.max_frame_average_light or 0)
        boxes += _box(b"clli", struct.pack(">2H", *light))
    return boxes


def insert_in_sample_entry(data: bytes, boxes: bytes) -> bytes:
    """`data` (a file whose moov is its last box) with `boxes` appended to the first track's sample entry."""
    out = bytearray(data)
    start, end, parents = 0, len(data), []
    for kind in _PATH:
        at = _find(data, kind, start, end)
        parents.append(at)
        start, end = at + 8, at + struct.unpack_from(">I", data, at)[0]
    entry = start + 8  # stsd: version, flags and entry count
    parents.append(entry)
    place = entry + struct.unpack_from(">I", data, entry)[0]
    for at in parents:
        struct.pack_into(">I", out, at, struct.unpack_from(">I", out, at)[0] + len(boxes))
    out[place:place] = boxes
    return bytes(out)


def mastered_template(segment: InputContainer, mastering: Mastering) -> InputContainer:
    """An open in-memory file whose video stream is the segment's, with the mastering data as stream side data. The
    segment's file is read from its start."""
    buffer = io.BytesIO()
    stream = segment.streams.video[0]
    kind = "mov" if stream.codec_context.name == "prores" else "mp4"
    packet = next(p for p in segment.demux(stream) if p.size)
    with av.open(buffer, "w", format=kind, container_options={"strict": "experimental"}) as out:
        copy = out.add_stream_from_template(stream, opaque=True)
        packet.stream = copy
        packet.pts = packet.dts = 0
        out.mux_one(packet)
    return av.open(io.BytesIO(insert_in_sample_entry(buffer.getvalue(), mastering_boxes(mastering))), "r")


def tags_box(tags: Mapping[str, str]) -> bytes:
    """`meta` with handler `mdta`: keys, and one UTF-8 value for each."""
    keys, values = b"", b""
    for number, (key, value) in enumerate(tags.items(), 1):
        keys += _box(b"mdta", key.encode())
        data = _box(b"data", struct.pack(">II", 1, 0) + value.encode())
        values += struct.pack(">II", 8 + len(data), number) + data
    handler = _box(b"hdlr", struct.pack(">II4s3I", 0, 0, b"mdta", 0, 0, 0) + b"\0")
    key_box = _box(b"keys", struct.pack(">II", 0, len(tags)) + keys)
    return _box(b"meta", struct.pack(">I", 0) + handler + key_box + _box(b"ilst", values))


def write_tags(path: Path, wanted: Mapping[str, str]) -> None:
    """Append to `moov` those of `wanted` that do not read back from the finished file."""
    with av.open(str(path)) as film:
        present = {key.lower(): value for key, value in film.metadata.items()}
    missing = {key: value for key, value in wanted.items() if value and present.get(key.lower()) != value}
    if not missing:
        return
    box = tags_box(missing)
    with path.open("r+b") as file:
        at, size = _last_moov(file)
        file.seek(0, io.SEEK_END)
        file.write(box)
        file.seek(at)
        file.write(struct.pack(">I", size + len(box)))


def write_sample_boxes(path: Path, track: int, entry: bytes, beside: bytes) -> None:
    """Put the boxes `entry` into the first sample entry of the `track`-th track from 0, in place of those of the same
    kinds that are there, and the boxes `beside` at that track's end."""
    with path.open("r+b") as file:
        at, size = _last_moov(file)
        file.seek(at)
        moov = file.read(size)
        start = 16 if moov[:4] == b"\0\0\0\1" else 8
        tracks = [span for span in _children(moov, start, size) if span.kind == b"trak"]
        new = _with_boxes(moov, tracks[track], [b"mdia", b"minf", b"stbl", b"stsd"], entry, beside)
        body = moov[start : tracks[track].at] + new + moov[tracks[track].end :]
        file.seek(at)
        file.write(_box(b"moov", body))
        file.truncate()


class _Span(NamedTuple):
    kind: bytes
    at: int
    end: int


def _children(data: bytes, start: int, end: int) -> list[_Span]:
    found = []
    while start + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, start)
        if size < 8:
            break  # QuickTime ends lists with four zero bytes
        found.append(_Span(kind, start, start + size))
        start += size
    return found


def _with_boxes(data: bytes, span: _Span, path: list[bytes], entry: bytes, beside: bytes = b"") -> bytes:
    """The box at `span` with `entry` in the first sample entry on `path` below it and `beside` at its own end."""
    if span.kind == b"stsd":
        first, *rest = _children(data, span.at + 16, span.end)
        inner = _children(data, first.at + 8 + _VISUAL_ENTRY, first.end)
        kept = b"".join(data[part.at : part.end] for part in inner if part.kind not in SAMPLE_BOXES)
        tail = data[inner[-1].end if inner else first.at + 8 + _VISUAL_ENTRY : first.end]
        head = data[first.at + 8 : first.at + 8 + _VISUAL_ENTRY]
        others = b"".join(data[other.at : other.end] for other in rest)
        return _box(b"stsd", data[span.at + 8 : span.at + 16] + _box(first.kind, head + kept + entry + tail) + others)
    body = b""
    for part in _children(data, span.at + 8, span.end):
        on_path = bool(path) and part.kind == path[0]
        body += _with_boxes(data, part, path[1:], entry) if on_path else data[part.at : part.end]
    return _box(span.kind, body + beside)


def _last_moov(file: io.BufferedRandom) -> tuple[int, int]:
    """(offset, size) of moov, which must be the file's last box."""
    end = file.seek(0, io.SEEK_END)
    at = 0
    while at + 8 <= end:
        file.seek(at)
        head = file.read(16)
        size, kind = struct.unpack_from(">I4s", head)
        if size == 1:
            size = struct.unpack_from(">Q", head, 8)[0]
        if kind == b"moov" and at + size == end:
            return at, size
        if size < 8:
            break
        at += size
    raise PlanError("moov is not the last box of the finished film", where=file.name)
