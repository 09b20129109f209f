"""Write the packets of a segment as they are into a segment file, which the join takes like an encoded one."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path

import av
import av.error
import numpy as np
from av.packet import Packet
from av.stream import Stream

from core.errors import CopyFailed, StorageError
from core.media.bits import HeaderError
from core.media.configuration import configuration
from core.media.encode import EncodedSegment, container_options, intermediate_format
from core.media.faults import media_fault
from core.media.guard import film_stream, open_film
from core.media.nal import HEVC, LENGTH_BYTES, packed, units
from core.media.scan import Track, scan, segment_packets, track_of
from core.records import EncoderSettings, MediaIndex, Segment, SegmentReceipt, WorkOrder

# The sample entry of which the samples may hold parameter sets (14496-15, 5.4.2 and 8.4.1).
IN_BAND_TAG = {"h264": "avc3", "hevc": "hev1"}


def copy_order(
    source: Path, index: MediaIndex, order: WorkOrder, output: Path, heartbeat: Callable[[int], None]
) -> SegmentReceipt:
    """Copy the order's segment; the receipt's `file`, `attempt` and `models` are for the caller to fill in."""
    started = time.monotonic()
    segment = order.segment
    made = copy_segment(source, index, segment, order.encoder, output, heartbeat)
    return SegmentReceipt(
        order_id=order.id,
        segment=segment.index,
        file="",
        sha256=made.sha256,
        size_bytes=made.size_bytes,
        frames=made.frames,
        pts_first=int(index.pts[segment.first]),
        pts_last=int(index.pts[segment.end - 1]),
        faces_replaced=0,
        faces_skipped={},
        seconds={"copy": time.monotonic() - started},
        provider="none",
        device="cpu",
        attempt=0,
        copied=True,
    )


def copy_segment(
    source: Path,
    index: MediaIndex,
    segment: Segment,
    settings: EncoderSettings,
    output: Path,
    heartbeat: Callable[[int], None] | None = None,
) -> EncodedSegment:
    """Copy the segment's packets to `output`, NAL units with LENGTH_BYTES of length before each.

    The file's header holds all parameter sets that are in force; its tag says whether the packets hold any too.
    `heartbeat` is called with the number of frames copied. `CopyFailed` where the segment cannot be copied;
    `core.media.smart` tells beforehand.
    """
    try:
        track = track_of(source)
        extradata, tag = _header(source, index, segment, track)
        count = _write(source, index, segment, settings, output, track, extradata, tag, heartbeat or (lambda _: None))
    except HeaderError as error:
        raise CopyFailed(f"segment {segment.index} cannot be copied: {error}", where=str(source)) from error
    except (av.error.FFmpegError, ValueError, OSError) as error:
        fault = media_fault(error, "cannot copy a segment", output)
        if isinstance(fault, StorageError):  # there is no room for an encoded segment either
            raise fault from error
        raise CopyFailed(fault.what, where=fault.where) from error
    if count != segment.frames:
        raise CopyFailed(f"segment {segment.index}: {count} frames copied, {segment.frames} planned", where=str(source))
    with output.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return EncodedSegment(count, output.stat().st_size, digest)


def _header(source: Path, index: MediaIndex, segment: Segment, track: Track) -> tuple[bytes, str]:
    """(extradata, tag) of the segment file."""
    if track.sets is None:
        return track.extradata, track.tag
    found = scan(source, index, segment, track)
    if found.reason or found.sets is None:
        raise HeaderError(found.reason)
    plain = "hvc1" if track.codec == HEVC else "avc1"
    return configuration(found.sets), IN_BAND_TAG[track.codec] if found.inband else plain


def _write(
    source: Path,
    index: MediaIndex,
    segment: Segment,
    settings: EncoderSettings,
    output: Path,
    track: Track,
    extradata: bytes,
    tag: str,
    heartbeat: Callable[[int], None],
) -> int:
    pts = index.pts[segment.first : segment.end] - int(index.pts[segment.first])
    stored = pts[np.argsort(index.packet[segment.first : segment.end], kind="stable")]
    early = int(np.max(pts - stored, initial=0))
    count = 0
    with (
        open_film(source) as film_in,
        av.open(
            str(output),
            "w",
            format=intermediate_format(settings.encoder),
            container_options=container_options(index),
        ) as out,
    ):
        stream = out.add_stream_from_template(film_stream(film_in), opaque=True)
        stream.time_base = index.time_base
        if extradata:
            stream.codec_context.extradata = extradata
        if track.sets is not None or settings.codec == "prores":
            stream.codec_context.codec_tag = tag
        reframed = track.sets is not None and track.length_bytes != LENGTH_BYTES
        for ordinal, packet in segment_packets(source, index, segment):
            data = bytes(packet)
            copy: Packet[Stream] = Packet(packed(units(data, track.length_bytes)) if reframed else data)
            copy.stream, copy.time_base = stream, index.time_base
            copy.pts, copy.dts = int(pts[ordinal - segment.first]), int(pts[count]) - early
            copy.duration = int(index.duration[ordinal])
            copy.is_keyframe = packet.is_keyframe
            out.mux_one(copy)
            count += 1
            heartbeat(count)
    return count
