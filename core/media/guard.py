"""Opening a film that nobody vouches for: formats and protocols by allow-list, limits before any decoding.

A text file named .mp4 that holds an ffconcat or m3u8 list would make libavformat open other files; image and
raw formats accept nearly anything. So: one regular file, read through the `file` protocol, by one of the
demuxers below, within `Limits`. Every failure is one `InputError`.
"""

from __future__ import annotations

import json
import signal
import stat
import subprocess
import sys
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import av.error
import av.logging
from av.container import InputContainer
from av.video.stream import VideoStream

from core.errors import Busy, InputError, StorageError
from core.media import boxes
from core.media.far import FarPath, as_path

FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts"
TAKEN = "mp4, mov, m4v, mkv, webm, avi, ts or mts"
GEN_PTS = 0x0001  # AVFMT_FLAG_GENPTS
BUFFER_BYTES = 32768  # of libavformat, as it is by default for files of its own
CHILD_ANSWER = "film-probe:"
CLOCK_TIMES = 2.0  # of the processor's seconds: a machine of which it has half still ends it for what it used
_CHILD = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from core.media.child import main; main()"
_QUIET = -8  # AV_LOG_QUIET
ATTACHED_PIC = 1 << 10  # AV_DISPOSITION_ATTACHED_PIC
TIMED_THUMBNAILS = 1 << 11  # AV_DISPOSITION_TIMED_THUMBNAILS


@dataclass(frozen=True)
class Limits:
    """What a film may be at most. `max_frames` is about 100 hours at 60 frames/s."""

    max_width: int = 16384
    max_height: int = 16384
    max_pixels: int = 64 * 1024 * 1024
    max_frames: int = 22_000_000
    max_streams: int = 256
    max_duration_s: Fraction = Fraction(400 * 3600)


LIMITS = Limits()


@dataclass(frozen=True)
class Claims:
    """What a film's headers say of it, before any frame is decoded: coded width and height in pixels, the decoder's
    name, the container's duration in seconds (0.0 where it says none), frames a second and frames (0 where unknown)."""

    width: int
    height: int
    codec: str
    seconds: float
    frames_per_s: float
    frames: int


def check_file(path: Path | str) -> Path:
    """`path` as a readable, regular, non-empty file; `InputError` says which of these it is not."""
    film = as_path(path)
    try:
        status = film.stat()
    except FileNotFoundError:
        raise InputError("no such file", where=str(path), hint="check the path") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"cannot be opened: {reason}", where=str(path), hint="check the path") from None
    if stat.S_ISDIR(status.st_mode):
        raise InputError("is a directory", where=str(path), hint="give the film's file")
    if not stat.S_ISREG(status.st_mode):
        raise InputError("is not a regular file", where=str(path), hint="copy the film to a file first")
    if status.st_size == 0:
        raise InputError("is empty", where=str(path), hint="copy or download it again")
    try:
        with film.open("rb") as file:
            file.read(1)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path), hint="check its permissions") from None
    return film


def open_film(path: Path | str, limits: Limits = LIMITS) -> InputContainer:
    """An open container whose film is within `limits`; the caller closes it.

    Timestamps that libavformat would invent (genpts) are switched off: what a packet says is what the file says.
    """
    film = check_file(path)
    for width, height in boxes.claimed_sizes(film):
        _check_size(film, width, height, limits)
    options = {
        "format_whitelist": FORMATS,
        "protocol_whitelist": "file",
        "max_pixels": str(limits.max_pixels),
        "max_streams": str(limits.max_streams),
    }
    av.logging.set_libav_level(_QUIET)  # what matters is raised or marked; libav's own lines name no frame
    try:
        opened = film.open("rb") if isinstance(film, FarPath) else f"file:{film.absolute()}"
        container = av.open(opened, mode="r", options=options, metadata_errors="replace", buffer_size=BUFFER_BYTES)
    except av.error.FFmpegError as error:
        raise _refusal(film, error) from None
    except UnicodeError:
        raise InputError("its name is not valid text", where=repr(str(path)), hint="rename the file") from None
    try:
        container.flags &= ~GEN_PTS
        stream = film_stream(container)
        _check_limits(film, container, stream, limits)
    except BaseException:
        container.close()
        raise
    return container


def film_stream(container: InputContainer) -> VideoStream:
    """The film: the video stream marked default, else the first one; never cover art. `InputError` when none."""
    where = container.name.removeprefix("file:")
    films = [
        stream for stream in container.streams.video if not int(stream.disposition) & (ATTACHED_PIC | TIMED_THUMBNAILS)
    ]
    if not films:
        pictures = "only cover art" if container.streams.video else "no video"
        raise InputError(f"holds {pictures}", where=where, hint="give a film with a video stream")
    default = [stream for stream in films if int(stream.disposition) & 1]
    stream = (default or films)[0]
    if stream.codec_context is None:
        raise InputError("its video codec is not known here", where=where, hint="convert the film to H.264 first")
    return stream


def claims_of(container: InputContainer, stream: VideoStream) -> Claims:
    """What `container` says of its film `stream`."""
    seconds = container.duration / 1_000_000 if container.duration is not None else 0.0
    rate = stream.average_rate
    context = stream.codec_context
    frames = int(stream.frames or (seconds * rate if rate else 0))
    return Claims(context.width, context.height, context.name, round(seconds, 3), float(rate) if rate else 0.0, frames)


