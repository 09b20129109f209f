"""H.264 with start codes (ITU-T H.264, Annex B), as AVI holds it; the segments hold lengths (ISO/IEC 14496-15).

Other muxers that want start codes put them in themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from av.bitstream import BitStreamFilterContext
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from core.errors import PlanError

START_CODE = b"\0\0\0\1"


def with_start_codes(file: InputContainer, video: VideoStream) -> Iterator[Packet[VideoStream]]:
    """The packets of `video` with start codes, parameter sets before each IDR picture."""
    start_codes = BitStreamFilterContext("h264_mp4toannexb", video)
    for packet in file.demux(video):
        yield from cast("list[Packet[VideoStream]]", start_codes.filter(packet if packet.size else None))


def parameter_sets(avcc: bytes) -> bytes:
    """The SPS and PPS of an AVCDecoderConfigurationRecord (ISO/IEC 14496-15, 5.3.3.1) with start codes.

    A reader that finds the record itself in an AVI takes the packets to hold lengths too and sees no keyframes.
    `PlanError` when it is no such record.
    """
    try:
        if avcc[0] != 1:
            raise ValueError("version")
        found, at = [], 5
        for mask in (0x1F, 0xFF):
            count = avcc[at] & mask
            at += 1
            for _ in range(count):
                size = int.from_bytes(avcc[at : at + 2], "big")
                found.append(avcc[at + 2 : at + 2 + size])
                at += 2 + size
        if at > len(avcc) or not all(found):
            raise ValueError("size")
    except (IndexError, ValueError) as error:
        raise PlanError("a segment's H.264 parameter sets are not as in mp4") from error
    return b"".join(START_CODE + unit for unit in found)
