"""The outer structure of container files, read without libavformat: what size a header claims, what it promises.

ISO base media boxes (ISO/IEC 14496-12, 4.2), EBML elements (RFC 8794, RFC 9559), RIFF chunks and transport stream
packets (ISO/IEC 13818-1). Nothing here allocates by what the file says; every walk is bounded.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

MAX_ELEMENTS = 200_000

EBML = 0x1A45DFA3
SEGMENT = 0x18538067
TRACKS = 0x1654AE6B
TRACK_ENTRY = 0xAE
VIDEO = 0xE0
PIXEL_WIDTH = 0xB0
PIXEL_HEIGHT = 0xBA
COLOUR = 0x55B0
CHROMA_SITING_HORZ = 0x55B7
CHROMA_SITING_VERT = 0x55B8
CLUSTER = 0x1F43B675

Span = tuple[bytes, int, int]  # four-character code, start of the body, end as claimed
Element = tuple[int, int, int]  # EBML id, start of the body, end as claimed (-1 for unknown size)


def iso_boxes(file: BinaryIO, start: int, end: int) -> Iterator[Span]:
    """The boxes between two positions; stops at what is no box. A box's claimed end may lie beyond `end`."""
    position = start
    for _ in range(MAX_ELEMENTS):
        if position + 8 > end:
            return
        file.seek(position)
        header = file.read(16)
        if len(header) < 8:
            return
        length, kind, body = int.from_bytes(header[:4], "big"), header[4:8], position + 8
        if length == 1 and len(header) == 16:
            length, body = int.from_bytes(header[8:16], "big"), position + 16
        elif length == 0:
            length = end - position
        if length < body - position or not all(32 <= byte < 127 or byte == 0xA9 for byte in kind):
            return
        yield kind, body, position + length
        position += length


def ebml_elements(file: BinaryIO, start: int, end: int) -> Iterator[Element]:
    """The elements between two positions; stops at what is no element or at one of unknown size, after giving it."""
    position = start
    for _ in range(MAX_ELEMENTS):
        if position + 2 > end:
            return
        file.seek(position)
        header = file.read(12)
        if not header or not header[0]:
            return
        id_length = 9 - header[0].bit_length()
        if id_length > 4 or len(header) <= id_length or not header[id_length]:
            return
        identity = int.from_bytes(header[:id_length], "big")
        size_length = 9 - header[id_length].bit_length()
        body = position + id_length + size_length
        mask = (1 << 7 * size_length) - 1
        size = int.from_bytes(header[id_length : id_length + size_length], "big") & mask
        if len(header) < id_length + size_length:
            return
        if size == mask:
            yield identity, body, -1
            return
        yield identity, body, body + size
        position = body + size


def element_value(file: BinaryIO, element: Element) -> int:
    """The unsigned integer in an element of at most eight bytes."""
    _, start, end = element
    file.seek(start)
    return int.from_bytes(file.read(min(max(end - start, 0), 8)), "big")


def riff_chunks(file: BinaryIO, start: int, end: int) -> Iterator[Span]:
    """The chunks between two positions, with their claimed ends (padding not counted)."""
    position = start
    for _ in range(MAX_ELEMENTS):
        if position + 8 > end:
            return
        file.seek(position)
        header = file.read(8)
        if len(header) < 8:
            return
        length = int.from_bytes(header[4:8], "little")
        yield header[:4], position + 8, position + 8 + length
        position += 8 + length + (length & 1)


