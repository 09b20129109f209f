"""Join the segments into the film: the picture's timestamps from the table, everything else copied from the source.

One pass over the source's other streams and over the segments, interleaved by time, so memory does not grow with the
film. The k-th picture packet in decode order gets pts = table[rank of its frame] and dts = table[k - D], with D the
encoder's reorder depth; the first D are extrapolated below the start (media.md, law 5). The encoders' own dts are not
used: before a gap in the timestamps they collide at the joint.
"""

from __future__ import annotations

import heapq
import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import lcm
from pathlib import Path

import av
import av.error
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from core.errors import PlanError
from core.media import transport
from core.media.annexb import parameter_sets
from core.media.containers import is_cover, is_rewritten, is_unknown_data, tick_of_rate
from core.media.ebml import PADDING_OPTIONS, display_fields, display_size, write_video_fields
from core.media.encode import BOTTOM_FIRST, TOP_FIRST
from core.media.extras import CROPS, ELEMENT_IDS
from core.media.faults import media_fault
from core.media.guard import open_film
from core.media.movboxes import mastered_template, write_sample_boxes, write_tags
from core.media.pieces import Pieces, check_segments, film_packets
from core.media.sample import encoded_sample
from core.media.tags import MOV_FAMILY, film_tags, stream_tags
from core.records import EncoderSettings, MediaIndex, Segment, StreamInfo

COVER_TYPES = {
    "mjpeg": ("image/jpeg", "cover.jpg"),
    "png": ("image/png", "cover.png"),
    "bmp": ("image/bmp", "cover.bmp"),
}
# Sample entries whose samples hold no parameter sets, and may hold some (ISO/IEC 14496-15, 5.4.2 and 8.4.1). A film
# that was written under the first in spite of such samples stays under it: players of Apple open no other.
SAMPLE_ENTRIES = {"h264": ("avc1", "avc3"), "hevc": ("hvc1", "hev1")}
MAX_MOVIE_TIMESCALE = 2**31 - 1
MOST_REORDERED = 32  # packets whose dts may be missing at the start of a stream; H.264 and H.265 reorder 16 at most


def join_film(
    source: Path,
    index: MediaIndex,
    settings: EncoderSettings,
    segments: Sequence[tuple[Segment, Path]],
    output: Path,
    container: str,
    *,
    tags: Mapping[str, str] | None = None,
    hashes: Mapping[int, str] | None = None,
    copies: Collection[int] = (),
) -> None:
    """Write `output` (its name is the caller's, temporary) as `container` from the segments and the source.

    `tags` are added to the film's own; `hashes` are the sha256 that the segments' files must have, by segment index:
    `StorageError` where one is another by now. `copies` are the indices of the segments that are copies of the source.
    `PlanError` where the segments do not make up the table, or the encoded ones were not made by one encoder with one
    set of parameters.
    """
    ordered = sorted(segments, key=lambda pair: pair[0].first)
    pieces = check_segments(index, ordered, copies)
    service = index.transport if container == "mpegts" else None
    fields = _video_fields(index, settings, container)
    options = mux_options(index, container) | (PADDING_OPTIONS if fields else {})
    wanted = {**film_tags(index.tags), **(tags or {})}
    try:
        with (
            open_film(source) as film_in,
            _template(pieces, settings, index) as first,
            av.open(
                str(output), "w", format=container, container_options=options, metadata_errors="surrogateescape"
            ) as out,
        ):
            out.metadata.update(wanted | (transport.service_tags(service) if service else {}))
            plan = _streams(source, film_in, first, out, pieces, index=index, settings=settings, container=container)
            if index.chapters:
                out.set_chapters(
                    [
                        {"id": c.id, "start": c.start, "end": c.end, "time_base": c.time_base, "metadata": dict(c.tags)}
                        for c in index.chapters
                    ]
                )
            out.start_encoding()
            film = film_packets(
                index,
                ordered,
                pieces,
                plan.film,
                container=container,
                hashes=hashes or {},
                copies=copies,
                bare=container in MOV_FAMILY and not _is_mov(index),
            )
            if container == "avi" and int(index.pts[0]) > 0:
                out.mux_one(_nothing(plan.film, index))
            for packet in heapq.merge(film, _copied_packets(film_in, plan), key=_time):
                out.mux_one(packet)
        if container in MOV_FAMILY:
            write_tags(output, wanted)
            if index.video.extras:
                boxes = {name: bytes.fromhex(value) for name, value in index.video.extras.items()}
                beside = boxes.pop("uuid", b"")
                write_sample_boxes(output, plan.film.index, b"".join(boxes.values()), beside)
        elif fields:
            before = [s for s in index.streams[: index.video.stream_index] if s.kind == "video"]
            write_video_fields(output, sum(1 for s in before if not is_cover(s, index)), fields)
    except (av.error.FFmpegError, ValueError, OSError) as error:
        raise media_fault(error, "cannot join the film", output) from error


