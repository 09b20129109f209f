"""Facts that libavformat does not hand out: whether a film is cut short, and where its chroma samples sit."""

from __future__ import annotations

import io
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import av.error
from av.container import InputContainer
from av.video.stream import VideoStream

from core.media.boxes import CHROMA_SITING_HORZ, CHROMA_SITING_VERT, bytes_missing, matroska_video
from core.media.numbering import NO_PTS, PacketTable

_MICROSECONDS = 1_000_000

# AVChromaLocation by Matroska's ChromaSitingHorz (1 left, 2 half) and ChromaSitingVert (1 top, 2 half, 3 bottom).
_LOCATIONS = {(1, 2): 1, (2, 2): 2, (1, 1): 3, (2, 1): 4, (1, 3): 5, (2, 3): 6}


@dataclass(frozen=True)
class Missing:
    """What a header promises and the file does not hold: seconds beyond its last frame, why in words, and the rank of
    the film's packet before which something is gone (the number of packets when that is the end)."""

    seconds: Fraction
    reason: str
    rank: int


def missing(
    path: Path, container: InputContainer, stream: VideoStream, packets: PacketTable, end_s: Fraction
) -> Missing | None:
    """What is missing of a film whose last frame ends at `end_s`; None for a whole film.

    MP4 and AVI name every sample, so absent ones are known; other containers state the size of their outermost
    element and a duration. A film whose file is cut short after its last frame is still named.
    """
    time_base = stream.time_base or Fraction(0)
    count = packets.counts[stream.index]
    promised, absent = _promised(container, stream, packets)
    short = bytes_missing(path)
    if not absent and not short and not packets.error:
        return None
    if absent and absent[0] < count:
        return Missing(
            Fraction(0), f"{len(absent)} of {promised} frames of the film cannot be found in the file", absent[0]
        )
    seconds = Fraction(0)
    dts = packets.dts[packets.dts != NO_PTS]
    if absent and len(dts):
        last = stream.index_entries[promised - 1].timestamp
        seconds = max((last - int(dts[-1])) * time_base, Fraction(0))
    elif container.duration is not None:
        start = Fraction(container.start_time or 0, _MICROSECONDS)
        seconds = max(start + Fraction(container.duration, _MICROSECONDS) - end_s, Fraction(0))
    if absent:
        reason = f"the file is cut short: {len(absent)} of {promised} frames are not in it"
    elif short:
        reason = f"the file is cut short: {short} bytes of it are missing"
    else:
        reason = f"the file cannot be read beyond this point: {packets.error}"
    return Missing(seconds, reason, count)


_AVI_CHUNK_HEADER = 8  # its index points at the chunk, packets at what is in it


def _promised(container: InputContainer, stream: VideoStream, packets: PacketTable) -> tuple[int, list[int]]:
    """(entries in the film's sample table, ranks of those that were not read); (0, []) where there is no table."""
    if not container.format.name.startswith(("mov", "avi")) or not stream.index_entries:
        return 0, []
    promised = len(stream.index_entries)
    if promised <= packets.counts[stream.index]:
        return promised, []
    header = _AVI_CHUNK_HEADER if container.format.name == "avi" else 0
    read = set(packets.places.tolist())
    # Entries without bytes repeat the frame before them and are no packets.
    entries = [entry.pos + header for entry in stream.index_entries if entry.size]
    return promised, [rank for rank, place in enumerate(entries) if place not in read]


def chroma_location(stream: VideoStream) -> int:
    """FFmpeg's AVChromaLocation of the film, 0 where it is not stated.

    PyAV does not expose it, but the Matroska muxer writes it into the header: one is written to memory and read.
    """
    buffer = io.BytesIO()
    try:
        with av.open(buffer, "w", format="matroska") as header:
            header.add_stream_from_template(stream)
            header.start_encoding()
    except (av.error.FFmpegError, ValueError):
        return 0  # no header can be made for this codec: nothing is stated
    size = buffer.seek(0, io.SEEK_END)
    for values in matroska_video(buffer, size):
        siting = (values.get(CHROMA_SITING_HORZ, 0), values.get(CHROMA_SITING_VERT, 0))
        return _LOCATIONS.get(siting, 0)
    return 0
