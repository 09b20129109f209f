"""Decoder configuration records (ISO/IEC 14496-15) that cover several encoders' parameter sets.

What a record says beside the sets must hold for all of them: the highest profile and level, and only those
constraints that every set promises.
"""

from __future__ import annotations

import struct
from functools import reduce

from core.media import h264, hevc
from core.media.bits import HeaderError
from core.media.nal import H264, LENGTH_BYTES, PPS, PPS_H, SPS, SPS_H, VPS_H, ParameterSets
from core.media.shown import Shown

# Profiles of which each holds those before it (H.264 A.2, H.265 A.3); Baseline streams without slice groups are Main.
_RISING = {True: (66, 77, 100, 110, 122, 244), False: (1, 2)}


def configuration(sets: ParameterSets) -> bytes:
    """avcC or hvcC. `HeaderError` where no one record fits, or a set is missing."""
    return _avcc(sets) if sets.codec == H264 else _hvcc(sets)


def pictures(sets: ParameterSets) -> list[Shown]:
    """What each sequence parameter set says about the picture."""
    if sets.codec == H264:
        return [h264.parse_sps(unit).shown for unit in sets.of(SPS)]
    return [hevc.parse_sps(unit).shown for unit in sets.of(SPS_H)]


def _profile(codec_is_h264: bool, profiles: set[int]) -> int:
    if len(profiles) == 1:
        return profiles.pop()
    order = _RISING[codec_is_h264]
    if not profiles <= set(order):
        raise HeaderError("the source's profile and the encoder's have nothing in common")
    return max(profiles, key=order.index)


def _one(values: set[tuple[int, tuple[int, int]]]) -> tuple[int, tuple[int, int]]:
    if len(values) != 1:
        raise HeaderError("chroma or depth change within the film")
    return values.pop()


def _avcc(sets: ParameterSets) -> bytes:
    """AVCDecoderConfigurationRecord (5.3.3.1)."""
    parsed = [h264.parse_sps(unit) for unit in sets.of(SPS)]
    pictures_ = sets.of(PPS)
    if not parsed or not pictures_ or len(parsed) > 31 or len(pictures_) > 255:
        raise HeaderError("the film's parameter sets do not fit its header")
    chroma, depth = _one({(sps.shown.chroma, sps.shown.depth) for sps in parsed})
    profile = _profile(True, {sps.profile for sps in parsed})
    constraints = reduce(lambda a, b: a & b, (sps.constraints for sps in parsed))
    level = max(sps.level for sps in parsed)
    record = bytes([1, profile, constraints, level, 0xFC | LENGTH_BYTES - 1, 0xE0 | len(parsed)])
    record += b"".join(_sized(unit) for unit in sets.of(SPS)) + bytes([len(pictures_)])
    record += b"".join(_sized(unit) for unit in pictures_)
    if profile not in (66, 77, 88):
        record += bytes([0xFC | chroma % 4, 0xF8 | depth[0] - 8, 0xF8 | depth[1] - 8, 0])
    return record


def _hvcc(sets: ParameterSets) -> bytes:
    """HEVCDecoderConfigurationRecord (8.3.3.1); every array is complete, so the sample entry may be hvc1."""
    parsed = [hevc.parse_sps(unit) for unit in sets.of(SPS_H)]
    if not parsed or not all(sets.of(kind) for kind in (VPS_H, PPS_H)):
        raise HeaderError("the film's parameter sets do not fit its header")
    chroma, depth = _one({(sps.shown.chroma, sps.shown.depth) for sps in parsed})
    if len({sps.profile[0] >> 6 for sps in parsed}) > 1:
        raise HeaderError("the source's profile and the encoder's have nothing in common")
    profile = _profile(False, {sps.profile[0] & 31 for sps in parsed})
    tier = max(sps.profile[0] & 32 for sps in parsed)
    # Both the compatible profiles and the constraints are promises: what all of them make stays.
    promised = reduce(lambda a, b: a & b, (int.from_bytes(sps.profile[1:11], "big") for sps in parsed))
    promised |= 1 << (79 - profile)
    level = max(sps.profile[11] for sps in parsed)
    layers = {sps.layers + 1 for sps in parsed}
    nested = all(sps.nested for sps in parsed)
    temporal = (layers.pop() if len(layers) == 1 else 0) << 3 | nested << 2 | (LENGTH_BYTES - 1)
    record = bytes([1, parsed[0].profile[0] & 0xC0 | tier | profile]) + promised.to_bytes(10, "big")
    record += bytes([level, 0xF0, 0, 0xFC, 0xFC | chroma % 4, 0xF8 | depth[0] - 8, 0xF8 | depth[1] - 8, 0, 0])
    record += bytes([temporal, 3])
    for kind in (VPS_H, SPS_H, PPS_H):
        found = sets.of(kind)
        record += struct.pack(">BH", 0x80 | kind, len(found)) + b"".join(_sized(unit) for unit in found)
    return record


def _sized(unit: bytes) -> bytes:
    return struct.pack(">H", len(unit)) + unit