def probe_in_child(path: Path, limits: Limits, processor_s: float) -> Claims:
    """Open a film for the first time, in a child process with limits on memory and time; what its headers say.

    It reads the headers and decodes the first frames; it inherits nothing but the interpreter's import path.
    `InputError` says what the film did where not all went well, `StorageError` that a far one could not be had.
    The child may use the processor for `processor_s`, and more is the film's fault. By the clock it may take
    `CLOCK_TIMES` as long, and for a far film as long again as whoever keeps it may be waited for; then `Busy`, because
    all that a film itself can do is to use the processor.
    """
    imports = json.dumps([entry or str(Path.cwd()) for entry in sys.path])
    far = path if isinstance(path, FarPath) else None
    arguments = [imports, str(path), far.opener if far else "", *_as_arguments(limits)]
    where = str(path)
    longest_s = CLOCK_TIMES * processor_s + (far.wait_s if far else 0.0)
    try:
        done = subprocess.run(
            [sys.executable, "-c", _CHILD, *arguments, str(int(processor_s) + 1)],
            capture_output=True,
            timeout=longest_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        told = f"opening it took longer than {longest_s:g} s"
        hint = "check the network" if far else "wait until this machine has less to do"
        raise Busy(told, where=where, hint=f"{hint}, then run the same command again") from None
    except ValueError:
        raise InputError("its path holds a zero byte", where=repr(where), hint="check the path") from None
    for line in done.stdout.decode("utf-8", "replace").splitlines():
        if line.startswith(CHILD_ANSWER):
            answer = json.loads(line[len(CHILD_ANSWER) :])
            if "claims" in answer:
                return Claims(**answer["claims"])
            kind = InputError if answer["refused"] else StorageError
            raise kind(answer["what"], where=answer["where"], hint=answer["hint"])
    if done.returncode == -signal.SIGXCPU:
        told = f"opening it used the processor for more than {processor_s:g} s"
        raise InputError(told, where=where, hint="the file is damaged or hostile")
    cause = f"signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
    raise InputError(
        f"opening it ended the decoder ({cause})", where=where, hint="the file is damaged, hostile or too large"
    )


def _as_arguments(limits: Limits) -> list[str]:
    return [str(limits.max_width), str(limits.max_height), str(limits.max_pixels), str(limits.max_streams)]


def _check_limits(film: Path, container: InputContainer, stream: VideoStream, limits: Limits) -> None:
    width, height = stream.codec_context.width, stream.codec_context.height
    where = str(film)
    if width <= 0 or height <= 0 or not stream.codec_context.pix_fmt:
        raise InputError(
            "no picture could be read from its video stream", where=where, hint="the file is damaged or not a film"
        )
    _check_size(film, width, height, limits)
    if len(container.streams) > limits.max_streams:
        raise InputError(
            f"claims {len(container.streams)} streams, the limit is {limits.max_streams}",
            where=where,
            hint="copy the streams you need into another file",
        )
    if container.duration is not None and Fraction(container.duration, 1_000_000) > limits.max_duration_s:
        raise InputError(
            f"claims {container.duration // 3_600_000_000} hours, the limit is {limits.max_duration_s // 3600}",
            where=where,
            hint="its timestamps are broken; remux it first",
        )


def _check_size(film: Path, width: int, height: int, limits: Limits) -> None:
    if width > limits.max_width or height > limits.max_height or width * height > limits.max_pixels:
        raise InputError(
            f"claims {width}x{height} pixels, the limit is {limits.max_pixels // 1024 // 1024} Mpx",
            where=str(film),
            hint="scale the film down first",
        )


def _refusal(film: Path, error: Exception) -> InputError:
    """Why libavformat did not take the file, in words a person can act on."""
    where = str(film)
    with film.open("rb") as file:
        head = file.read(4096)
    if head[4:8] in {b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"} and not _has_moov(film):
        return InputError(
            "has no moov box: the recording was not finished or the copy is truncated",
            where=where,
            hint="copy it again, or repair it with a recovery tool",
        )
    kind = _kind_by_magic(head)
    if kind:
        return InputError(f"is {kind}, not a film", where=where, hint=f"give a film as {TAKEN}")
    reason = getattr(error, "strerror", None) or str(error)
    return InputError(f"is not a film that can be read ({reason.lower()})", where=where, hint=f"give a film as {TAKEN}")


def _has_moov(film: Path) -> bool:
    """Whether the top level of an ISO base media file holds a whole moov box."""
    size = film.stat().st_size
    with film.open("rb") as file:
        return any(kind == b"moov" and end <= size for kind, _, end in boxes.iso_boxes(file, 0, size))


_MAGIC = (
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"\x89PNG", "a PNG image"),
    (b"GIF8", "a GIF image"),
    (b"BM", "a BMP image"),
    (b"II*\x00", "a TIFF image"),
    (b"MM\x00*", "a TIFF image"),
    (b"ffconcat", "an ffconcat list"),
    (b"#EXTM3U", "an m3u8 playlist"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"FLV", "an FLV film"),
    (b"\x00\x00\x01\xba", "an MPEG program stream"),
    (b"\x30\x26\xb2\x75", "an ASF/WMV film"),
    (b"OggS", "an Ogg file"),
    (b"ID3", "an audio file"),
    (b"fLaC", "an audio file"),
)


def _kind_by_magic(head: bytes) -> str:
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "a WebP image"
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        return "an audio file"
    text = head.lstrip(b"\xef\xbb\xbf")
    if text and all(byte >= 32 or byte in b"\t\r\n\f" for byte in text[:512]):
        return "a text file"
    return ""
