"""What a container says about itself and its film: streams, chapters, colour, mastering metadata, rotation.

Sources, in the order in which they win: the first decoded frame, then the codec parameters that libavformat
filled from the container and the bitstream.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from typing import cast

import av
from av.container import InputContainer
from av.sidedata.sidedata import SideData, Type
from av.stream import AttachmentStream, Stream
from av.video.stream import VideoStream

from core.media.extras import STEREO
from core.media.guard import ATTACHED_PIC
from core.records import Chapter, Colour, Mastering, StreamInfo, VideoInfo

DOLBY_VISION = "Dolby Vision"
HDR10_PLUS = "HDR10+ (dynamic metadata)"
# Metadata that belongs to single frames and would be lost by re-encoding; told to the user by name.
_PER_FRAME = {
    Type.DYNAMIC_HDR_PLUS: HDR10_PLUS,
    Type.DOVI_RPU_BUFFER: "Dolby Vision (RPU)",
    Type.DOVI_METADATA: "Dolby Vision (metadata)",
    Type.DYNAMIC_HDR_VIVID: "HDR Vivid (dynamic metadata)",
    Type.FILM_GRAIN_PARAMS: "film grain parameters",
}


def stream_inventory(container: InputContainer, packets: Mapping[int, int]) -> tuple[StreamInfo, ...]:
    """Every stream as found, with the number of packets that were demuxed from it (by stream index)."""
    found = []
    for stream in container.streams:
        disposition = int(stream.disposition)
        found.append(
            StreamInfo(
                index=stream.index,
                kind=stream.type,
                codec=codec_name(stream),
                codec_tag=_tag(stream),
                time_base=stream.time_base or Fraction(0),
                disposition=disposition,
                tags=dict(stream.metadata),
                packets=packets.get(stream.index, 0),
                attached_pic=bool(disposition & ATTACHED_PIC),
                pid=stream.id if container.format.name == "mpegts" else 0,
            )
        )
    return tuple(found)


def codec_name(stream: Stream) -> str:
    """FFmpeg's name of the stream's codec, not of the decoder that was picked for it; "" where unknown."""
    if isinstance(stream, AttachmentStream):
        return stream.mimetype or ""
    if stream.codec_context is not None:
        return stream.codec_context.codec.canonical_name
    return getattr(stream, "name", None) or ""  # PyAV gives streams without a decoder no name at all


def _tag(stream: Stream) -> str:
    try:
        return stream.codec_context.codec_tag if stream.codec_context is not None else ""
    except UnicodeDecodeError:
        return ""


def chapter_list(container: InputContainer) -> tuple[Chapter, ...]:
    """The container's chapters in its order."""
    return tuple(
        Chapter(
            id=chapter["id"],
            time_base=chapter["time_base"] or Fraction(1),
            start=chapter["start"],
            end=chapter["end"],
            tags=dict(chapter["metadata"]),
        )
        for chapter in container.chapters()
    )


def video_info(
    stream: VideoStream,
    frame: av.VideoFrame,
    *,
    rate: Fraction,
    reorder_depth: int,
    chroma_location: int,
    captions: bool,
    hidden_alpha: bool,
    extras: dict[str, str],
) -> VideoInfo:
    """The film's picture, from its stream and its first decoded frame."""
    context = stream.codec_context
    matrix = display_matrix(frame)
    return VideoInfo(
        stream_index=stream.index,
        codec=codec_name(stream),
        width=frame.width,
        height=frame.height,
        pix_fmt=frame.format.name,
        sample_aspect_ratio=stream.sample_aspect_ratio or context.sample_aspect_ratio or Fraction(0),
        display_matrix=matrix,
        rotation=_rotation(frame) if matrix is not None else 0,
        field_order=int(context.field_order),
        frame_rate=rate,
        colour=Colour(
            primaries=_stated(frame.color_primaries, context.color_primaries, 2),
            transfer=_stated(frame.color_trc, context.color_trc, 2),
            matrix=_stated(frame.colorspace, context.colorspace, 2),
            range=_stated(frame.color_range, context.color_range, 0),
            chroma_location=chroma_location,
        ),
        mastering=mastering(frame),
        profile=stream.profile,
        reorder_depth=reorder_depth,
        captions=captions,
        hidden_alpha=hidden_alpha,
        extras=extras,
        frame_packing=0 if extras.keys() & STEREO else _frame_packing(frame),
    )


