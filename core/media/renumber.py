"""Other ids for the parameter sets of an H.265 stream, in the sets and in every slice.

libx265 numbers its sets 0 and cannot be told otherwise. In a film that also holds copied pictures, which most often
count from 0 too, each id must stand for one content: only then a player may start anywhere, and all sets can lie in
the film's header. The id in a slice's header has as many bits as it likes, so the header grows and is aligned anew
(ITU-T H.265, 7.3.6); the data after it starts at a whole byte and stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

from core.media.bits import Bits, BitWriter, HeaderError, escape, escaped_size, rest_aligned, unescape
from core.media.hevc import IDR_N_LP, IDR_W_RADL, LAST_VCL, Pps, Sps, parse_pps, parse_sps, short_set
from core.media.nal import (
    HEVC,
    LENGTH_BYTES,
    PPS_H,
    SPS_H,
    VPS_H,
    ParameterSets,
    kind_of,
    packed,
    units,
)

HEADER_BYTES = 4096  # of a slice that are looked at first; headers are longer only where they list many entry points
_B, _P = 0, 1  # slice_type


def free_ids(theirs: ParameterSets) -> dict[int, int] | None:
    """For each kind of set the least id that `theirs` leave free; None where they use all."""
    most = {VPS_H: 16, SPS_H: 16, PPS_H: 64}
    found = {kind: next((n for n in range(top) if n not in theirs.ids(kind)), top) for kind, top in most.items()}
    return found if all(found[kind] < top for kind, top in most.items()) else None


@dataclass(frozen=True)
class Renumbering:
    """The new ids of one stream's only VPS, SPS and PPS, and what its slices' headers depend on.

    `held` and `level` are at least what the stream asks for: how many pictures a decoder holds, and general_level_idc.
    """

    ids: dict[int, int]
    sps: Sps
    pps: Pps
    held: int
    level: int

    @classmethod
    def of(cls, own: ParameterSets, ids: dict[int, int], theirs: ParameterSets) -> Renumbering:
        """Made to ask as much of a decoder as `theirs`. `HeaderError` where the stream has several sets of a kind."""
        single = [own.of(kind) for kind in (VPS_H, SPS_H, PPS_H)]
        if any(len(found) != 1 for found in single):
            raise HeaderError("the encoder wrote more than one parameter set of a kind")
        sps = parse_sps(single[1][0])
        if sps.layers:
            raise HeaderError("the encoder wrote temporal layers")
        others = [parse_sps(unit) for unit in theirs.of(SPS_H)]
        held = max([sps.shown.held, *(other.shown.held for other in others)])
        level = max([sps.profile[11], *(other.profile[11] for other in others)])
        return cls(ids, sps, parse_pps(single[2][0]), held, level)

    def sets(self, own: ParameterSets) -> ParameterSets:
        """The stream's parameter sets under their new ids."""
        found = ParameterSets(HEVC)
        for kind in (VPS_H, SPS_H, PPS_H):
            for unit in own.of(kind):
                found.add(self.unit(unit))
        return found

    def packet(self, data: bytes) -> bytes:
        """A packet of the stream, with lengths of LENGTH_BYTES, under the new ids."""
        return packed(self.unit(unit) for unit in units(data, LENGTH_BYTES))

    def unit(self, unit: bytes) -> bytes:
        """A NAL unit under the new ids."""
        kind = kind_of(HEVC, unit)
        if kind <= LAST_VCL:
            return self._slice(unit)
        if kind == VPS_H:
            return unit[:2] + self._vps(unescape(unit[2:]))
        if kind == SPS_H:
            return unit[:2] + self._sps(unescape(unit[2:]))
        if kind == PPS_H:
            bits = Bits(unescape(unit[2:]))
            bits.ue()
            bits.ue()
            writer = BitWriter()
            writer.ue(self.ids[PPS_H])
            writer.ue(self.ids[SPS_H])
            return unit[:2] + rest_aligned(bits, writer)
        return unit

    def _vps(self, body: bytes) -> bytes:
        copier = _Copier(body)
        copier.bits.skip(4)
        copier.out.u(self.ids[VPS_H], 4)
        copier.keep(28)
        self._level(copier)
        return self._held(copier)

    def _sps(self, body: bytes) -> bytes:
        copier = _Copier(body)
        copier.bits.skip(4)
        copier.out.u(self.ids[VPS_H], 4)
        copier.keep(4)
        self._level(copier)
        copier.bits.ue()
        copier.out.ue(self.ids[SPS_H])
        if copier.number() == 3:
            copier.keep(1)
        for _ in range(2):
            copier.number()
        if copier.keep(1):
            for _ in range(4):
                copier.number()
        for _ in range(3):
            copier.number()
        return self._held(copier)

    def _level(self, copier: _Copier) -> None:
        """profile_tier_level without sub-layers, the level raised."""
        copier.keep(88)
        copier.bits.skip(8)
        copier.out.u(self.level, 8)

    def _held(self, copier: _Copier) -> bytes:
        """The number of pictures raised, and the rest."""
        copier.keep(1)
        copier.bits.ue()
        copier.out.ue(self.held - 1)
        return copier.rest()

    def _slice(self, unit: bytes) -> bytes:
        kind = kind_of(HEVC, unit)
        stored = unit[2 : 2 + HEADER_BYTES]
        try:
            body = unescape(stored)
            end = self._header_bits(Bits(body), kind)
        except HeaderError:
            if len(stored) == len(unit) - 2:
                raise
            stored = unit[2:]
            body = unescape(stored)
            end = self._header_bits(Bits(body), kind)
        # byte_alignment(): a one, and zeros up to the next byte.
        size = end // 8 + 1
        if int.from_bytes(body[:size], "big") & ((1 << (8 * size - end)) - 1) != 1 << (8 * size - end - 1):
            raise HeaderError("a slice's header does not end where it should")
        bits = Bits(body[:size])
        flags = 2 if 16 <= kind <= 23 else 1
        head = bits.u(flags)
        bits.ue()
        writer = BitWriter()
        writer.u(head, flags)
        writer.ue(self.ids[PPS_H])
        writer.u(bits.rest()[0] >> (8 * size - end), end - bits.at)
        writer.u(1, 1)
        return unit[:2] + escape(writer.bytes_()) + unit[2 + escaped_size(stored, size) :]

    def _header_bits(self, bits: Bits, kind: int) -> int:
        """Where slice_segment_header ends, in bits."""
        sps, pps = self.sps, self.pps
        first = bits.flag()
        if 16 <= kind <= 23:
            bits.skip(1)
        if bits.ue() != pps.id:
            raise HeaderError("a slice names a parameter set that is not there")
        dependent = False
        if not first:
            dependent = pps.dependent and bits.flag()
            bits.skip(sps.address_bits)
        if not dependent:
            self._independent(bits, kind)
        if pps.entry_points and (count := bits.ue()):
            bits.skip((bits.ue() + 1) * count)
        if pps.extension:
            bits.skip(8 * bits.ue())
        return bits.at

    def _independent(self, bits: Bits, kind: int) -> None:
        sps, pps = self.sps, self.pps
        bits.skip(pps.extra_bits)
        slice_type = bits.ue()
        bits.skip(pps.output)
        bits.skip(2 * sps.apart)
        chroma = sps.shown.chroma not in (0, 4)
        current, motion = 0, False
        if kind not in (IDR_W_RADL, IDR_N_LP):
            current, motion = self._references(bits)
        sao = False
        if sps.sao:
            sao = bits.flag()
            sao |= chroma and bits.flag()
        if slice_type in (_B, _P):
            self._prediction(bits, slice_type, current, motion=motion, chroma=chroma)
        bits.se()
        if pps.chroma_offsets:
            bits.se()
            bits.se()
        bits.skip(pps.offset_lists)
        off = pps.deblock_off
        if pps.deblock_override and bits.flag():
            off = bits.flag()
            if not off:
                bits.se()
                bits.se()
        if pps.across_slices and (sao or not off):
            bits.skip(1)

    def _references(self, bits: Bits) -> tuple[int, bool]:
        """(NumPicTotalCurr, slice_temporal_mvp_enabled_flag)."""
        sps = self.sps
        bits.skip(sps.poc_bits)
        if not bits.flag():
            chosen = short_set(bits, sps.short_sets, in_slice=True)
        else:
            chosen = sps.short_sets[bits.u((len(sps.short_sets) - 1).bit_length())]
        if sps.long_present:
            raise HeaderError("long-term references are not known here")
        return sum(used for _, used in chosen), sps.motion and bits.flag()

    def _prediction(self, bits: Bits, slice_type: int, current: int, *, motion: bool, chroma: bool) -> None:
        pps = self.pps
        counts = list(pps.references)
        lists = 2 if slice_type == _B else 1
        if bits.flag():
            for number in range(lists):
                counts[number] = bits.ue() + 1
        if max(counts) > 16:
            raise HeaderError("too many references")
        if pps.lists and current > 1:
            for number in range(lists):
                if bits.flag():
                    bits.skip(counts[number] * (current - 1).bit_length())
        if slice_type == _B:
            bits.skip(1)
        if pps.cabac_init:
            bits.skip(1)
        if motion:
            number = 0 if slice_type == _P or bits.flag() else 1
            if counts[number] > 1:
                bits.ue()
        if pps.weighted[slice_type == _B]:
            _skip_weights(bits, counts[:lists], chroma=chroma)
        bits.ue()


def _skip_weights(bits: Bits, counts: list[int], *, chroma: bool) -> None:
    """pred_weight_table (7.3.6.3)."""
    bits.ue()
    if chroma:
        bits.se()
    for count in counts:
        luma = [bits.flag() for _ in range(count)]
        colours = [chroma and bits.flag() for _ in range(count)]
        for one, other in zip(luma, colours, strict=True):
            for _ in range(2 * one + 4 * other):
                bits.se()


class _Copier:
    """Copies a payload bit by bit, with changes."""

    def __init__(self, body: bytes) -> None:
        self.bits = Bits(body)
        self.out = BitWriter()

    def keep(self, count: int) -> int:
        value = self.bits.u(count)
        self.out.u(value, count)
        return value

    def number(self) -> int:
        value = self.bits.ue()
        self.out.ue(value)
        return value

    def rest(self) -> bytes:
        return rest_aligned(self.bits, self.out)
