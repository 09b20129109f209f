"""What each container carries: chosen by the output's name, checked before any work starts.

Support of a codec is asked of the muxer itself; tables here hold what muxers accept but do not keep (private data in
mpegts), and what travels in another shape (cover art, attachments, timecode, chapter tracks).
"""

from __future__ import annotations

import io
from pathlib import Path

import av
import av.error
import numpy as np

from core.errors import InputError
from core.media.extras import SECOND_LAYER, carriers
from core.media.tags import MOV_FAMILY, film_tags
from core.media.transport import shown_text, stream_pids
from core.records import EncoderSettings, MediaIndex, StreamInfo

BY_SUFFIX = {
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".mov": "mov",
    ".qt": "mov",
    ".mkv": "matroska",
    ".webm": "webm",
    ".avi": "avi",
    ".ts": "mpegts",
    ".mts": "mpegts",
    ".m2ts": "mpegts",
}
SUFFIX = {"mp4": ".mp4", "mov": ".mov", "matroska": ".mkv", "webm": ".webm", "avi": ".avi", "mpegts": ".ts"}
MOST_EMPTY = 32  # places without a frame that an AVI file may hold besides one a frame
# FFmpeg's muxer writes these into mp4 only (movenc.c: "only supported in MP4"), although it has tags for them in mov.
_MP4_ONLY = {"vp8", "vp9", "av1", "flac", "opus", "truehd"}
COVER_CODECS = ("mjpeg", "png", "bmp")

# What mpegts has a stream type or descriptor for; the muxer itself takes anything, as private data nobody can read.
_TS_VIDEO = ("h264", "hevc", "mpeg2video", "mpeg1video", "mpeg4", "vc1", "cavs", "dirac")
_TS_AUDIO = ("aac", "aac_latm", "mp2", "mp3", "ac3", "eac3", "dts", "truehd", "opus", "s302m")
_TS_OTHER = ("dvb_subtitle", "dvb_teletext", "hdmv_pgs_subtitle", "klv", "timed_id3", "scte_35")
_TS_CODECS = frozenset((*_TS_VIDEO, *_TS_AUDIO, *_TS_OTHER))
_WEBM_CODECS = frozenset(("vp8", "vp9", "av1", "vorbis", "opus", "webvtt"))
TIMED_TEXT_TRACK = ("bin_data",)  # what a QuickTime chapter track is read as


def container_for(output: Path, index: MediaIndex) -> str:
    """Muxer name for `output` by its suffix; the source's own container where there is none."""
    suffix = Path(output).suffix.lower()
    if suffix in BY_SUFFIX:
        return BY_SUFFIX[suffix]
    if suffix:
        raise InputError(f"no container for the name {suffix}", where=str(output), hint=_known())
    return source_container(index)


def source_container(index: MediaIndex) -> str:
    """The muxer that writes what the source is."""
    names = index.format.split(",")
    if "mov" in names:
        return "mov" if index.tags.get("major_brand", "").strip() == "qt" else "mp4"
    if "matroska" in names:
        return "matroska"
    return next((name for name in ("mpegts", "avi") if name in names), "matroska")


def _known() -> str:
    return "one of " + " ".join(BY_SUFFIX)


def is_chapter_track(stream: StreamInfo, index: MediaIndex) -> bool:
    """A QuickTime text track that only names the chapters; the muxer writes it anew from the chapters."""
    named = stream.kind == "data" and stream.codec in TIMED_TEXT_TRACK
    return named and bool(index.chapters) and stream.packets in (0, len(index.chapters))


def is_timecode_track(stream: StreamInfo) -> bool:
    """A QuickTime tmcd track; the muxer writes it anew from the `timecode` tag."""
    return stream.kind == "data" and stream.codec in ("", "none") and "timecode" in stream.tags


def is_unknown_data(stream: StreamInfo) -> bool:
    """Timed data of a kind FFmpeg has no name for (the `mebx` tracks of phones): no muxer here can write it."""
    return stream.kind in ("data", "unknown") and stream.codec in ("", "none") and not is_timecode_track(stream)


def is_cover(stream: StreamInfo, index: MediaIndex) -> bool:
    """A still picture beside the film: marked as attached, or a second video stream of one picture (what some tools
    make of cover art in Matroska)."""
    single = stream.kind == "video" and stream.packets == 1 and stream.codec in COVER_CODECS
    return stream.attached_pic or (single and stream.index != index.video.stream_index)