def claimed_sizes(path: Path) -> list[tuple[int, int]]:
    """(width, height) of every picture that the file's headers claim; empty where the container states none."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        if head.startswith(b"\x1a\x45\xdf\xa3"):
            return _ebml_sizes(file, size)
        if head[:4] == b"RIFF":
            return _riff_sizes(file, size)
        return _iso_sizes(file, 0, size, 0)


def _iso_sizes(file: BinaryIO, start: int, end: int, depth: int) -> list[tuple[int, int]]:
    """From track headers (14496-12, 8.3.2) and visual sample entries (12.1.3)."""
    sizes: list[tuple[int, int]] = []
    for kind, body, claimed_end in iso_boxes(file, start, end):
        stop = min(claimed_end, end)
        if kind in {b"moov", b"trak", b"mdia", b"minf", b"stbl"} and depth < 8:
            sizes += _iso_sizes(file, body, stop, depth + 1)
        elif kind == b"tkhd" and stop - body >= 84:
            file.seek(stop - 8)
            numbers = file.read(8)
            sizes.append((int.from_bytes(numbers[:4], "big") >> 16, int.from_bytes(numbers[4:8], "big") >> 16))
        elif kind == b"stsd":
            sizes += _sample_entry_sizes(file, body + 8, stop)
    return sizes


_VIDEO_ENTRY_BYTES = 78  # of a visual sample entry, before its boxes


def _sample_entry_sizes(file: BinaryIO, start: int, end: int) -> list[tuple[int, int]]:
    sizes = []
    for _, body, stop in iso_boxes(file, start, end):
        file.seek(body)
        entry = file.read(_VIDEO_ENTRY_BYTES)
        # Only a visual entry has the resolution 72 dpi or 0 and a frame count of 1 in these places.
        if stop - body >= _VIDEO_ENTRY_BYTES and entry[40:42] == b"\x00\x01":
            sizes.append((int.from_bytes(entry[24:26], "big"), int.from_bytes(entry[26:28], "big")))
    return sizes


def _ebml_sizes(file: BinaryIO, size: int) -> list[tuple[int, int]]:
    return [
        (max(values.get(PIXEL_WIDTH, 0), 0), max(values.get(PIXEL_HEIGHT, 0), 0))
        for values in matroska_video(file, size)
    ]


def matroska_video(file: BinaryIO, size: int) -> list[dict[int, int]]:
    """The integers of each track's Video element and its Colour element, by element id."""
    found = []
    for segment in ebml_elements(file, 0, size):
        if segment[0] != SEGMENT:
            continue
        for element in ebml_elements(file, segment[1], _end(segment, size)):
            if element[0] == CLUSTER:
                break
            if element[0] != TRACKS:
                continue
            for entry in ebml_elements(file, element[1], _end(element, size)):
                if entry[0] == TRACK_ENTRY:
                    found += _video_values(file, entry, size)
    return found


def _video_values(file: BinaryIO, entry: Element, size: int) -> list[dict[int, int]]:
    found = []
    for element in ebml_elements(file, entry[1], _end(entry, size)):
        if element[0] != VIDEO:
            continue
        values: dict[int, int] = {}
        for item in ebml_elements(file, element[1], _end(element, size)):
            if item[0] == COLOUR:
                for part in ebml_elements(file, item[1], _end(item, size)):
                    values[part[0]] = element_value(file, part)
            else:
                values[item[0]] = element_value(file, item)
        found.append(values)
    return found


def _end(element: Element, size: int) -> int:
    return size if element[2] < 0 else min(element[2], size)


def _riff_sizes(file: BinaryIO, size: int) -> list[tuple[int, int]]:
    """From the BITMAPINFOHEADER of each `vids` stream in `hdrl`."""
    sizes = []
    for _, body, stop in riff_chunks(file, 0, size):
        for kind, start, end in riff_chunks(file, body + 4, min(stop, size)):
            file.seek(start)
            if kind != b"LIST" or file.read(4) != b"hdrl":
                continue
            for inner, lower, upper in riff_chunks(file, start + 4, min(end, size)):
                file.seek(lower)
                if inner != b"LIST" or file.read(4) != b"strl":
                    continue
                chunks = {name: (a, b) for name, a, b in riff_chunks(file, lower + 4, min(upper, size))}
                if b"strh" in chunks and b"strf" in chunks:
                    file.seek(chunks[b"strh"][0])
                    if file.read(4) == b"vids":
                        file.seek(chunks[b"strf"][0] + 4)
                        numbers = file.read(8)
                        sizes.append(
                            (
                                int.from_bytes(numbers[:4], "little"),
                                abs(int.from_bytes(numbers[4:8], "little", signed=True)),
                            )
                        )
            return sizes
        break
    return sizes


def bytes_missing(path: Path) -> int:
    """How many bytes the file's outermost structure promises beyond its end; 0 where it is whole or says nothing."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(16)
        if head.startswith(b"\x1a\x45\xdf\xa3"):
            return _ebml_missing(file, size)
        if head[:4] == b"RIFF":
            return max((end - size for _, _, end in riff_chunks(file, 0, size)), default=0)
        packet = transport_packet(path)
        if packet:
            return -size % packet
        ends = [end for _, _, end in iso_boxes(file, 0, size)]
        return max(ends[-1] - size, 0) if ends else 0


def _ebml_missing(file: BinaryIO, size: int) -> int:
    missing = 0
    for identity, body, end in ebml_elements(file, 0, size):
        missing = max(missing, end - size)
        if identity == SEGMENT and end < 0:
            for _, _, inner in ebml_elements(file, body, size):
                missing = max(missing, inner - size)
    return missing


def transport_packet(path: Path) -> int:
    """The packet size of a transport stream file that starts on a packet: 188, 192 (with time code) or 204; else 0."""
    with path.open("rb") as file:
        head = file.read(204 * 5)
    for size, offset in ((188, 0), (192, 4), (204, 0)):
        places = range(offset, len(head), size)
        if len(places) > 3 and all(head[place] == 0x47 for place in places):
            return size
    return 0
