"""Checksums of coded pictures that libavcodec does not report."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from av.packet import Packet
from av.video.stream import VideoStream

from core.media.guard import film_stream, open_film

_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_CRC_TRAILER = 8  # slice_size (3), error_status (1), slice_crc_parity (4)


def ffv1_whole(packet: Packet[VideoStream]) -> bool:
    """Whether every slice of an FFV1 version 3 packet with checksums passes its own (RFC 9043, 4.9).

    libavcodec conceals slices that fail and says so only in its log.
    """
    return all(_slices(packet))


def has_checksums(path: Path) -> bool:
    """Whether an FFV1 film has slice checksums: one of its first slices passes. Its range coded header says so too."""
    with open_film(path) as container:
        packets = islice(container.demux(film_stream(container)), 64)
        return any(any(_slices(packet)) for packet in packets if packet.size)


def _slices(packet: Packet[VideoStream]) -> Iterator[bool]:
    """Whether each slice passes, from the last one on; False where the slices' sizes do not add up."""
    data = memoryview(packet)
    end = len(data)
    while end > 0:
        size = int.from_bytes(data[max(end - _CRC_TRAILER, 0) : max(end - 5, 0)], "big") + _CRC_TRAILER
        if size > end:
            yield False
            return
        yield _crc_residue(bytes(data[end - size : end])) == 0
        end -= size


def _crc_residue(data: bytes) -> int:
    """CRC-32 with polynomial 0x04C11DB7, most significant bit first, starting at 0; in reflected form."""
    # zlib's CRC is the same polynomial with bits reversed, and inverted before and after.
    return ~zlib.crc32(data.translate(_REVERSED), 0xFFFFFFFF) & 0xFFFFFFFF
