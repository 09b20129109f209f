"""The index: one demux pass over a film gives its table of frames and its inventory of streams.

Nothing is decoded except the first frames, which tell the pixel format and the side data, and whether packets and
frames correspond one to one. Where they do not, or where packets have no usable pts, `core.media.numbering` runs
one sequential decode instead and the index says so (`indexed_by="decode"`).
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import av.error
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from core.errors import InputError
from core.media import extras, gaps, inventory, numbering, shape, transport
from core.media.beside import ALPHA, HDR10_PLUS, beside
from core.media.far import FarPath
from core.media.guard import LIMITS, Limits, check_file, film_stream, open_film
from core.media.numbering import NO_PTS, FrameTable, PacketTable
from core.media.probe import Probe, probe_first_frames
from core.media.timebase import clock
from core.records import Damage, MediaIndex


def index_film(path: Path, limits: Limits = LIMITS) -> MediaIndex:
    """The index of the film at `path`.

    `duration[i]` is the time until the next frame is shown; the last frame keeps the duration its packet states.
    Frames that no decoder can show because the film starts without their references are left out, with a note.
    A film shorter than its header promises has `missing_s > 0` and a `Damage` whose frame is `frames`, the first
    one that is not there. `InputError` when the film cannot be opened, has no frames, or breaks `limits`.
    """
    with _hashed(path) as sha256:
        first = probe_first_frames(path, limits)
        with open_film(path, limits) as container:
            stream = film_stream(container)
            packets = read_packets(container, stream, limits, path)
            return _build(path, container, stream, packets, first, sha256(), limits)


@contextmanager
def _hashed(path: Path) -> Iterator[Callable[[], str]]:
    """What gives the hash of the whole file: made beside the demuxer, or of what that reads where the file is far."""
    if isinstance(path, FarPath):
        check_file(path)  # one that is not there is said to be so
        with path.hashed() as whole:
            yield whole
        return
    with ThreadPoolExecutor(max_workers=1) as pool:
        yield pool.submit(_file_sha256, path).result


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_packets(
    container: InputContainer, stream: VideoStream, limits: Limits = LIMITS, path: Path | None = None
) -> PacketTable:
    """The film's packets, and the number of packets of every stream, in one pass over the container.

    Reading stops at the first error of the container; `PacketTable.error` says which.
    """
    where = container.name.removeprefix("file:")
    film = stream.index
    counts = dict.fromkeys((other.index for other in container.streams), 0)
    pts, dts, duration, flags = array("q"), array("q"), array("q"), array("B")
    places, sizes, film_places = array("q"), array("q"), array("q")
    hidden_in = numbering.HIDDEN_FRAMES.get(inventory.codec_name(stream))
    matroska = container.format.name.startswith("matroska")
    most = limits.max_frames * 2  # two fields or hidden frames a picture at most
    error = ""
    place = 0
    look = beside(stream, inventory.codec_name(stream))
    seen: set[str] = set()
    try:
        for packet in container.demux():
            size, number = packet.size, packet.stream_index
            if not size:
                continue
            if matroska:
                place = packet.pos or place
                places.append(place)
                sizes.append(size)
            if number != film:
                counts[number] += 1
                continue
            film_places.append(packet.pos or place)
            shown, stored = packet.pts, packet.dts
            pts.append(NO_PTS if shown is None else shown)
            dts.append(NO_PTS if stored is None else stored)
            duration.append(packet.duration or 0)
            bits = packet.is_keyframe | packet.is_discard << 1 | packet.is_corrupt << 2
            if hidden_in is not None:
                bits |= hidden_in(packet) << 3
            flags.append(bits)
            seen.add(look(packet))
            if len(pts) > most:
                break
    except av.error.FFmpegError as failure:
        error = failure.strerror or str(failure)
    if len(pts) > most:
        raise InputError(f"holds more than {limits.max_frames} frames", where=where, hint="cut the film in parts")
    counts[film] = len(pts)
    marks = np.frombuffer(flags, dtype=np.uint8) if flags else np.zeros(0, np.uint8)
    return PacketTable(
        pts=_column(pts),
        dts=_column(dts),
        duration=_column(duration),
        key=(marks & 1).astype(bool),
        discard=(marks & 2).astype(bool),
        corrupt=(marks & 4).astype(bool),
        hidden=(marks & 8).astype(bool),
        counts=counts,
        error=error,
        places=_column(film_places),
        lost=_lost(path or Path(where), places, sizes, film_places) if matroska else (),
        seen=frozenset(seen),
    )


def _column(values: array[int]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array(values, dtype=np.int64)


def _lost(path: Path, places: array[int], sizes: array[int], film_places: array[int]) -> tuple[tuple[int, int], ...]:
    """(rank of the film's packet after it, bytes) of each stretch of the file that could not be read."""
    found = gaps.unread_gaps(path, _column(places), _column(sizes))
    ranks = np.searchsorted(_column(film_places), [after for _, after in found])
    return tuple((int(rank), after - first) for rank, (first, after) in zip(ranks, found, strict=True))


@dataclass(frozen=True)
class _Numbered:
    table: FrameTable
    indexed_by: Literal["demux", "decode"]


def _number(
    path: Path, packets: PacketTable, first: Probe, limits: Limits, *, codec: str, format_name: str
) -> _Numbered:
    """Frames from packets, by demuxing alone where that is certain."""
    reason = numbering.why_decode(packets, first, codec)
    if reason is None:
        return _Numbered(numbering.by_demux(packets, first), "demux")
    table = numbering.by_decode(path, packets, limits, trust_pts=format_name != "avi", nominal=first.frame_ticks)
    return _Numbered(table.with_note(f"frames numbered by decoding: {reason}"), "decode")


def _build(
    path: Path,
    container: InputContainer,
    stream: VideoStream,
    packets: PacketTable,
    first: Probe,
    sha256: str,
    limits: Limits,
) -> MediaIndex:
    where = str(path)
    time_base = stream.time_base
    if not time_base or len(packets.pts) == 0:
        raise InputError("holds no video frames", where=where, hint="the file is empty, damaged or cut short")
    packets, wild = _mend_times(packets, time_base, where)
    codec = inventory.codec_name(stream)
    numbered = _number(path, packets, first, limits, codec=codec, format_name=container.format.name)
    table = numbered.table
    count = len(table.pts)
    if count == 0:
        raise InputError("no frame of it can be shown", where=where, hint="the file is damaged or cut short")
    if count > limits.max_frames:
        raise InputError(f"holds {count} frames, the limit is {limits.max_frames}", where=where, hint="cut it in parts")
    last = int(table.duration[-1]) or first.frame_ticks or (int(table.pts[-1] - table.pts[-2]) if count > 1 else 1)
    duration = np.append(np.diff(table.pts), last).astype(np.int64)
    end = int(table.pts[-1]) + last
    missing = shape.missing(path, container, stream, packets, end * time_base)
    damage = list(table.damage)
    named = {entry.frame for entry in damage}
    damage += [
        Damage(frame=int(frame), pts=int(table.pts[frame]), reason="its packet states a time that cannot be true")
        for frame in np.flatnonzero(np.isin(table.packet, wild))
        if int(frame) not in named
    ]
    lost = [(rank, f"{size} bytes of the file after it cannot be read") for rank, size in packets.lost]
    if missing is not None and missing.rank < len(packets.pts):
        lost.append((missing.rank, missing.reason))
    damage += frames_before(lost, table, named)
    damage.sort(key=lambda entry: entry.frame)
    if missing is not None and missing.rank >= len(packets.pts):
        damage.append(Damage(frame=count, pts=end, reason=missing.reason))
    streams = inventory.stream_inventory(container, packets.counts)
    films = [other.index for other in container.streams.video if not streams[other.index].attached_pic]
    beside_picture = extras.read_extras(path, container.format.name, stream.id, films.index(stream.index))
    order = np.argsort(table.packet, kind="stable")
    depth = int(np.max(np.arange(count) - order, initial=0))
    rate = stream.average_rate or stream.guessed_rate or Fraction(0)
    return MediaIndex(
        sha256=sha256,
        size_bytes=path.stat().st_size,
        format=container.format.name,
        video=inventory.video_info(
            stream,
            first.frame,
            rate=rate,
            reorder_depth=depth,
            chroma_location=shape.chroma_location(stream),
            captions=first.captions,
            hidden_alpha=ALPHA in packets.seen,
            extras=beside_picture.parts,
        ),
        time_base=time_base,
        pts=table.pts,
        duration=duration,
        key=table.key,
        packet=table.packet,
        streams=streams,
        chapters=inventory.chapter_list(container),
        tags=dict(container.metadata),
        damage=tuple(damage),
        missing_s=missing.seconds if missing is not None else Fraction(0),
        indexed_by=numbered.indexed_by,
        notes=(*table.notes, *_lost_notes(packets, first, beside_picture.dolby_vision)),
        transport=transport.read_transport(path, streams) if container.format.name == "mpegts" else None,
    )


def _lost_notes(packets: PacketTable, first: Probe, dolby_vision: bool) -> tuple[str, ...]:
    """What belongs to single frames and is not carried: as seen in the first ones, in any packet, and as announced."""
    found = set(first.notes)
    if HDR10_PLUS in packets.seen:
        found.add(inventory.not_carried(inventory.HDR10_PLUS))
    if dolby_vision and not any(inventory.DOLBY_VISION in note for note in found):
        found.add(inventory.not_carried(inventory.DOLBY_VISION))
    return tuple(sorted(found))


def _mend_times(packets: PacketTable, time_base: Fraction, where: str) -> tuple[PacketTable, tuple[int, ...]]:
    """The packets without timestamps that cannot be true, and the ranks of the packets that had such.

    Decoding time runs forward. Single packets that break that by more than a second are damaged; many of them are
    another recording in the same file: `InputError`, because sorting such a table would interleave two scenes, and
    the sound beside it jumps too.
    """
    stated = np.flatnonzero(packets.dts != NO_PTS)
    dts = packets.dts[stated]
    second = int(1 / time_base)
    if len(dts) < 2 or not bool(np.any(np.diff(dts) < -second)):
        return packets, ()
    outside = np.ones(len(dts), dtype=bool)
    outside[numbering.longest_rise(dts, slack=second)] = False
    wild = stated[outside]
    if len(wild) > 16 + len(dts) // 50:
        at = int(np.flatnonzero(np.diff(dts) < -second)[0])
        raise InputError(
            f"its timestamps jump back at {clock(int(dts[at]), time_base)} (packet {at + 1})",
            where=where,
            hint="it is several recordings in one file; split or remux it first",
        )
    pts, times = packets.pts.copy(), packets.dts.copy()
    pts[wild] = times[wild] = NO_PTS
    return replace(packets, pts=pts, dts=times), tuple(int(rank) for rank in wild)


def frames_before(lost: list[tuple[int, str]], table: FrameTable, named: set[int]) -> list[Damage]:
    """The frames stored right before packets at which something is gone, with the reason, each once and not in `named`.

    They stay on screen instead of what is lost, and what follows in their GOP is built on it.
    """
    taken = set(named)
    found = []
    for rank, reason in lost:
        earlier = np.flatnonzero(table.packet < rank)
        frame = int(earlier[np.argmax(table.packet[earlier])]) if len(earlier) else 0
        if frame not in taken:
            taken.add(frame)
            found.append(Damage(frame=frame, pts=int(table.pts[frame]), reason=reason))
    return found
