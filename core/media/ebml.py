"""The display size in a finished Matroska or WebM file (RFC 9559, 5.1.4.1.28): what carries the sample aspect ratio
where the codec does not.

The muxer takes the ratio from a field that PyAV does not expose, so the two elements are put in afterwards. The file
is written with padding before its first cluster; the elements between Tracks and the padding move into it, and the
seek head is corrected, so that no cluster and no cue moves.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from io import BufferedRandom
from pathlib import Path
from typing import NamedTuple

from core.errors import PlanError
from core.media.extras import CROPS

PADDING_OPTIONS = {"metadata_header_padding": "1024", "write_crc32": "0"}
HEAD_BYTES = 64 << 20  # tracks, chapters, attachments and tags lie within this

SEGMENT, SEEK_HEAD, SEEK, SEEK_POSITION = 0x18538067, 0x114D9B74, 0x4DBB, 0x53AC
TRACKS, TRACK_ENTRY, TRACK_TYPE, VIDEO = 0x1654AE6B, 0xAE, 0x83, 0xE0
DISPLAY_WIDTH, DISPLAY_HEIGHT, DISPLAY_UNIT = 0x54B0, 0x54BA, 0x54B2  # the unit is pixels where none is stated
VOID, CLUSTER = 0xEC, 0x1F43B675


class Element(NamedTuple):
    """An element's identifier, and where it starts, its payload starts, and it ends, in bytes from the start."""

    id: int
    at: int
    body: int
    end: int


def _number(data: bytes, at: int, *, keep_marker: bool) -> tuple[int, int]:
    """(value, length) of the variable-size integer at `at`."""
    length = 9 - data[at].bit_length()
    value = int.from_bytes(data[at : at + length], "big")
    return (value if keep_marker else value & ((1 << 7 * length) - 1)), length


def children(data: bytes, start: int, end: int) -> list[Element]:
    """The elements in [start, end), as far as they lie within `data` or begin in it."""
    found = []
    at = start
    while at < min(end, len(data) - 12):
        name, name_length = _number(data, at, keep_marker=True)
        size, size_length = _number(data, at + name_length, keep_marker=False)
        body = at + name_length + size_length
        found.append(Element(name, at, body, body + size))
        if name == CLUSTER:
            break
        at = body + size
    return found


def _pack(name: int, body: bytes) -> bytes:
    size = (len(body) | 1 << 56).to_bytes(8, "big")
    return name.to_bytes((name.bit_length() + 7) // 8, "big") + size + body


def _unsigned(data: bytes, element: Element) -> int:
    return int.from_bytes(data[element.body : element.end], "big")


def display_size(width: int, height: int, ratio: Fraction) -> tuple[int, int]:
    """Whole numbers in the exact shape of the picture as shown: one side stays as coded where that is possible."""
    shown = Fraction(width) * ratio
    if shown.denominator == 1:
        return int(shown), height
    tall = Fraction(height) / ratio
    if tall.denominator == 1:
        return width, int(tall)
    return width * ratio.numerator, height * ratio.denominator


def display_fields(size: tuple[int, int]) -> dict[int, bytes]:
    """The elements that state a display size, in pixels."""
    return {DISPLAY_WIDTH: size[0].to_bytes(4, "big"), DISPLAY_HEIGHT: size[1].to_bytes(4, "big")}


def write_video_fields(path: Path, video_track: int, fields: Mapping[int, bytes]) -> None:
    """Put elements (payloads by id) into the Video element of the `video_track`-th video track (from 0) of the file,
    written under PADDING_OPTIONS; a crop or a display size replaces whatever the file says of the display size."""
    with path.open("r+b") as file:
        data = file.read(HEAD_BYTES)
        segment = next(e for e in children(data, 0, len(data)) if e.id == SEGMENT)
        level = children(data, segment.body, segment.end)
        try:
            tracks = next(e for e in level if e.id == TRACKS)
            padding = [e for e in level if e.id == VOID and e.at >= tracks.end][-1]
        except (StopIteration, IndexError) as error:
            raise PlanError("no room to describe the picture in the finished film", where=str(path)) from error
        new_tracks = _with_fields(data, tracks, video_track, fields)
        moved = data[tracks.end : padding.at]
        delta = len(new_tracks) - (tracks.end - tracks.at)
        rest = padding.end - padding.at - delta
        if rest < 16:
            raise PlanError("too little room to describe the picture in the finished film", where=str(path))
        file.seek(tracks.at)
        file.write(new_tracks + moved + _pack(VOID, bytes(rest - 9)))
        for head in (e for e in level if e.id == SEEK_HEAD):
            _move_entries(file, data, head, (tracks.end - segment.body, padding.at - segment.body), delta)


def _with_fields(data: bytes, tracks: Element, video_track: int, fields: Mapping[int, bytes]) -> bytes:
    """The Tracks element with `fields` in one of its video tracks."""
    body, seen = b"", 0
    for entry in children(data, tracks.body, tracks.end):
        parts = children(data, entry.body, entry.end)
        is_video = entry.id == TRACK_ENTRY and any(p.id == TRACK_TYPE and _unsigned(data, p) == 1 for p in parts)
        if is_video and seen == video_track:
            body += _pack(TRACK_ENTRY, b"".join(_described(data, part, fields) for part in parts))
        else:
            body += data[entry.at : entry.end]
        seen += is_video
    return _pack(TRACKS, body)


def _described(data: bytes, part: Element, fields: Mapping[int, bytes]) -> bytes:
    if part.id != VIDEO:
        return data[part.at : part.end]
    replaced = set(fields)
    if replaced & {DISPLAY_WIDTH, *CROPS}:
        replaced |= {DISPLAY_WIDTH, DISPLAY_HEIGHT, DISPLAY_UNIT}
    present = children(data, part.body, part.end)
    kept = b"".join(data[field.at : field.end] for field in present if field.id not in replaced)
    return _pack(VIDEO, kept + b"".join(_pack(name, value) for name, value in fields.items()))


def _move_entries(file: BufferedRandom, data: bytes, head: Element, moved: tuple[int, int], delta: int) -> None:
    """Add `delta` to the seek positions that lie within `moved`."""
    for entry in children(data, head.body, head.end):
        if entry.id != SEEK:
            continue
        for part in children(data, entry.body, entry.end):
            position = _unsigned(data, part)
            if part.id == SEEK_POSITION and moved[0] <= position < moved[1]:
                file.seek(part.body)
                file.write((position + delta).to_bytes(part.end - part.body, "big"))