@dataclass(frozen=True)
class _Plan:
    """Output streams: the film's, and by source stream index the copied ones."""

    film: Stream
    copied: dict[int, Stream]


def mux_options(index: MediaIndex, container: str) -> dict[str, str]:
    """Muxer options under which timestamps are written as they are."""
    options = {"avoid_negative_ts": "disabled", "strict": "experimental"}
    if container in MOV_FAMILY:
        # Edit lists count in the movie's time scale: with a common multiple a start offset is exact in every track.
        scales = {index.time_base.denominator}
        scales |= {s.time_base.denominator for s in index.streams if s.kind in ("audio", "video", "subtitle")}
        movie = lcm(*scales)
        options["video_track_timescale"] = str(index.time_base.denominator)
        options["movie_timescale"] = str(movie if movie <= MAX_MOVIE_TIMESCALE else index.time_base.denominator)
    elif container in ("matroska", "webm"):
        options["default_mode"] = "passthrough"
    elif container == "mpegts":
        options |= {"mpegts_copyts": "1", "max_delay": "0", "mpegts_m2ts_mode": "0"}
        options |= transport.mux_options(index.transport) if index.transport else {}
    return options


def _is_mov(index: MediaIndex) -> bool:
    return "mov" in index.format.split(",")


def _nothing(stream: Stream, index: MediaIndex) -> Packet[Stream]:
    """An empty packet at time zero: the AVI muxer fills gaps with such, but none before the first packet."""
    packet: Packet[Stream] = Packet(0)
    packet.stream, packet.time_base = stream, index.time_base
    packet.pts = packet.dts = 0
    return packet


def _shape_apart(index: MediaIndex, settings: EncoderSettings, container: str) -> tuple[int, int] | None:
    """The display size, where Matroska must state it because the codec does not."""
    video = index.video
    if (
        container not in ("matroska", "webm")
        or settings.codec in ("h264", "hevc")
        or video.sample_aspect_ratio in (0, 1)
    ):
        return None
    return display_size(video.width, video.height, video.sample_aspect_ratio)


def _video_fields(index: MediaIndex, settings: EncoderSettings, container: str) -> dict[int, bytes]:
    """Elements of Matroska's Video that the muxer cannot be told: a display size, and the source's own extras."""
    if container not in ("matroska", "webm"):
        return {}
    extras = {ELEMENT_IDS[name]: bytes.fromhex(value) for name, value in index.video.extras.items()}
    shape = None if extras.keys() & CROPS.keys() else _shape_apart(index, settings, container)
    return (display_fields(shape) if shape else {}) | extras


def _streams(
    source: Path,
    film_in: InputContainer,
    first: InputContainer,
    out: OutputContainer,
    pieces: Pieces,
    *,
    index: MediaIndex,
    settings: EncoderSettings,
    container: str,
) -> _Plan:
    """Create the output's streams in the source's order."""
    copied: dict[int, Stream] = {}
    film: Stream | None = None
    pids = transport.stream_pids(index) if container == "mpegts" else {}
    for info in index.streams:
        stream = film_in.streams[info.index]
        if info.index == index.video.stream_index:
            film = _film_stream(out, first, pieces, index, settings, container)
            _describe(film, info, container)
        elif is_rewritten(info, index) or is_unknown_data(info):
            continue
        elif info.kind == "attachment":
            _describe(out.add_stream_from_template(stream), info, container)
        elif is_cover(info, index) and container == "matroska":
            _attach_cover(out, source, info)
        else:
            new = out.add_stream_from_template(stream, opaque=True)
            new.time_base = info.time_base
            _describe(new, info, container)
            if is_cover(info, index):
                new.disposition = Disposition(info.disposition | Disposition.attached_pic)
            copied[info.index] = new
    if film is None:
        raise PlanError("the index has no film stream")
    for number, pid in pids.items():
        if number in copied:
            copied[number].id = pid
        elif number == index.video.stream_index:
            film.id = pid
    return _Plan(film, copied)


