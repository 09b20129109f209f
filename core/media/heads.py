"""Headers of pictures that stand alone or begin anew: VP9, AV1 and ProRes; what must be alike in a film of two
encoders' pictures."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from core.media.bits import Bits, HeaderError
from core.media.shown import UNSTATED, Shown

# VP9 color_space to H.273 primaries, transfer and matrix as FFmpeg's decoder tells them: the matrix alone.
_VP9_MATRIX = {0: UNSTATED, 1: 5, 2: 1, 3: 6, 4: 7, 5: 9, 7: 0}
_SEQUENCE, _FRAME_HEADER, _FRAME = 1, 3, 6  # obu_type
KEY_FRAME = 0


def vp9_key(packet: bytes) -> Shown:
    """The uncompressed header (VP9 bitstream, 6.2) of a packet's first frame, a key frame that is shown."""
    bits = Bits(packet[:32])
    if bits.u(2) != 2:
        raise HeaderError("not a VP9 frame")
    profile = bits.u(1) | bits.u(1) << 1
    if profile == 3:
        bits.skip(1)
    if bits.flag() or bits.u(1) != KEY_FRAME or not bits.flag():
        raise HeaderError("a segment does not start with a key frame that is shown")
    bits.skip(1)
    if bits.u(24) != 0x498342:
        raise HeaderError("not a VP9 key frame")
    depth = (12 if bits.flag() else 10) if profile >= 2 else 8
    space = bits.u(3)
    full, subsampling = True, 0
    if space != 7:
        full = bits.flag()
        subsampling = 3
        if profile & 1:
            subsampling = bits.u(2)
            bits.skip(1)
    elif profile & 1:
        bits.skip(1)
    size = (bits.u(16) + 1, bits.u(16) + 1)
    shown = (bits.u(16) + 1, bits.u(16) + 1) if bits.flag() else size
    # A size to be shown at that is another than the coded one is an aspect of its own.
    aspect = Fraction(shown[0] * size[1], shown[1] * size[0])
    matrix = _VP9_MATRIX.get(space, UNSTATED)
    colour = None if matrix == UNSTATED else (UNSTATED, UNSTATED, matrix)
    return Shown(10 * profile + subsampling, (depth, depth), size, False, aspect, colour, full)


def prores_frame(packet: bytes) -> Shown:
    """The frame header (SMPTE RDD 36, 5.1.1) of a packet, with the alpha's bits in `depth`."""
    head = packet[8:28]
    if len(head) < 20 or packet[4:8] != b"icpf":
        raise HeaderError("not a ProRes frame")
    colour = (head[14], head[15], head[16])
    return Shown(
        chroma=head[12] >> 2,  # and which field comes first
        depth=(head[17] & 15, 0),
        size=(int.from_bytes(head[8:10], "big"), int.from_bytes(head[10:12], "big")),
        fields=False,
        colour=None if set(colour) <= {0, UNSTATED} else colour,
    )


def obus(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(obu_type, payload) of the OBUs of a temporal unit or of a configuration (AV1 bitstream, 5.3)."""
    at = 0
    while at < len(data):
        head = data[at]
        at += 1 + (head >> 2 & 1)
        if not head >> 1 & 1:
            yield head >> 3 & 15, data[at:]
            return
        size = shift = 0
        while True:
            if at >= len(data) or shift > 49:
                raise HeaderError("an OBU ends early")
            size |= (data[at] & 0x7F) << shift
            shift += 7
            at += 1
            if not data[at - 1] & 0x80:
                break
        if at + size > len(data):
            raise HeaderError("an OBU ends early")
        yield head >> 3 & 15, data[at : at + size]
        at += size


def sequences(data: bytes) -> list[bytes]:
    """The sequence headers among the OBUs in `data`."""
    return [payload for kind, payload in obus(data) if kind == _SEQUENCE]


def av1_configured(extradata: bytes) -> list[bytes]:
    """The sequence headers in av1C (AV1 in ISOBMFF, 2.3.3) or bare extradata."""
    return sequences(extradata[4:] if extradata[:1] == b"\x81" else extradata)


def starts_with_key(data: bytes) -> bool:
    """Whether the first frame of an AV1 temporal unit is a key frame that is shown (5.9.2), which renews all state."""
    for kind, payload in obus(data):
        if kind in (_FRAME_HEADER, _FRAME):
            bits = Bits(payload[:1])
            return not bits.flag() and bits.u(2) == KEY_FRAME and bits.flag()
    return False
