"""Facts that libavformat does not hand out: whether a file is cut short, and where chroma samples sit."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from av.container import InputContainer
from av.video.stream import VideoStream

from core.media.numbering import PacketTable


def missing(
    path: Path, container: InputContainer, stream: VideoStream, packets: PacketTable, end_s: Fraction
) -> tuple[Fraction, str]:
    """(seconds that the header promises beyond `end_s`, what is wrong in words); (0, "") for a whole file."""
    return Fraction(0), ""


def chroma_location(stream: VideoStream) -> int:
    return 0
