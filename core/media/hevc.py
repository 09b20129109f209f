"""H.265 headers (ITU-T H.265, 7.3): what decides whether pictures of two encoders can follow each other, and where a
slice's header ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core.media.bits import Bits, HeaderError, unescape
from core.media.h264 import picture_part
from core.media.nal import skip_profile_tier_level
from core.media.shown import Shown

IDR_W_RADL, IDR_N_LP = 19, 20  # nal_unit_type
FIRST_IRAP, LAST_IRAP, LAST_VCL = 16, 23, 31
LEAST_BLOCK_BITS, MOST_BLOCK_BITS = 4, 6  # of a coding tree block's side (A.4.1)
LONGEST_SET = 32  # pictures of a reference picture set; 16 is the most that a level allows
RPU, ENHANCEMENT = 62, 63  # what Dolby Vision stores in unspecified NAL unit types

Deltas = tuple[tuple[int, bool], ...]  # (delta of the picture order count, used by the current picture)


@dataclass(frozen=True)
class Sps:
    """A sequence parameter set."""

    profile: bytes  # general_profile_space to general_level_idc: 12 bytes
    layers: int  # sps_max_sub_layers_minus1
    nested: bool
    id: int
    shown: Shown
    block: int
    apart: bool  # separate_colour_plane_flag
    poc_bits: int
    reordered: int
    sao: bool
    short_sets: tuple[Deltas, ...]
    long_present: bool
    long_count: int
    motion: bool  # sps_temporal_mvp_enabled_flag

    @property
    def address_bits(self) -> int:
        """Bits of slice_segment_address: Ceil(Log2(PicSizeInCtbsY))."""
        across, down = (-(-side // self.block) for side in self.shown.coded)
        return (across * down - 1).bit_length()


@dataclass(frozen=True)
class Pps:
    """A picture parameter set, as far as slice headers depend on it."""

    id: int
    sps: int
    dependent: bool
    output: bool
    extra_bits: int
    cabac_init: bool
    references: tuple[int, int]
    chroma_offsets: bool
    weighted: tuple[bool, bool]  # P, B
    entry_points: bool
    across_slices: bool
    deblock_override: bool
    deblock_off: bool
    lists: bool
    extension: bool
    offset_lists: bool


def parse_sps(unit: bytes) -> Sps:
    """seq_parameter_set_rbsp (7.3.2.2) with the VUI (E.2.1) up to the chroma location."""
    body = unescape(unit[2:])
    bits = Bits(body)
    bits.skip(4)
    layers, nested = bits.u(3), bits.flag()
    skip_profile_tier_level(bits, layers)
    number = bits.ue()
    chroma = bits.ue()
    apart = chroma == 3 and bits.flag()
    coded = (bits.ue(), bits.ue())
    width, height = coded
    if bits.flag():
        left, right, top, bottom = bits.ue(), bits.ue(), bits.ue(), bits.ue()
        across, down = (2 if chroma in (1, 2) else 1), (2 if chroma == 1 else 1)
        width, height = width - across * (left + right), height - down * (top + bottom)
    depth = (8 + bits.ue(), 8 + bits.ue())
    poc_bits = 4 + bits.ue()
    held = reordered = 0
    for _ in range(layers + 1 if bits.flag() else 1):
        held = bits.ue() + 1
        reordered = bits.ue()
        bits.ue()
    block = _block(bits)
    for _ in range(4):
        bits.ue()
    if bits.flag() and bits.flag():
        skip_scaling_lists(bits)
    bits.skip(1)
    sao = bits.flag()
    if bits.flag():
        bits.skip(8)
        bits.ue()
        bits.ue()
        bits.skip(1)
    count = bits.ue()
    if count > 64:
        raise HeaderError("too many reference picture sets")
    sets: list[Deltas] = []
    for _ in range(count):
        sets.append(short_set(bits, sets))
    long_present, long_count = bits.flag(), 0
    if long_present:
        long_count = bits.ue()
        bits.skip(long_count * (poc_bits + 1))
    motion = bits.flag()
    bits.skip(1)
    shown = Shown(4 if apart else chroma, depth, (width, height), fields=False, coded=coded, held=held)
    if bits.flag():
        shown = picture_part(bits, shown)
        bits.skip(1)
        if bits.flag():
            raise HeaderError("its pictures are single fields")
    return Sps(
        profile=body[1:13],
        layers=layers,
        nested=nested,
        id=number,
        shown=shown,
        block=block,
        apart=apart,
        poc_bits=poc_bits,
        reordered=reordered,
        sao=sao,
        short_sets=tuple(sets),
        long_present=long_present,
        long_count=long_count,
        motion=motion,
    )


def _block(bits: Bits) -> int:
    """The side of a coding tree block."""
    exponent = 3 + bits.ue() + bits.ue()
    if not LEAST_BLOCK_BITS <= exponent <= MOST_BLOCK_BITS:
        raise HeaderError("its blocks have a size that H.265 does not know")
    return 1 << exponent


def skip_scaling_lists(bits: Bits) -> None:
    """scaling_list_data (7.3.4)."""
    for size in range(4):
        for _ in range(2 if size == 3 else 6):
            if not bits.flag():
                bits.ue()
                continue
            for _ in range(min(64, 1 << (4 + 2 * size)) + (size > 1)):
                bits.se()


def short_set(bits: Bits, sets: Sequence[Deltas], *, in_slice: bool = False) -> Deltas:
    """st_ref_pic_set(len(`sets`)) (7.3.7), with the derivation of 7.4.8 where it is told from another set."""
    place = len(sets)
    if place and bits.flag():
        back = bits.ue() + 1 if in_slice else 1
        change = (1 - 2 * bits.u(1)) * (bits.ue() + 1)
        if back > place:
            raise HeaderError("a reference picture set is told from one that is not there")
        based = (*sets[place - back], (0, False))
        found: list[tuple[int, bool]] = []
        for delta, _ in based:
            used = bits.flag()
            if (used or bits.flag()) and delta + change:
                found.append((delta + change, used))
        return (*sorted((d for d in found if d[0] < 0), reverse=True), *sorted(d for d in found if d[0] > 0))
    counts = (bits.ue(), bits.ue())
    if sum(counts) > LONGEST_SET:
        raise HeaderError("a reference picture set is too long")
    found = []
    for count, sign in zip(counts, (-1, 1), strict=True):
        delta = 0
        for _ in range(count):
            delta += sign * (bits.ue() + 1)
            found.append((delta, bits.flag()))
    return tuple(found)


def parse_pps(unit: bytes) -> Pps:
    """pic_parameter_set_rbsp (7.3.2.3); extensions but the range extension are a `HeaderError`."""
    bits = Bits(unescape(unit[2:]))
    number, sps = bits.ue(), bits.ue()
    dependent, output, extra = bits.flag(), bits.flag(), bits.u(3)
    bits.skip(1)
    cabac_init = bits.flag()
    references = (bits.ue() + 1, bits.ue() + 1)
    bits.se()
    bits.skip(1)
    transform_skip = bits.flag()
    if bits.flag():
        bits.ue()
    bits.se()
    bits.se()
    chroma_offsets = bits.flag()
    weighted = (bits.flag(), bits.flag())
    bits.skip(1)
    tiles, waves = bits.flag(), bits.flag()
    if tiles:
        across, down = bits.ue(), bits.ue()
        if not bits.flag():
            for _ in range(across + down):
                bits.ue()
        bits.skip(1)
    across_slices = bits.flag()
    override = off = False
    if bits.flag():
        override, off = bits.flag(), bits.flag()
        if not off:
            bits.se()
            bits.se()
    if bits.flag():
        skip_scaling_lists(bits)
    lists = bits.flag()
    bits.ue()
    extension = bits.flag()
    offset_lists = False
    if bits.flag():
        ranged = bits.flag()
        if bits.u(7):
            raise HeaderError("its pictures use an extension of H.265 that is not known here")
        if ranged:
            if transform_skip:
                bits.ue()
            bits.skip(1)
            offset_lists = bits.flag()
    return Pps(
        id=number,
        sps=sps,
        dependent=dependent,
        output=output,
        extra_bits=extra,
        cabac_init=cabac_init,
        references=references,
        chroma_offsets=chroma_offsets,
        weighted=weighted,
        entry_points=tiles or waves,
        across_slices=across_slices,
        deblock_override=override,
        deblock_off=off,
        lists=lists,
        extension=extension,
        offset_lists=offset_lists,
    )


def slice_start(unit: bytes) -> tuple[bool, int]:
    """(no_output_of_prior_pics_flag, slice_pic_parameter_set_id) of a slice segment (7.3.6.1)."""
    bits = Bits(unescape(unit[2:16]))
    bits.skip(1)
    kind = unit[0] >> 1 & 63
    drops = FIRST_IRAP <= kind <= LAST_IRAP and bits.flag()
    return drops, bits.ue()
