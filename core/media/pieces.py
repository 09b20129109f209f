"""The pieces of the picture's track: segment files checked, and their packets in decode order with the film's times.

A piece is a segment that was encoded, or one that was copied from the source (core.media.smart). Where there are
copies of H.264 or H.265, one header holds the parameter sets of all pieces and each id stands for one content.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import av.error
import numpy as np
from av.packet import Packet
from av.stream import Stream

from core.errors import PlanError, StorageError
from core.media import h264
from core.media.annexb import with_start_codes
from core.media.bits import HeaderError
from core.media.configuration import configuration
from core.media.copying import IN_BAND_TAG
from core.media.nal import (
    DELIMITERS,
    H264,
    HEVC,
    LENGTH_BYTES,
    PPS,
    SETS,
    SPS,
    ParameterSets,
    kind_of,
    packed,
    sets_of,
    units,
)
from core.media.renumber import Renumbering, free_ids
from core.records import MediaIndex, Segment


@dataclass(frozen=True)
class Pieces:
    """What the pieces come to: `depth` is the picture's reorder depth, `template` a file whose stream is like the
    film's (None where all are copies), `extradata` the header of a film with copies (None: the template's own).

    `sets` are the parameter sets in that header, `renumbering` is for the packets of encoded pieces. `inband`: copies
    hold parameter sets among their packets.
    """

    depth: int
    template: Path | None
    extradata: bytes | None = None
    renumbering: Renumbering | None = None
    sets: ParameterSets | None = None
    inband: bool = False


@dataclass(frozen=True)
class _Header:
    """What must be equal in all encoded pieces; of copies all but the extradata."""

    codec: str
    width: int
    height: int
    pix_fmt: str | None
    extradata: bytes
    depth: int
    tag: str


def check_segments(index: MediaIndex, segments: Sequence[tuple[Segment, Path]], copies: Collection[int] = ()) -> Pieces:
    """Read the headers of the segment files. `PlanError` unless the segments tile the film's table and the encoded
    ones carry equal parameter sets (mp4 keeps only SPS, PPS and VPS there, no SEI); `copies` are the indices of the
    copied ones, whose parameter sets must agree with the others by id."""
    at, depth = 0, 0
    template: tuple[Path, _Header] | None = None
    copied: list[_Header] = []
    for segment, path in segments:
        if segment.first != at:
            raise PlanError(f"segment {segment.index} starts at frame {segment.first}, expected {at}", where=str(path))
        at = segment.end
        mine = _header(segment, path)
        if segment.index in copies:
            copied.append(mine)
            depth = max(depth, _depth(index, segment))
            continue
        depth = max(depth, mine.depth)
        if template is None:
            template = (path, mine)
        elif mine != template[1]:
            raise PlanError(
                f"segment {segment.index} was encoded with other parameters than the first",
                where=str(path),
                hint="remove it and render it again on one version of the encoder",
            )
    if at != index.frames:
        raise PlanError(f"the segments end at frame {at} of {index.frames}")
    if not copied:
        return Pieces(depth, template[0] if template else None)
    try:
        return _with_copies(depth, template, copied)
    except HeaderError as error:
        raise PlanError(f"copied and encoded segments do not make one film: {error}") from error


def _header(segment: Segment, path: Path) -> _Header:
    try:
        with av.open(str(path)) as file:
            context = file.streams.video[0].codec_context
            return _Header(
                codec=context.codec.canonical_name,
                width=context.width,
                height=context.height,
                pix_fmt=context.pix_fmt,
                extradata=bytes(context.extradata or b""),
                depth=context.reorder_depth,
                tag=context.codec_tag,
            )
    except (av.error.FFmpegError, IndexError) as error:
        raise PlanError(f"segment {segment.index} cannot be read", where=str(path)) from error


def _depth(index: MediaIndex, segment: Segment) -> int:
    """How many places a frame of a copied segment is stored after those that are shown before it."""
    order = np.argsort(index.packet[segment.first : segment.end], kind="stable")
    return int(np.max(np.arange(segment.frames) - order, initial=0))


def _with_copies(depth: int, template: tuple[Path, _Header] | None, copied: list[_Header]) -> Pieces:
    codec = copied[0].codec
    path, encoded = template if template else (None, copied[0])
    for one in copied:
        if (one.codec, one.width, one.height) != (encoded.codec, encoded.width, encoded.height):
            raise HeaderError("their codecs or sizes differ")
    if codec not in SETS:
        if codec == "ffv1" and any(one.extradata != encoded.extradata for one in copied):
            raise HeaderError("their headers differ")
        return Pieces(depth, path, extradata=None if template else copied[0].extradata)
    sets = ParameterSets(codec)
    for one in copied:
        _merge(sets, sets_of(codec, one.extradata))
    renumbering = None
    if template:
        own = sets_of(codec, encoded.extradata)
        if codec == HEVC:
            ids = free_ids(sets)
            if ids is None:
                raise HeaderError("no parameter set id is free")
            renumbering = Renumbering.of(own, ids, sets)
            own = renumbering.sets(own)
        else:
            own = _as_reordered(own, sets)
        _merge(sets, own)
    inband = any(one.tag == IN_BAND_TAG[codec] for one in copied)
    return Pieces(depth, path, configuration(sets), renumbering, sets, inband)


def _as_reordered(own: ParameterSets, theirs: ParameterSets) -> ParameterSets:
    """The encoder's H.264 sets, stating that pictures are reordered as far as in the copies: some decoders drop
    pictures where that number falls at a joint."""
    furthest = max((h264.parse_sps(unit).reordered or 0 for unit in theirs.of(SPS)), default=0)
    found = ParameterSets(H264)
    for (kind, _), unit in own.units.items():
        found.add(h264.with_reordered(unit, furthest) if kind == SPS else unit)
    return found


def _merge(sets: ParameterSets, more: ParameterSets) -> None:
    if not all(sets.add(unit) for unit in more.units.values()):
        raise HeaderError("a parameter set id stands for two contents")


def decode_times(index: MediaIndex, depth: int, *, floor: bool = False) -> Iterator[int]:
    """dts in decode order: the table delayed by `depth` frames. With `floor` none lies below zero: the first ones
    are squeezed, one tick apart, under the pts they must not pass (mpegts counts modulo 2^33 from zero)."""
    pts = index.pts
    step = int(index.duration[0]) or (int(pts[1] - pts[0]) if len(pts) > 1 else 1)
    lead = [int(pts[0]) - (depth - k) * max(step, 1) for k in range(depth)]
    if floor and lead and lead[0] < 0 <= int(pts[0]):
        tail = (int(pts[1]) if len(pts) > 1 else int(pts[0]) + step) - depth
        yield int(pts[0])
        yield from range(tail, tail + min(depth, len(pts) - 1))
        yield from (int(p) for p in pts[1 : max(1, len(pts) - depth)])
        return
    yield from lead[: len(pts)]
    yield from (int(p) for p in pts[: max(0, len(pts) - depth)])


def check_hash(segment: Segment, path: Path, hashes: Mapping[int, str]) -> None:
    """`StorageError` unless the segment's file is the one that was rendered. Reads it once; the packets that are
    read next come out of the system's memory, not from the disk again."""
    if segment.index in hashes:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != hashes[segment.index]:
            raise StorageError(
                f"segment {segment.index} was altered after it was rendered",
                where=str(path),
                hint="check the disk, then run the same command again: it renders this segment anew",
            )


