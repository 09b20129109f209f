"""A decoder run as a stream of events: frames with their ordinals, and faults with the frames they belong to."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import av
import av.error
import numpy as np
from av.packet import Packet
from av.stream import Discard
from av.video.stream import VideoStream

from core.media.checksum import ffv1_whole, has_checksums
from core.media.guard import LIMITS, film_stream, open_film
from core.media.plan import has_leading
from core.media.planes import to_working, working_format
from core.media.seek import packets_from
from core.records import Int64Array, MediaIndex

NOBODY = -1
MARKED = "the decoder marks it as damaged"
BAD_PACKET = "the container marks its packet as damaged"
BAD_CRC = "a slice of it fails its checksum"

# Decoders that hide errors unless told to fail; they are, where each frame stands alone.
_STRICT = {"mjpeg": {"err_detect": "explode"}}


@dataclass(frozen=True)
class Event:
    """A decoded frame (`frame`, `ordinal`), a fault of frame `ordinal`, or both; NOBODY where it is not known whose."""

    ordinal: int
    frame: av.VideoFrame | None
    fault: str


class Film:
    """A film with what decoding needs to look up often; immutable after birth."""

    def __init__(self, path: Path, index: MediaIndex) -> None:
        self.path = path
        self.index = index
        self.pix_fmt = working_format(index.video.pix_fmt)
        self.keys = np.flatnonzero(index.key)
        self.leading = has_leading(index.key, index.packet)
        self.by_packet: Int64Array = np.argsort(index.packet, kind="stable")
        self.ranks: Int64Array = index.packet[self.by_packet]
        # How much later a frame may be shown that is decoded before another and so may be its reference.
        self.reach = int(np.max(np.maximum.accumulate(self.by_packet) - self.by_packet, initial=0))
        self.strict = _STRICT.get(index.video.codec, {})
        self.known_bad = {
            int(index.packet[entry.frame]): entry.reason for entry in index.damage if entry.frame < index.frames
        }
        self.checksums = index.video.codec == "ffv1" and has_checksums(path)

    def gop(self, ordinal: int) -> tuple[int, int]:
        """`[key, next key)`: the ordinals shown from the keyframe at or before `ordinal` on."""
        place = int(np.searchsorted(self.keys, ordinal, side="right"))
        end = int(self.keys[place]) if place < len(self.keys) else self.index.frames
        return int(self.keys[place - 1]), end

    def seek(self, key: int) -> int:
        """Where decoding starts for the keyframe with ordinal `key`: there, or one earlier for an open GOP."""
        return self.earlier(key, 1) if self.leading[key] else key

    def earlier(self, key: int, count: int) -> int:
        """The ordinal of the keyframe `count` before `key`, or 0."""
        return int(self.keys[max(int(np.searchsorted(self.keys, key)) - count, 0)])

    def owner(self, rank: int) -> int:
        """The ordinal of the frame in the packet with that rank, or in the last packet before it that has one."""
        place = int(np.searchsorted(self.ranks, rank, side="right")) - 1
        return int(self.by_packet[place]) if place >= 0 else NOBODY


def feed(
    film: Film, start: int, *, threads: int, strict: bool = True, last: int | None = None
) -> Generator[Event, None, None]:
    """Decode from keyframe `start` (an ordinal) to the end of the film; whoever has enough stops asking.

    Frames come in the decoder's order. Faults of the decoder name their frame only with one thread: several report
    an error when a later packet is sent. `strict` False lets decoders conceal what they can. After the packet with
    rank `last` the decoder is drained.
    """
    index, path = film.index, film.path
    video = index.video
    expected = (video.width, video.height, video.pix_fmt)
    number = _Numbering(film)
    with open_film(path) as container:
        stream = film_stream(container)
        for other in container.streams:
            if other.index != stream.index:
                other.discard = Discard.all
        context = stream.codec_context
        context.thread_type = "AUTO"
        context.thread_count = threads
        context.options = {"max_pixels": str(LIMITS.max_pixels), **(film.strict if strict else {})}
        if video.codec == "h264":
            # Without it a film whose headers state no reorder depth loses frames where the decoder guesses low.
            context.reorder_depth = max(context.reorder_depth, video.reorder_depth)
        rank = (int(index.packet[start]) if start else 0) - 1
        try:
            for packet in packets_from(path, container, stream, index, start, last=last):
                if packet.size:
                    rank += 1
                    fault = film.known_bad.get(rank) or _packet_fault(film, packet)
                    if fault:
                        yield Event(film.owner(rank), None, fault)
                try:
                    frames = context.decode(packet)
                except av.error.EOFError:
                    return
                except av.error.FFmpegError as error:
                    owner = film.owner(rank) if threads == 1 and packet.size else NOBODY
                    yield Event(owner, None, f"the decoder failed: {error.strerror}")
                    continue
                for frame in frames:
                    ordinal = number(frame.pts)
                    if ordinal < 0:
                        continue
                    if (frame.width, frame.height, frame.format.name) != expected:
                        yield Event(ordinal, None, _changed(frame, expected))
                        continue
                    fault = MARKED if frame.is_corrupt else ""
                    frame.pts = int(index.pts[ordinal])
                    frame.time_base = index.time_base
                    yield Event(ordinal, to_working(frame, film.pix_fmt), fault)
        finally:
            context.flush_buffers()


def _packet_fault(film: Film, packet: Packet[VideoStream]) -> str:
    if packet.is_corrupt and not packet.is_discard:
        return BAD_PACKET
    if film.checksums and not ffv1_whole(packet):
        return BAD_CRC
    return ""


def _changed(frame: av.VideoFrame, expected: tuple[int, int, str]) -> str:
    width, height, pix_fmt = expected
    return f"the picture changes from {width}x{height} {pix_fmt} to {frame.width}x{frame.height} {frame.format.name}"


class _Numbering:
    """Ordinal of a decoded frame from its pts (or its packet's rank), NOBODY where the index has none."""

    def __init__(self, film: Film) -> None:
        demuxed = film.index.indexed_by == "demux"
        self.values = film.index.pts if demuxed else film.ranks
        self.ordinals = None if demuxed else film.by_packet
        self.next = 0

    def __call__(self, value: int | None) -> int:
        if value is None:
            return NOBODY
        values = self.values
        place = self.next
        if place >= len(values) or values[place] != value:
            place = int(np.searchsorted(values, value))
            if place >= len(values) or values[place] != value:
                return NOBODY
        self.next = place + 1
        return place if self.ordinals is None else int(self.ordinals[place])
