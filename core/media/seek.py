"""Getting to the packet where decoding starts, whatever a container's seek does.

A seek is a hint: some land late, some nowhere. The packet itself is looked for, by its pts, and the seek repeated
further back until it is met; at last the film is read from its start.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast

import av.error
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from core.errors import PlanError
from core.media.guard import film_stream, open_film
from core.records import MediaIndex

if TYPE_CHECKING:
    FilmPacket: TypeAlias = Packet[VideoStream]


def packets_from(
    path: Path,
    container: InputContainer,
    stream: VideoStream,
    index: MediaIndex,
    start: int,
    *,
    last: int | None = None,
) -> Iterator[FilmPacket]:
    """The film's packets from the one of keyframe `start` (an ordinal) to the end, then one empty packet.

    For `start` 0 they begin at the start of the file; with `last` they end after the packet of that rank. An index
    made by decoding numbers packets: they then carry their rank as pts. `PlanError` when the film does not hold the
    packet. A read error ends the packets, as the index ended at it.
    """
    rank = (int(index.packet[start]) if start else 0) - 1
    packets = _all_from(path, container, stream, index, start)
    for packet in packets:
        yield packet
        rank += packet.size > 0
        if last is not None and rank >= last:
            packets.close()
            yield cast("FilmPacket", Packet())
            return


def _all_from(
    path: Path, container: InputContainer, stream: VideoStream, index: MediaIndex, start: int
) -> Generator[FilmPacket, None, None]:
    if index.indexed_by == "decode":
        yield from _counted(container, stream, int(index.packet[start]) if start else 0)
        return
    if start == 0:
        yield from _quiet(container, stream)
        return
    wanted = int(index.pts[start])
    # AVI counts time in chunks, so where chunks are lost its index and its chunks do not agree.
    seekable = not (index.format == "avi" and index.damage)
    for target in _targets(index, start) if seekable else ():
        try:
            container.seek(target, stream=stream)
        except av.error.FFmpegError:
            continue
        packets = _quiet(container, stream)
        first = _advance(packets, wanted, give_up=True)
        if first is not None:
            yield first
            yield from packets
            return
        packets.close()
    with open_film(path) as again:
        packets = _quiet(again, film_stream(again))
        first = _advance(packets, wanted, give_up=False)
        if first is None:
            raise PlanError(
                f"the packet with pts {wanted} is gone", where=str(path), hint="the film changed since it was indexed"
            )
        yield first
        yield from packets


def _targets(index: MediaIndex, start: int) -> list[int]:
    """Timestamps to seek to, in the order in which they are tried."""
    pts = index.pts
    # MPEG-TS seeks by decoding time, which runs ahead of the pts by the reorder depth.
    early = int(pts[max(start - index.video.reorder_depth - 2, 0)])
    targets = [early] if index.format == "mpegts" else [int(pts[start]), early]
    keys = np.flatnonzero(index.key)
    rank = int(np.searchsorted(keys, start))
    back = 1
    while rank - back > 0 and back < 64:
        targets.append(int(pts[keys[rank - back]]))
        back *= 4
    return targets


def _advance(packets: Iterator[FilmPacket], wanted: int, *, give_up: bool) -> FilmPacket | None:
    """The keyframe packet with pts `wanted`; None at the end, or at a later keyframe with `give_up`."""
    for packet in packets:
        if packet.is_keyframe and packet.pts is not None and not packet.is_discard:
            if packet.pts == wanted:
                return packet
            if give_up and packet.pts > wanted:
                return None
    return None


def _quiet(container: InputContainer, stream: VideoStream) -> Generator[FilmPacket, None, None]:
    """The stream's packets until the end or the first read error, then an empty one that drains the decoder."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError:
            break
        if packet is None:
            return
        yield packet
    yield cast("FilmPacket", Packet())


def _counted(container: InputContainer, stream: VideoStream, first: int) -> Iterator[FilmPacket]:
    """Packets from rank `first` on, each with its rank as pts; ranks count packets that hold data."""
    rank = -1
    for packet in _quiet(container, stream):
        if packet.size:
            rank += 1
            if rank < first:
                continue
            packet.pts, packet.dts = rank, None
        yield packet