def film_packets(
    index: MediaIndex,
    segments: Sequence[tuple[Segment, Path]],
    pieces: Pieces,
    stream: Stream,
    *,
    container: str,
    hashes: Mapping[int, str],
    copies: Collection[int] = (),
    bare: bool = False,
) -> Iterator[Packet[Stream]]:
    """The picture's packets in decode order, with the table's timestamps; each frame exactly once. With `bare` the
    copies' packets lose parameter sets and delimiters, which the film's header makes superfluous."""
    # FFmpeg's filter that turns lengths into start codes puts the header's sets before IDR pictures of H.264, but
    # forgets those once it meets others in a packet. So where it will run, or packets hold some, all of them do.
    # A transport stream has no other header, so there each keyframe has the sets of the whole film.
    spelled: ParameterSets | None = None
    if pieces.sets and pieces.sets.codec == H264 and (container == "mpegts" or (pieces.inband and not bare)):
        spelled = pieces.sets
    times = decode_times(index, pieces.depth, floor=container == "mpegts")
    for segment, path in segments:
        seen = np.zeros(segment.frames, np.bool_)
        table = index.pts[segment.first : segment.end]
        check_hash(segment, path, hashes)
        with av.open(str(path)) as file:
            video = file.streams.video[0]
            codec = video.codec_context.codec.canonical_name
            ratio = video.time_base / index.time_base if video.time_base else Fraction(0)
            start_codes = container == "avi" and codec == H264
            for packet in with_start_codes(file, video) if start_codes else file.demux(video):
                if packet.size == 0 or packet.pts is None:
                    continue
                pts = packet.pts * ratio + int(table[0])
                rank = int(np.searchsorted(table, int(pts))) if pts.denominator == 1 else len(table)
                if rank >= len(table) or int(table[rank]) != pts or seen[rank]:
                    raise PlanError(f"segment {segment.index} holds a frame at pts {pts} that is not planned")
                seen[rank] = True
                copy = cast("Packet[Stream]", packet)
                if segment.index in copies:
                    copy = _without_sets(copy, codec) if bare and codec in SETS else copy
                elif pieces.renumbering is not None:
                    copy = _renumbered(copy, pieces.renumbering, segment)
                if spelled is not None and copy.is_keyframe:
                    copy = _with_sets(copy, spelled, complete=container == "mpegts")
                copy.pts, copy.dts = int(pts), next(times)
                if copy.dts > copy.pts:
                    raise PlanError(
                        f"segment {segment.index}: frames are stored further apart than {pieces.depth} places"
                    )
                copy.duration = int(index.duration[segment.first + rank])
                copy.time_base = index.time_base
                copy.stream = stream
                yield copy
        if not bool(seen.all()):
            missing = segment.first + int(np.argmin(seen))
            raise PlanError(f"segment {segment.index} lacks frame {missing}", where=str(path))