def _frame_packing(frame: av.VideoFrame) -> int:
    """AVStereo3D begins with its type, 0 for a plain picture."""
    data = _side_data(frame, Type.STEREO3D)
    return struct.unpack("=i", data[:4])[0] if data is not None else 0


def _rotation(frame: av.VideoFrame) -> int:
    return 180 if frame.rotation == -180 else int(frame.rotation)


def _stated(frame_value: int, context_value: int, unknown: int) -> int:
    return int(frame_value) if int(frame_value) != unknown else int(context_value)


def _side_data(frame: av.VideoFrame, kind: Type) -> bytes | None:
    for item in _items(frame):
        if item.type == kind:
            return bytes(item)
    return None


def _items(frame: av.VideoFrame) -> Iterator[SideData]:
    # PyAV's stub calls it a dict with string keys; it is a sequence of SideData.
    return iter(cast("Iterable[SideData]", frame.side_data))


def display_matrix(frame: av.VideoFrame) -> tuple[int, ...] | None:
    """The nine integers of the display matrix, or None where the container has none (or the identity)."""
    data = _side_data(frame, Type.DISPLAYMATRIX)
    if data is None or len(data) != 36:
        return None
    matrix = struct.unpack("=9i", data)
    return None if matrix == (65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30) else matrix


def mastering(frame: av.VideoFrame) -> Mastering | None:
    """ST 2086 and CTA-861.3 values of `frame` (AVMasteringDisplayMetadata, AVContentLightMetadata), or None."""
    display, light = (
        _side_data(frame, Type.MASTERING_DISPLAY_METADATA),
        _side_data(frame, Type.CONTENT_LIGHT_LEVEL),
    )
    if display is None and light is None:
        return None
    points: list[tuple[Fraction, Fraction] | None] = [None] * 4
    luminance: list[Fraction | None] = [None, None]
    if display is not None and len(display) >= 88:
        # AVRational display_primaries[3][2], white_point[2], min_luminance, max_luminance; int has_primaries,
        # has_luminance.
        words = struct.unpack("=22i", display[:88])
        ratios = [Fraction(words[i], words[i + 1]) if words[i + 1] else Fraction(0) for i in range(0, 20, 2)]
        if words[20]:
            points = [(ratios[2 * i], ratios[2 * i + 1]) for i in range(4)]
        if words[21]:
            luminance = [ratios[8], ratios[9]]
    content = struct.unpack("=2I", light[:8]) if light is not None and len(light) >= 8 else (None, None)
    return Mastering(
        red=points[0],
        green=points[1],
        blue=points[2],
        white=points[3],
        min_luminance=luminance[0],
        max_luminance=luminance[1],
        max_content_light=content[0],
        max_frame_average_light=content[1],
    )


def has_captions(frame: av.VideoFrame) -> bool:
    """Whether CEA-608/708 captions (ATSC A/53, part 4) are stored with the frame."""
    return any(item.type == Type.A53_CC for item in _items(frame))


def per_frame_notes(frame: av.VideoFrame) -> tuple[str, ...]:
    """One note for each kind of per-frame metadata that the output will not carry."""
    kinds = {item.type for item in _items(frame)}
    names = sorted({name for kind, name in _PER_FRAME.items() if kind in kinds})
    return tuple(not_carried(name) for name in names)


def not_carried(name: str) -> str:
    return f"{name} is not carried to the output"
