"""Encode one segment: constant quality, no memory of its neighbours, every timestamp the film's own.

A segment file holds one video stream and nothing else, in an mp4 (mov for prores and ffv1) whose time scale equals
the denominator of the film's time base, so that each pts is stored exactly. Timestamps in it count from the
segment's first frame; the join puts them back from the film's table. Encoders run without VBV or ABR (nothing carries
over from frame to frame but prediction), with closed GOPs, and with options that make the parameter sets the same for
any thread count.
"""

from __future__ import annotations

import hashlib
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import cast

import av
import av.error
import av.filter
from av.codec.context import Flags
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType
from av.video.stream import VideoStream

from core.errors import InputError, PlanError
from core.media.encoders import resolve_encoder, try_encoder
from core.media.faults import media_fault
from core.media.planes import repacked
from core.media.priority import same_priority
from core.records import EncoderSettings, MediaIndex, Segment

__all__ = ["EncodedSegment", "SegmentEncoder", "intermediate_format", "resolve_encoder", "try_encoder"]

# libx265 4.2 reads decode times it never wrote when it gets fewer frames than it looks ahead for B-frames.
SHORT_X265 = 16
INTERLACED_CODING = ("libx264", "prores_ks")  # encoders that code fields when told; the others code whole frames
# AVFieldOrder tt and tb, bb and bt. FFmpeg's comment on tb and bt speaks of the display order; its own encoders,
# muxers and QuickTime's `fiel` writers use them for interleaved fields by the first one.
TOP_FIRST = (2, 4)
BOTTOM_FIRST = (3, 5)


@dataclass(frozen=True)
class EncodedSegment:
    """What was written: number of frames, bytes, and the file's SHA-256."""

    frames: int
    size_bytes: int
    sha256: str


def intermediate_format(encoder: str) -> str:
    """Muxer of a segment file: mp4, or where that has no code for the codec mov (prores) and NUT (ffv1)."""
    return {"prores_ks": "mov", "ffv1": "nut"}.get(encoder, "mp4")


def container_options(index: MediaIndex) -> dict[str, str]:
    """Muxer options of a segment file: times as they are."""
    return {
        "video_track_timescale": str(index.time_base.denominator),
        "movflags": "+write_colr",
        "strict": "experimental",
    }


def configure(context: VideoCodecContext, settings: EncoderSettings, index: MediaIndex, threads: int) -> None:
    """Set size, format, colour, aspect, field flags and threads of an encoder that is not open yet."""
    video = index.video
    context.width, context.height = video.width, video.height
    context.pix_fmt = settings.pix_fmt
    context.time_base = index.time_base
    context.framerate = settings.frame_rate
    if video.sample_aspect_ratio:
        context.sample_aspect_ratio = video.sample_aspect_ratio
    context.color_primaries = video.colour.primaries
    context.color_trc = video.colour.transfer
    context.colorspace = video.colour.matrix
    context.color_range = video.colour.range
    context.thread_count = threads
    # Slice threading would cut each picture into as many slices as threads, so x264 gets frame threads only; the
    # intra codecs thread by slice.
    context.thread_type = "AUTO" if settings.encoder in ("prores_ks", "ffv1") else "FRAME"
    options = dict(settings.options)
    if settings.encoder == "libx265" and threads:
        options["x265-params"] = f"{options['x265-params']}:pools={threads}"
    context.options = options
    if field_filter(settings, index):
        context.flags |= Flags.interlaced_dct | Flags.interlaced_me
        context.field_order = video.field_order


def field_filter(settings: EncoderSettings, index: MediaIndex) -> str | None:
    """ "tff" or "bff" where this encoder codes this film's fields, else None."""
    if settings.encoder not in INTERLACED_CODING:
        return None
    return {**dict.fromkeys(TOP_FIRST, "tff"), **dict.fromkeys(BOTTOM_FIRST, "bff")}.get(index.video.field_order)


class FieldMarks:
    """Gives every frame the film's field order, without copying it.

    x264 is reconfigured by the wrapper whenever a frame's flag differs from the last one's, and then codes frames
    that its decoders restore wrongly (seen with lossless settings); films with telecine mix such flags.
    """

    def __init__(self, order: str, settings: EncoderSettings, index: MediaIndex) -> None:
        self._graph = av.filter.Graph()
        source = self._graph.add_buffer(
            width=index.video.width,
            height=index.video.height,
            format=av.VideoFormat(settings.pix_fmt),
            time_base=index.time_base,
        )
        marks = self._graph.add("setfield", order)
        sink = self._graph.add("buffersink")
        self._graph.link_nodes(source, marks, sink).configure()

    def mark(self, frame: av.VideoFrame) -> av.VideoFrame:
        self._graph.push(frame)
        return cast(av.VideoFrame, self._graph.pull())