def _renumbered(packet: Packet[Stream], renumbering: Renumbering, segment: Segment) -> Packet[Stream]:
    try:
        return _with_data(packet, renumbering.packet(bytes(packet)))
    except HeaderError as error:
        raise PlanError(f"segment {segment.index} cannot stand beside copies: {error}") from error


def _without_sets(packet: Packet[Stream], codec: str) -> Packet[Stream]:
    left_out = (*SETS[codec], DELIMITERS[codec])
    kept = packed(unit for unit in units(bytes(packet), LENGTH_BYTES) if kind_of(codec, unit) not in left_out)
    return _with_data(packet, kept) if len(kept) != packet.size else packet


def _with_sets(packet: Packet[Stream], sets: ParameterSets, *, complete: bool) -> Packet[Stream]:
    """An H.264 packet with `sets` before its picture, behind its delimiter. One that holds sets stays as it is, or with
    `complete` gets those that it lacks."""
    parts = list(units(bytes(packet), LENGTH_BYTES))
    kinds = [kind_of(H264, unit) for unit in parts]
    present = {unit.rstrip(b"\0") for unit, kind in zip(parts, kinds, strict=True) if kind in SETS[H264]}
    missing = [unit for unit in (*sets.of(SPS), *sets.of(PPS)) if unit not in present]
    if not missing or (present and not complete):
        return packet
    place = 1 if kinds[:1] == [DELIMITERS[H264]] else 0
    return _with_data(packet, packed([*parts[:place], *missing, *parts[place:]]))


def _with_data(packet: Packet[Stream], data: bytes) -> Packet[Stream]:
    copy: Packet[Stream] = Packet(data)
    copy.is_keyframe = packet.is_keyframe
    return copy
