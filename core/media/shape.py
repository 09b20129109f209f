"""Facts that libavformat does not hand out: whether a film is cut short, and where its chroma samples sit."""

from __future__ import annotations

import io
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


def missing(
    path: Path, container: InputContainer, stream: VideoStream, packets: PacketTable, end_s: Fraction
) -> tuple[Fraction, str]:
    """(seconds that the header promises beyond `end_s`, what is wrong in words); (0, "") for a whole film.

    An mp4 names every sample, so absent ones are counted; other containers state the size of their outermost
    element and a duration. A film whose file is cut short after its last frame is still named.
    """
    time_base = stream.time_base or Fraction(0)
    promised, absent = _promised(container, stream, packets)
    short = bytes_missing(path)
    if not absent and not short and not packets.error:
        return Fraction(0), ""
    seconds = Fraction(0)
    dts = packets.dts[packets.dts != NO_PTS]
    if absent and len(dts):
        last = stream.index_entries[promised - 1].timestamp
        seconds = max((last - int(dts[-1])) * time_base, Fraction(0))
    elif container.duration is not None:
        start = Fraction(container.start_time or 0, _MICROSECONDS)
        seconds = max(start + Fraction(container.duration, _MICROSECONDS) - end_s, Fraction(0))
    if absent:
        return seconds, f"the file is cut short: {absent} of {promised} frames are not in it"
    if short:
        return seconds, f"the file is cut short: {short} bytes of it are missing"
    return seconds, f"the file cannot be read beyond this point: {packets.error}"


def _promised(container: InputContainer, stream: VideoStream, packets: PacketTable) -> tuple[int, int]:
    """(entries in the film's sample table, how many of them were not read); zeros for containers without one."""
    if not container.format.name.startswith(("mov", "avi")):
        return 0, 0
    promised = len(stream.index_entries)
    absent = promised - packets.counts[stream.index]
    if absent > 0:  # entries without bytes repeat the frame before them
        absent -= sum(1 for entry in stream.index_entries if not entry.size)
    return promised, max(absent, 0)


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
