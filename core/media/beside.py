"""What a film's packets hold beside the picture that a decoder gives, read without decoding.

Two kinds are lost in silence otherwise: the alpha plane of VP8 and VP9, which WebM keeps in block additions with the
number 1 and which FFmpeg's own decoders leave out, and the dynamic metadata of HDR10+, which may begin anywhere.
"""

from __future__ import annotations

from collections.abc import Callable

from av.packet import Packet
from av.stream import Stream

ALPHA, HDR10_PLUS = "alpha", "HDR10+"

_ALPHA_CODECS = ("vp8", "vp9")
_ADDITION, _ALPHA_ADDITION = "matroska_block_additional", 1  # payload: the number in 8 bytes, then the addition
# ITU-T T.35: United States, provider 0x003C, oriented code 1, application 4 (SMPTE ST 2094-40, annex A). It stands in
# an SEI message or a metadata OBU before the picture, so the start of a packet is enough.
_ST2094_40 = bytes.fromhex("b5003c000104")
_T35_CODECS = ("h264", "hevc", "av1")
_START_BYTES = 4096


def beside(stream: Stream, codec: str) -> Callable[[Packet[Stream]], str]:
    """A function that names what a packet of `stream` holds beside its picture, "" where that is nothing."""
    if codec in _ALPHA_CODECS and stream.metadata.get("alpha_mode") == "1":
        return _alpha
    if codec in _T35_CODECS:
        return _dynamic
    return _carried


def _alpha(packet: Packet[Stream]) -> str:
    for item in packet.iter_sidedata():
        if item.data_type == _ADDITION and int.from_bytes(bytes(item)[:8], "big") == _ALPHA_ADDITION:
            return ALPHA
    return ""


def _dynamic(packet: Packet[Stream]) -> str:
    return HDR10_PLUS if _ST2094_40 in bytes(memoryview(packet)[:_START_BYTES]) else _carried(packet)


def _carried(packet: Packet[Stream]) -> str:
    return HDR10_PLUS if packet.has_sidedata("dynamic_hdr10_plus") else ""
