"""What a container says of how the film's picture is to be shown, beyond what libavformat hands out here: 3D layout,
360-degree projection, and the part of the picture that is shown.

It is taken as the bytes that stand in the file, put into the finished film as they are, and compared as they are.
ISO base media: boxes of the sample entry (st3d and sv3d of "Spherical Video V2", vexu and hfov of "Apple HEVC Stereo
Video", clap of ISO/IEC 14496-12, 12.1.4) and the uuid box of "Spherical Video V1". Matroska: elements of Video
(RFC 9559, 5.1.4.1.28).
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, NamedTuple

from core.media.boxes import SEGMENT, TRACK_ENTRY, TRACKS, VIDEO, ebml_elements, iso_boxes

SAMPLE_BOXES = (b"st3d", b"sv3d", b"vexu", b"hfov", b"clap")
SECOND_LAYER = "lhvC"  # HEVC with more layers: the other eye's picture (ISO/IEC 14496-15, 9.6.3)
SPHERICAL_V1 = bytes.fromhex("ffcc8263f8554a938814587a02521fdd")
DOLBY_VISION = (b"dvcC", b"dvvC", b"dvwC")
CROPS = {0x54AA: "PixelCropBottom", 0x54BB: "PixelCropTop", 0x54CC: "PixelCropLeft", 0x54DD: "PixelCropRight"}
DISPLAY = {0x54B0: "DisplayWidth", 0x54BA: "DisplayHeight", 0x54B2: "DisplayUnit"}  # a crop changes what they mean
VIDEO_ELEMENTS = {0x53B8: "StereoMode", 0x7670: "Projection", **CROPS, **DISPLAY}
ELEMENT_IDS = {name: number for number, name in VIDEO_ELEMENTS.items()}
STEREO = frozenset(("st3d", "vexu", "uuid", "StereoMode"))  # what tells a 3D layout
LONGEST = 1 << 20  # bytes of a box or element that is read

_TRACK_TYPE, _ADDITION_MAPPING, _ADDITION_TYPE = 0x83, 0x41E4, 0x41E7
_ENTRY_HEADER = 78  # bytes of a visual sample entry before its boxes (14496-12, 12.1.3)


class Extras(NamedTuple):
    """Boxes (with their headers) or elements (without) in hex, by name; and whether Dolby Vision is announced."""

    parts: dict[str, str]
    dolby_vision: bool


def read_extras(path: Path, format_name: str, track_id: int, video_track: int) -> Extras:
    """Of the track with `track_id` (ISO base media) or the `video_track`-th video track from 0 (Matroska)."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if format_name.startswith("mov"):
            return _iso_extras(file, size, track_id)
        if format_name.startswith("matroska"):
            return _matroska_extras(file, size, video_track)
    return Extras({}, False)


def carriers(format_name: str) -> tuple[str, ...]:
    """The containers into which the extras of a film in this format can be put."""
    return ("mp4", "mov") if format_name.startswith("mov") else ("matroska", "webm")


def _iso_extras(file: BinaryIO, size: int, track_id: int) -> Extras:
    for track in _inside(file, (0, size), b"moov", b"trak"):
        inner = list(iso_boxes(file, *track))
        header = next((body for kind, body, _ in inner if kind == b"tkhd"), None)
        if header is None or _track_id(file, header) != track_id:
            continue
        parts = {}
        for kind, body, end in inner:
            if kind == b"uuid" and _read(file, body, body + 16) == SPHERICAL_V1:
                parts["uuid"] = _box(file, kind, body, end)
        kinds = set()
        for entry in _inside(file, track, b"mdia", b"minf", b"stbl", b"stsd"):
            first = next(iter(iso_boxes(file, entry[0] + 8, entry[1])), None)
            for kind, body, end in iso_boxes(file, first[1] + _ENTRY_HEADER, first[2]) if first else ():
                kinds.add(kind)
                if kind in SAMPLE_BOXES and not (kind == b"clap" and _is_whole(file, first[1] if first else 0, body)):
                    parts[kind.decode()] = _box(file, kind, body, end)
        if SECOND_LAYER.encode() in kinds:
            parts[SECOND_LAYER] = ""
        return Extras(parts, bool(kinds & set(DOLBY_VISION)))
    return Extras({}, False)


def _inside(file: BinaryIO, span: tuple[int, int], *kinds: bytes) -> list[tuple[int, int]]:
    """The spans of all boxes on a path of kinds below `span`."""
    spans = [span]
    for wanted in kinds:
        spans = [
            (body, min(end, stop))
            for start, stop in spans
            for kind, body, end in iso_boxes(file, start, stop)
            if kind == wanted
        ]
    return spans


def _track_id(file: BinaryIO, body: int) -> int:
    wide = _read(file, body, body + 1) == b"\x01"
    at = body + (20 if wide else 12)
    return int.from_bytes(_read(file, at, at + 4), "big")


def _is_whole(file: BinaryIO, entry: int, body: int) -> bool:
    """Whether a clean aperture is the whole picture."""
    width, height = (int.from_bytes(_read(file, at, at + 2), "big") for at in (entry + 24, entry + 26))
    numbers = [int.from_bytes(_read(file, at, at + 4), "big", signed=True) for at in range(body, body + 32, 4)]
    if not all(numbers[1::2]):
        return False
    wide, tall, right, down = (Fraction(*numbers[i : i + 2]) for i in (0, 2, 4, 6))
    return wide == width and tall == height and not right and not down


def _read(file: BinaryIO, start: int, end: int) -> bytes:
    file.seek(start)
    return file.read(max(min(end - start, LONGEST), 0))


def _box(file: BinaryIO, kind: bytes, body: int, end: int) -> str:
    content = _read(file, body, end)
    return ((8 + len(content)).to_bytes(4, "big") + kind + content).hex()


def _matroska_extras(file: BinaryIO, size: int, video_track: int) -> Extras:
    seen = 0
    for _, entry, end in _elements(file, (0, size), SEGMENT, TRACKS, TRACK_ENTRY):
        inner = list(ebml_elements(file, entry, end))
        if not any(name == _TRACK_TYPE and _read(file, at, stop) == b"\x01" for name, at, stop in inner):
            continue
        if seen == video_track:
            kinds = {
                _read(file, at, stop)
                for _, at, stop in _elements(file, (entry, end), _ADDITION_MAPPING, _ADDITION_TYPE)
            }
            return Extras(_video_parts(file, (entry, end)), bool(kinds & set(DOLBY_VISION)))
        seen += 1
    return Extras({}, False)


def _elements(file: BinaryIO, span: tuple[int, int], *names: int) -> list[tuple[int, int, int]]:
    found = [(0, *span)]
    for wanted in names:
        found = [
            (name, body, stop if end < 0 else min(end, stop))
            for _, start, stop in found
            for name, body, end in ebml_elements(file, start, stop)
            if name == wanted
        ]
    return found


def _video_parts(file: BinaryIO, entry: tuple[int, int]) -> dict[str, str]:
    parts = {
        VIDEO_ELEMENTS[name]: _read(file, at, end).hex()
        for _, start, stop in _elements(file, entry, VIDEO)
        for name, at, end in ebml_elements(file, start, stop)
        if name in VIDEO_ELEMENTS
    }
    numbers = {name: value for name, value in parts.items() if name != "Projection"}
    nothing = {name for name, value in numbers.items() if not int(value or "0", 16)}
    if not (set(CROPS.values()) & (set(parts) - nothing)):
        nothing |= set(DISPLAY.values())
    return {name: value for name, value in parts.items() if name not in nothing}