def _template(pieces: Pieces, settings: EncoderSettings, index: MediaIndex) -> InputContainer:
    """A file whose video stream is like the film's: an encoded segment, or where all are copies a frame of its own."""
    if pieces.template is not None:
        return av.open(str(pieces.template))
    return av.open(io.BytesIO(encoded_sample(settings, index).file), "r")


def _film_stream(
    out: OutputContainer,
    first: InputContainer,
    pieces: Pieces,
    index: MediaIndex,
    settings: EncoderSettings,
    container: str,
) -> Stream:
    video = index.video
    template: Stream = first.streams.video[0]
    if video.mastering is not None:
        template = mastered_template(first, video.mastering).streams.video[0]
    stream = out.add_stream_from_template(template, opaque=True)
    assert isinstance(stream, VideoStream)
    # AVI counts frames: its time base is the frame period.
    stream.time_base = index.time_base * (tick_of_rate(index) if container == "avi" else 1)
    context = stream.codec_context
    context.framerate = settings.frame_rate
    if video.sample_aspect_ratio:
        context.sample_aspect_ratio = video.sample_aspect_ratio
    context.color_primaries = video.colour.primaries
    context.color_trc = video.colour.transfer
    context.colorspace = video.colour.matrix
    context.color_range = video.colour.range
    if video.field_order in TOP_FIRST + BOTTOM_FIRST:
        context.field_order = video.field_order
    if pieces.extradata:
        context.extradata = pieces.extradata
    if settings.codec in SAMPLE_ENTRIES and container in MOV_FAMILY:
        plain, in_band = SAMPLE_ENTRIES[settings.codec]
        named = index.streams[video.stream_index].codec_tag == in_band and _is_mov(index)
        context.codec_tag = in_band if pieces.inband and named else plain
    elif settings.codec == "h264" and container == "avi":
        context.extradata = parameter_sets(bytes(template.codec_context.extradata or b""))
    elif settings.codec == "prores":
        context.codec_tag = first.streams.video[0].codec_context.codec_tag  # names the profile: apcn, apch, ap4h
    if video.display_matrix is not None:
        stream.set_display_matrix(video.display_matrix)
    return stream


def _describe(stream: Stream, info: StreamInfo, container: str) -> None:
    stream.disposition = Disposition(info.disposition)
    stream.metadata.clear()
    stream.metadata.update(stream_tags(info.tags, container))


def _attach_cover(out: OutputContainer, source: Path, info: StreamInfo) -> None:
    """Matroska keeps pictures as attachments; the demuxer reads them back as attached pictures."""
    mime, name = COVER_TYPES[info.codec]
    with open_film(source) as again:
        data = next(bytes(p) for p in again.demux(again.streams[info.index]) if p.size)
    new = out.add_attachment(info.tags.get("filename", name), info.tags.get("mimetype", mime), data)
    new.metadata.update({k: v for k, v in info.tags.items() if k not in ("filename", "mimetype")})


def _copied_packets(film_in: InputContainer, plan: _Plan) -> Iterator[Packet[Stream]]:
    """Packets of the copied streams as they are. Where the source states no dts (the first packets of a reordered
    stream in Matroska) it is counted back from the first one stated."""
    streams = [film_in.streams[i] for i in plan.copied]
    if not streams:
        return
    waiting: dict[int, list[Packet[Stream]]] = {i: [] for i in plan.copied}
    started: set[int] = set()
    for packet in film_in.demux(streams):
        if packet.size == 0 and packet.pts is None and packet.dts is None:
            continue
        number = packet.stream_index
        held = waiting[number]
        if packet.dts is None and (packet.stream.type != "video" or number in started):
            packet.dts = packet.pts
        packet.stream = plan.copied[number]
        held.append(packet)
        if packet.dts is None and len(held) <= MOST_REORDERED:
            continue
        started.add(number)
        yield from _counted_back(held)
        held.clear()
    for held in waiting.values():
        yield from _counted_back(held)


def _counted_back(packets: list[Packet[Stream]]) -> list[Packet[Stream]]:
    """`packets` in decode order, those without dts given one before that of the packet that follows."""
    stated = packets[-1].dts if packets else None
    if stated is None:
        stated = min((p.pts for p in packets if p.pts is not None), default=0)
    for packet in reversed(packets):
        if packet.dts is None:
            stated -= max(packet.duration or 1, 1)
            packet.dts = stated
        stated = packet.dts
    return packets


def _time(packet: Packet[Stream]) -> float:
    """Where a packet goes in the file. Only the interleaving depends on it, never a timestamp."""
    at = packet.dts if packet.dts is not None else packet.pts
    return float((at or 0) * packet.time_base)