def is_rewritten(stream: StreamInfo, index: MediaIndex) -> bool:
    return is_chapter_track(stream, index) or is_timecode_track(stream)


def carries(container: str, kind: str, codec: str) -> bool:
    """Whether `container` can hold a copied stream of that kind and codec so that it can be read back."""
    if kind == "attachment":
        return container == "matroska"
    if container in ("mpegts", "webm"):
        return codec in (_TS_CODECS if container == "mpegts" else _WEBM_CODECS)
    kinds = ("video", "audio", "subtitle", "data") if container in MOV_FAMILY else ("video", "audio", "subtitle")
    return bool(codec) and kind in kinds and _muxer_takes(container, codec)


def _muxer_takes(container: str, codec: str) -> bool:
    if container == "mov" and codec in _MP4_ONLY:
        return False
    try:
        with av.open(io.BytesIO(), "w", format=container) as out:
            out.add_mux_stream(codec)
    except (ValueError, av.error.FFmpegError):
        return False
    return True


def _carries_stream(container: str, stream: StreamInfo, index: MediaIndex) -> bool:
    if is_rewritten(stream, index) or is_unknown_data(stream):
        return True
    if is_cover(stream, index):
        # FFmpeg keeps a cover in iTunes' way, which QuickTime's own metadata have no place for.
        return container in ("mp4", "matroska") and stream.codec in COVER_CODECS
    return carries(container, stream.kind, stream.codec)


def check_output(index: MediaIndex, settings: EncoderSettings, container: str) -> tuple[str, ...]:
    """Notes for the report; `InputError` names what `container` cannot carry, and a container that can."""
    notes: list[str] = []
    if index.video.hidden_alpha:
        raise InputError(
            f"the {index.video.codec} picture has an alpha plane, which would be lost here",
            where=f"stream {index.video.stream_index}",
            hint="convert it to ProRes 4444 (.mov) or FFV1 (.mkv) with the decoder libvpx first, or remove the alpha",
        )
    if SECOND_LAYER in index.video.extras:
        raise InputError(
            "the film holds a second layer of pictures (MV-HEVC), which would be lost here",
            where=f"stream {index.video.stream_index}",
            hint="convert it to one picture for each eye, or one beside the other, first",
        )
    others = [stream for stream in index.streams if stream.index != index.video.stream_index]
    for stream in others:
        if not _carries_stream(container, stream, index):
            raise InputError(
                f"{container} cannot carry stream {stream.index} ({stream.kind} {stream.codec or stream.codec_tag})",
                where="output",
                hint=_able(index, settings, others, container),
            )
        if is_unknown_data(stream):
            notes.append(f"stream {stream.index} (unknown data, {stream.packets} packets) is left out")
        if is_cover(stream, index) and not stream.attached_pic:
            notes.append(f"stream {stream.index}, one {stream.codec} picture, becomes an attached picture")
        if is_timecode_track(stream) and container not in MOV_FAMILY:
            notes.append(f"the timecode of stream {stream.index} is kept as the tag `timecode`")
    if index.video.frame_packing and settings.encoder != "libx264":
        notes.append(f"the 3D layout in the picture's own data is not carried by {settings.encoder}")
    notes += _table_notes(index, settings, others, container)
    if reason := _fault(index, settings, container):
        raise InputError(reason, where="output", hint=_able(index, settings, others, container))
    if index.chapters and container not in (*MOV_FAMILY, "matroska", "webm"):
        raise InputError(
            f"{container} cannot carry chapters", where="output", hint=_able(index, settings, others, container)
        )
    return tuple(notes)


def _table_notes(
    index: MediaIndex, settings: EncoderSettings, others: list[StreamInfo], container: str
) -> tuple[str, ...]:
    """What becomes of a transport stream's programs and of the film's tags; `InputError` where programs would merge."""
    if container == "mpegts" and (lost := sorted(film_tags(index.tags))):
        return (f"mpegts carries no tags: {', '.join(lost)} left out",)
    if index.transport is None:
        return ()
    programs = index.transport.programs
    names = ", ".join(shown_text(program.name) or f"number {program.number}" for program in programs)
    if container != "mpegts":
        several = len(programs) > 1
        what = (
            f"{len(programs)} programs ({names}) become one film" if several else f"its service ({names}) is not named"
        )
        return (f"{what} in {container}",)
    if len(programs) > 1:
        raise InputError(
            f"mpegts with {len(programs)} programs ({names}) cannot be written here: they would become one",
            where="output",
            hint=f"take one program out of the film first, or {_able(index, settings, others, container)}",
        )
    pids = stream_pids(index)
    return tuple(
        f"stream {stream.index} shares PID {stream.pid:#x} with another and gets {pids[stream.index]:#x}"
        for stream in index.streams
        if pids[stream.index] != stream.pid
    )


