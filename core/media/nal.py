"""NAL units of H.264 and H.265 in packets, and the parameter sets of a film.

Packets hold them with a length before each (ISO/IEC 14496-15) or with start codes (Annex B). Every parameter set is
known by what it is (its NAL unit type) and its id; a film in which an id stands for one content only can be entered
at any keyframe, and needs no parameter set inside its packets.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from core.media.bits import Bits, HeaderError, unescape

H264, HEVC = "h264", "hevc"
SPS, PPS, DELIMITER, SPS_EXTENSION = 7, 8, 9, 13  # nal_unit_type, H.264 table 7-1
VPS_H, SPS_H, PPS_H, DELIMITER_H = 32, 33, 34, 35  # H.265 table 7-1
SETS = {H264: (SPS, PPS), HEVC: (VPS_H, SPS_H, PPS_H)}
DELIMITERS = {H264: DELIMITER, HEVC: DELIMITER_H}
HEAD = {H264: 1, HEVC: 2}  # bytes of the NAL unit header
LENGTH_BYTES = 4  # of the files written here
_START = b"\0\0\1"


def kind_of(codec: str, unit: bytes) -> int:
    """nal_unit_type. `HeaderError` for a unit without a header."""
    if len(unit) < HEAD[codec]:
        raise HeaderError("a NAL unit is empty")
    return unit[0] & 31 if codec == H264 else unit[0] >> 1 & 63


def units(data: bytes, length_bytes: int) -> Iterator[bytes]:
    """The NAL units of a packet; `length_bytes` 0 for start codes. `HeaderError` where lengths do not add up."""
    if not length_bytes:
        for part in data.split(_START)[1:]:
            if unit := part.rstrip(b"\0"):
                yield unit
        return
    at = 0
    while at < len(data):
        start = at + length_bytes
        at = start + int.from_bytes(data[at:start], "big")
        if at > len(data):
            raise HeaderError("the lengths of a packet's NAL units do not add up")
        if at > start:
            yield data[start:at]


def packed(parts: Iterable[bytes]) -> bytes:
    """NAL units with LENGTH_BYTES of length before each."""
    return b"".join(len(unit).to_bytes(LENGTH_BYTES, "big") + unit for unit in parts)


def length_bytes_of(codec: str, extradata: bytes) -> int:
    """Bytes of length before each NAL unit, as the extradata tells; 0 for start codes."""
    if codec == H264:
        return extradata[4] % 4 + 1 if len(extradata) > 6 and extradata[0] == 1 else 0
    # Some writers leave the record's version at 0; a start code then differs in the byte after the two zeros.
    record = len(extradata) > 22 and (extradata[0] == 1 or extradata[:2] != b"\0\0") and extradata[:3] != _START
    return extradata[21] % 4 + 1 if record else 0


def set_id(codec: str, unit: bytes) -> int:
    """The id of a parameter set."""
    kind = kind_of(codec, unit)
    body = unescape(unit[HEAD[codec] : HEAD[codec] + 128])
    if codec == H264:
        return Bits(body[3:] if kind == SPS else body).ue()
    bits = Bits(body)
    if kind == VPS_H:
        return bits.u(4)
    if kind == SPS_H:
        bits.skip(4)
        layers = bits.u(3)
        bits.skip(1)
        skip_profile_tier_level(bits, layers)
    return bits.ue()


def skip_profile_tier_level(bits: Bits, layers: int) -> None:
    """profile_tier_level(1, `layers`) of H.265, 7.3.3."""
    bits.skip(96)
    present = [(bits.flag(), bits.flag()) for _ in range(layers)]
    if layers:
        bits.skip(2 * (8 - layers))
    for profile, level in present:
        bits.skip(88 * profile + 8 * level)


@dataclass
class ParameterSets:
    """Parameter sets of one codec: the NAL unit by (nal_unit_type, id)."""

    codec: str
    units: dict[tuple[int, int], bytes] = field(default_factory=dict)

    def add(self, unit: bytes) -> bool:
        """Take a parameter set; False where another content has its id. Other NAL units are `HeaderError`s."""
        unit = unit.rstrip(b"\0")
        kind = kind_of(self.codec, unit)
        if kind not in SETS[self.codec]:
            raise HeaderError(f"NAL unit type {kind} is no parameter set")
        key = (kind, set_id(self.codec, unit))
        return self.units.setdefault(key, unit) == unit

    def of(self, kind: int) -> list[bytes]:
        """The sets of one NAL unit type in order of ids."""
        return [unit for key, unit in sorted(self.units.items()) if key[0] == kind]

    def ids(self, kind: int) -> set[int]:
        return {number for key, number in self.units if key == kind}

    def copy(self) -> ParameterSets:
        return ParameterSets(self.codec, dict(self.units))


def sets_of(codec: str, extradata: bytes) -> ParameterSets:
    """The parameter sets in a stream's extradata: avcC, hvcC or Annex B. `HeaderError` where it is none of them, or
    where one id stands for two contents."""
    found = ParameterSets(codec)
    for unit in _extradata_units(codec, extradata):
        kind = kind_of(codec, unit)
        if kind == SPS_EXTENSION and codec == H264:
            raise HeaderError("the film has auxiliary pictures")
        if kind in SETS[codec] and not found.add(unit):
            raise HeaderError("one parameter set id stands for two contents")
    return found


def _extradata_units(codec: str, extradata: bytes) -> Iterator[bytes]:
    if not length_bytes_of(codec, extradata):
        yield from units(extradata, 0)
        return
    # 14496-15, 5.3.3.1 and 8.3.3.1: in avcC one count for each of SPS and PPS, in hvcC arrays of a type and a count.
    at = 5 if codec == H264 else 23
    arrays = 2 if codec == H264 else extradata[22]
    for number in range(arrays):
        if codec == H264:
            count = _byte(extradata, at) & (0x1F if number == 0 else 0xFF)
            at += 1
        else:
            count = int.from_bytes(extradata[at + 1 : at + 3], "big")
            at += 3
        for _ in range(count):
            size = int.from_bytes(extradata[at : at + 2], "big")
            unit = extradata[at + 2 : at + 2 + size]
            if len(unit) < max(size, 1):
                raise HeaderError("the decoder configuration record ends early")
            yield unit
            at += 2 + size


def _byte(data: bytes, at: int) -> int:
    if at >= len(data):
        raise HeaderError("the decoder configuration record ends early")
    return data[at]
