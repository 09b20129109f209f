"""H.264 headers (ITU-T H.264, 7.3): what decides whether pictures of two encoders can follow each other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

from core.media.bits import Bits, BitWriter, HeaderError, rest_aligned, unescape
from core.media.nal import H264, kind_of
from core.media.shown import ASPECTS, Shown

IDR, SLICE, LAST_PARTITION = 5, 1, 4  # nal_unit_type
_HIGH = (100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135)  # profiles with chroma_format_idc
HEADER_BYTES = 64
# MaxDpbMbs by level_idc (table A-1).
MOST_BLOCKS = {
    **{9: 396, 10: 396, 11: 900, 12: 2376, 13: 2376, 20: 2376, 21: 4752, 22: 8100, 30: 8100, 31: 18000, 32: 20480},
    **{40: 32768, 41: 32768, 42: 34816, 50: 110400, 51: 184320, 52: 184320, 60: 696320, 61: 696320, 62: 696320},
}
INTRA_PROFILES = (44, 86, 100, 110, 122, 244)  # with constraint_set3_flag


@dataclass(frozen=True)
class Sps:
    """A sequence parameter set; `reordered` is max_num_reorder_frames, which stands at the payload's bit
    `reordered_at`, None where it is not stated."""

    profile: int
    constraints: int
    level: int
    id: int
    shown: Shown
    frame_num_bits: int
    poc_type: int
    poc_bits: int
    poc_always_zero: bool
    frames_only: bool
    reordered: int | None
    reordered_at: int


@dataclass(frozen=True)
class Pps:
    id: int
    sps: int
    bottom_poc: bool  # bottom_field_pic_order_in_frame_present_flag
    redundant: bool


def parse_sps(unit: bytes) -> Sps:
    """seq_parameter_set_rbsp (7.3.2.1.1) with its VUI (E.1.1)."""
    bits = Bits(unescape(unit[1:]))
    profile, constraints, level = bits.u(8), bits.u(8), bits.u(8)
    number = bits.ue()
    chroma, depth = 1, (8, 8)
    if profile in _HIGH:
        chroma = bits.ue()
        if chroma == 3 and bits.flag():
            chroma = 4
        depth = (8 + bits.ue(), 8 + bits.ue())
        bits.skip(1)
        if bits.flag():
            for matrix in range(8 if chroma < 3 else 12):
                if bits.flag():
                    _skip_scaling_list(bits, 16 if matrix < 6 else 64)
    frame_num_bits = 4 + bits.ue()
    poc_type = bits.ue()
    poc_bits, always_zero = 0, False
    if poc_type == 0:
        poc_bits = 4 + bits.ue()
    elif poc_type == 1:
        always_zero = bits.flag()
        bits.se()
        bits.se()
        for _ in range(bits.ue()):
            bits.se()
    bits.ue()
    bits.skip(1)
    width = 16 * (bits.ue() + 1)
    units_high = bits.ue() + 1
    frames_only = bits.flag()
    height = 16 * units_high * (1 if frames_only else 2)
    coded = (width, height)
    if not frames_only:
        bits.skip(1)
    bits.skip(1)
    if bits.flag():
        left, right, top, bottom = bits.ue(), bits.ue(), bits.ue(), bits.ue()
        across = 2 if chroma in (1, 2) else 1
        down = (2 if chroma == 1 else 1) * (1 if frames_only else 2)
        width, height = width - across * (left + right), height - down * (top + bottom)
    held = _most_held(profile, constraints, level, coded)
    shown = Shown(chroma, depth, (width, height), not frames_only, coded=coded, held=held)
    reordered: int | None = None
    place = 0
    if bits.flag():
        shown, reordered, place = _vui(bits, shown)
    return Sps(
        profile=profile,
        constraints=constraints,
        level=level,
        id=number,
        shown=shown,
        frame_num_bits=frame_num_bits,
        poc_type=poc_type,
        poc_bits=poc_bits,
        poc_always_zero=always_zero,
        frames_only=frames_only,
        reordered=reordered,
        reordered_at=place,
    )


def _most_held(profile: int, constraints: int, level: int, coded: tuple[int, int]) -> int:
    """max_dec_frame_buffering where it is not stated (E.2.1): MaxDpbFrames (A.3.1)."""
    if constraints & 0x10 and profile in INTRA_PROFILES:
        return 0
    if level == 11 and constraints & 0x10 and profile in (66, 77, 88):
        level = 9  # level 1b
    return min(MOST_BLOCKS.get(level, 0) * 256 // (coded[0] * coded[1]), 16)


def _skip_scaling_list(bits: Bits, size: int) -> None:
    """scaling_list (7.3.2.1.1.1)."""
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.se()) % 256
        last = following or last


def picture_part(bits: Bits, shown: Shown) -> Shown:
    """The VUI up to the chroma location, which H.264 (E.1.1) and H.265 (E.2.1) have in common."""
    if bits.flag():
        kind = bits.u(8)
        if kind == 255:
            width, height = bits.u(16), bits.u(16)
            shown = replace(shown, aspect=Fraction(width, height) if height else Fraction(0))
        else:
            shown = replace(shown, aspect=Fraction(ASPECTS[kind]) if kind < len(ASPECTS) else Fraction(0))
    if bits.flag():
        bits.skip(1)
    if bits.flag():
        bits.skip(3)
        shown = replace(shown, full=bits.flag())
        if bits.flag():
            shown = replace(shown, colour=(bits.u(8), bits.u(8), bits.u(8)))
    if bits.flag():
        shown = replace(shown, location=bits.ue())
        bits.ue()
    return shown


def _vui(bits: Bits, shown: Shown) -> tuple[Shown, int | None, int]:
    shown = picture_part(bits, shown)
    if bits.flag():
        bits.skip(65)
    hrd = 0
    for _ in range(2):
        if bits.flag():
            hrd += 1
            _skip_hrd(bits)
    if hrd:
        bits.skip(1)
    bits.skip(1)
    if not bits.flag():
        return shown, None, 0
    bits.skip(1)
    for _ in range(4):
        bits.ue()
    place = bits.at
    reordered = bits.ue()
    return replace(shown, held=bits.ue()), reordered, place


def with_reordered(unit: bytes, count: int) -> bytes:
    """A sequence parameter set that states at least `count` as max_num_reorder_frames, where pictures are reordered."""
    sps = parse_sps(unit)
    if not sps.reordered or sps.reordered >= count:
        return unit
    bits, out = Bits(unescape(unit[1:])), BitWriter()
    out.u(bits.u(sps.reordered_at), sps.reordered_at)
    bits.ue()
    out.ue(count)
    return unit[:1] + rest_aligned(bits, out)


def _skip_hrd(bits: Bits) -> None:
    """hrd_parameters (E.1.2)."""
    count = bits.ue() + 1
    bits.skip(8)
    for _ in range(count):
        bits.ue()
        bits.ue()
        bits.skip(1)
    bits.skip(20)


def parse_pps(unit: bytes) -> Pps:
    """pic_parameter_set_rbsp (7.3.2.2) as far as slice headers depend on it; slice groups are a `HeaderError`."""
    bits = Bits(unescape(unit[1:]))
    number, sps = bits.ue(), bits.ue()
    bits.skip(1)
    bottom = bits.flag()
    if bits.ue():
        raise HeaderError("its pictures are coded in slice groups")
    bits.ue()
    bits.ue()
    bits.skip(3)
    for _ in range(3):
        bits.se()
    bits.skip(2)
    return Pps(number, sps, bottom, bits.flag())


def slice_pps(unit: bytes) -> int:
    """pic_parameter_set_id of a slice (7.3.3)."""
    bits = Bits(unescape(unit[1:16]))
    bits.ue()
    bits.ue()
    return bits.ue()


def drops_earlier(unit: bytes, sps: Sps, pps: Pps) -> bool:
    """no_output_of_prior_pics_flag of an IDR picture's slice (7.3.3, 7.3.3.3): earlier pictures that were not shown
    yet never are. It stands behind what an I slice has none of: reference lists and weights."""
    if kind_of(H264, unit) != IDR:
        raise HeaderError("not an IDR picture")
    bits = Bits(unescape(unit[1:HEADER_BYTES]))
    for _ in range(3):
        bits.ue()
    if sps.shown.chroma == 4:
        bits.skip(2)
    bits.skip(sps.frame_num_bits)
    field = not sps.frames_only and bits.flag()
    if field:
        bits.skip(1)
    bits.ue()
    if sps.poc_type == 0:
        bits.skip(sps.poc_bits)
        if pps.bottom_poc and not field:
            bits.se()
    elif sps.poc_type == 1 and not sps.poc_always_zero:
        bits.se()
        if pps.bottom_poc and not field:
            bits.se()
    if pps.redundant:
        bits.ue()
    return bits.flag()