def _able(index: MediaIndex, settings: EncoderSettings, others: list[StreamInfo], container: str) -> str:
    for other in (source_container(index), "matroska", "mov", "mp4", "mpegts"):
        if other == container or (index.chapters and other in ("avi", "mpegts")):
            continue
        if other == "mpegts" and index.transport is not None and len(index.transport.programs) > 1:
            continue
        streams_fit = all(_carries_stream(other, stream, index) for stream in others)
        if streams_fit and not _fault(index, settings, other) and carries(other, "video", settings.codec):
            return f"name the output {SUFFIX[other]}"
    return "no container here carries all of it: remove a stream from the film first"


def _fault(index: MediaIndex, settings: EncoderSettings, container: str) -> str | None:
    """Why the container cannot hold the film as it is; None where it can."""
    return (
        _time_fault(index, container) or _extras_fault(index, container) or _picture_fault(index, settings, container)
    )


def _time_fault(index: MediaIndex, container: str) -> str | None:
    """Why the film's timestamps do not fit the container exactly; None where they do."""
    base = index.time_base
    clock = {"matroska": 1000, "webm": 1000, "mpegts": 90000}.get(container)
    if clock is not None:
        step = base * clock
        if not bool(np.all(index.pts * step.numerator % step.denominator == 0)):
            return f"{container} counts 1/{clock} s and cannot hold this film's timestamps ({base} s a tick)"
        wraps = container == "mpegts" and "mpegts" in index.format  # below zero is then before the 33-bit clock's wrap
        return f"{container} cannot hold timestamps below zero" if int(index.pts[0]) < 0 and not wraps else None
    if container == "avi":
        ticks = tick_of_rate(index)
        if int(index.pts[0]) < 0 or int(index.pts[-1]) // ticks >= 2 * index.frames + MOST_EMPTY:
            return "avi has one frame rate; this film does not"
    elif base.denominator > 2**31 - 1:
        return f"{container} cannot count in {base} s"
    return None


def _picture_fault(index: MediaIndex, settings: EncoderSettings, container: str) -> str | None:
    """What the container cannot say of the picture or of the sound's place beside it."""
    matrix = index.video.display_matrix
    if matrix is not None and container in ("mpegts", "avi"):
        return f"{container} cannot carry the film's rotation ({index.video.rotation} degrees)"
    if matrix is not None and container in ("matroska", "webm") and not _is_rotation(matrix):
        return f"{container} cannot carry the film's display matrix, which is more than a rotation"
    if container == "avi" and settings.codec == "ffv1" and index.video.sample_aspect_ratio not in (0, 1):
        return "avi cannot carry the film's sample aspect ratio"
    fields = index.video.field_order > 1 and settings.codec != "h264"
    if fields and (container in ("webm", "avi") or (container, settings.codec) == ("mpegts", "hevc")):
        return f"{settings.codec} in {container} cannot carry the film's field order"
    sound = any(s.kind == "audio" for s in index.streams)
    if container == "avi" and sound and "avi" not in index.format.split(","):
        return "avi keeps no start time of sound"
    return None


def _extras_fault(index: MediaIndex, container: str) -> str | None:
    """3D, 360 degrees and crops are carried as the bytes that they are, so only between containers of one family."""
    names = sorted(index.video.extras)
    if names and container not in carriers(index.format):
        return f"{container} cannot carry how the film's picture is to be shown ({', '.join(names)})"
    return None


def _is_rotation(matrix: tuple[int, ...]) -> bool:
    """A pure rotation: columns of equal length at a right angle, not mirrored, nothing moved."""
    a, b, u, c, d, v, x, y, w = matrix
    return a == d and b == -c and (u, v, x, y, w) == (0, 0, 0, 0, 1 << 30)


def tick_of_rate(index: MediaIndex) -> int:
    """The greatest step, in ticks of the film's time base, of which every frame time is a multiple: AVI's frame
    period. Places without a frame are stored as empty packets."""
    return int(np.gcd.reduce(index.pts)) or max(int(index.duration[0]), 1)