def restated(packets: list[Packet[VideoStream]]) -> list[Packet[VideoStream]]:
    """All packets of a segment in decode order, their dts made anew: the pts in ascending order, early enough."""
    pts = [cast(int, packet.pts) for packet in packets]
    times = sorted(pts)
    early = max((time - own for time, own in zip(times, pts, strict=True)), default=0)
    for packet, time in zip(packets, times, strict=True):
        packet.dts = time - early
    return packets


class SegmentEncoder:
    """Writes the frames of one segment; a context manager. `close` returns what was written.

    `write` takes frames in presentation order with the film's own pts and does not copy them; it sets the frame's
    pts and picture type, which the caller has no further use for. `PlanError` where a frame's pts is not the one
    the index names, or the count at `close` differs from the plan's.
    """

    def __init__(
        self, path: Path, settings: EncoderSettings, index: MediaIndex, segment: Segment, threads: int = 0
    ) -> None:
        self._path = Path(path)
        self._settings = settings
        self._pts = index.pts[segment.first : segment.end]
        self._durations = index.duration[segment.first : segment.end]
        self._segment = segment
        self._time_base = index.time_base
        self._frames = 0
        self._shape = (index.video.width, index.video.height)
        self._closed = False
        self._held: list[Packet[VideoStream]] | None = None
        if settings.encoder == "libx265" and segment.frames <= SHORT_X265:
            self._held = []
        try:
            self._container = av.open(
                str(self._path),
                "w",
                format=intermediate_format(settings.encoder),
                container_options=container_options(index),
            )
            self._stream = cast(VideoStream, self._container.add_stream(settings.encoder, rate=settings.frame_rate))
            self._stream.time_base = index.time_base
            configure(self._stream.codec_context, settings, index, threads)
            order = field_filter(settings, index)
            self._marks = FieldMarks(order, settings, index) if order else None
        except (av.error.FFmpegError, ValueError, OSError) as error:
            raise media_fault(error, f"cannot start {settings.encoder}", self._path) from error

    def write(self, frame: av.VideoFrame, pts: int) -> None:
        """Encode `frame` (in the settings' pixel format or its full-range twin) shown at `pts`, film time base."""
        if self._frames >= len(self._pts) or int(self._pts[self._frames]) != pts:
            expected = int(self._pts[self._frames]) if self._frames < len(self._pts) else "no more frames"
            raise PlanError(f"segment {self._segment.index}: frame {self._frames} has pts {pts}, expected {expected}")
        if (frame.width, frame.height) != self._shape:
            raise InputError(
                f"the picture size changes to {frame.width}x{frame.height} within the film",
                where=f"frame {self._segment.first + self._frames}",
                hint="cut the film where the size changes and render the parts",
            )
        if frame.format.name != self._settings.pix_fmt:
            frame = repacked(frame, self._settings.pix_fmt)
        # The decoder leaves the source's picture types on the frames; an encoder would take them as orders.
        frame.pict_type = PictureType.NONE
        frame.time_base = self._time_base
        frame.pts = pts - int(self._pts[0])
        try:
            if self._marks is not None:
                frame = self._marks.mark(frame)
            with same_priority() if self._frames == 0 else nullcontext():  # the first frame opens the encoder
                packets = self._stream.encode(frame)
            self._mux(packets)
        except (av.error.FFmpegError, ValueError, OSError) as error:
            raise media_fault(error, f"{self._settings.encoder} failed", self._path) from error
        self._frames += 1

    def _mux(self, packets: list[Packet[VideoStream]]) -> None:
        if self._held is None:
            self._container.mux(packets)
        else:
            self._held += packets

    def close(self) -> EncodedSegment:
        """Flush the encoder, finish the file, and say what it is."""
        try:
            if self._frames:
                self._mux(self._stream.encode(None))
                self._container.mux(restated(self._held or []))
            self._closed = True
            self._container.close()
        except (av.error.FFmpegError, ValueError, OSError) as error:
            raise media_fault(error, f"{self._settings.encoder} failed", self._path) from error
        if self._frames != self._segment.frames:
            raise PlanError(
                f"segment {self._segment.index}: {self._frames} frames written, {self._segment.frames} planned"
            )
        digest = hashlib.sha256()
        with self._path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        return EncodedSegment(self._frames, self._path.stat().st_size, digest.hexdigest())

    def __enter__(self) -> SegmentEncoder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._closed:
            self._closed = True
            try:
                self._container.close()
            except (av.error.FFmpegError, ValueError, OSError):
                if error is None:
                    raise
