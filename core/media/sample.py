"""One grey frame through a film's encoder: what its headers will say, before anything is rendered."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import cast

import av
import av.error
from av.codec.context import Flags
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from core.media.encode import configure, container_options, intermediate_format
from core.media.faults import media_fault
from core.media.priority import same_priority
from core.records import EncoderSettings, MediaIndex


@dataclass(frozen=True)
class Sample:
    """A segment file of one frame: its bytes, and of its track the extradata, the tag and the packet."""

    file: bytes
    extradata: bytes
    tag: str
    packet: bytes


def encoded_sample(settings: EncoderSettings, index: MediaIndex) -> Sample:
    """A grey frame of the film's size, encoded as a segment is. `PlanError` where the encoder fails."""
    buffer = io.BytesIO()
    try:
        with (
            same_priority(),
            av.open(
                buffer, "w", format=intermediate_format(settings.encoder), container_options=container_options(index)
            ) as out,
        ):
            stream = cast(VideoStream, out.add_stream(settings.encoder, rate=settings.frame_rate))
            stream.time_base = index.time_base
            configure(stream.codec_context, settings, index, threads=1)
            frame = av.VideoFrame(index.video.width, index.video.height, settings.pix_fmt)
            for plane in frame.planes:
                plane.update(b"\x80" * plane.buffer_size)
            frame.pts, frame.time_base = 0, index.time_base
            for packet in stream.encode(frame) + stream.encode(None):
                packet.pts = packet.dts = 0  # libx265 makes up the decode time of a film of one frame
                out.mux_one(packet)
        data = buffer.getvalue()
        with av.open(io.BytesIO(data), "r") as made:
            context = made.streams.video[0].codec_context
            packet = next(p for p in made.demux(video=0) if p.size)
            return Sample(data, bytes(context.extradata or b""), context.codec_tag, bytes(packet))
    except (av.error.FFmpegError, ValueError, StopIteration, OSError) as error:
        raise media_fault(error, f"cannot start {settings.encoder}", "") from error


def encoder_header(settings: EncoderSettings, index: MediaIndex) -> bytes:
    """The extradata that the film's encoder states when it is opened: its parameter sets, b"" where it has none."""
    try:
        context = cast(VideoCodecContext, av.CodecContext.create(settings.encoder, "w"))
        configure(context, settings, index, threads=1)
        context.flags |= Flags.global_header
        with same_priority():
            context.open()
        return bytes(context.extradata or b"")
    except (av.error.FFmpegError, ValueError, OSError) as error:
        raise media_fault(error, f"cannot start {settings.encoder}", "") from error
