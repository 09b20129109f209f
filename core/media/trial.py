"""Decoders tried for real: a frame is encoded, then decoded by the decoder in question."""

from __future__ import annotations

import io
from typing import cast

import av
import numpy as np
from av.video.stream import VideoStream

from core.media.priority import same_priority

# decoder -> an encoder that makes its input, its pixel format, and a container for it
_MAKERS = {
    "h264": ("libx264", "yuv420p", "mp4"),
    "hevc": ("libx265", "yuv420p", "mp4"),
    "av1": ("libsvtav1", "yuv420p", "mp4"),
    "vp9": ("libvpx-vp9", "yuv420p", "webm"),
    "vp8": ("libvpx", "yuv420p", "webm"),
    "prores": ("prores_ks", "yuv422p10le", "mov"),
    "ffv1": ("ffv1", "yuv420p", "matroska"),
    "mpeg4": ("mpeg4", "yuv420p", "mp4"),
    "mpeg2video": ("mpeg2video", "yuv420p", "matroska"),
    "mjpeg": ("mjpeg", "yuvj420p", "matroska"),
}

_FRAMES = 4  # libx265 4.2 gives undefined dts when it is flushed after fewer frames than its reorder depth


def _quiet(encoder: str) -> dict[str, str]:
    return {"x265-params": "log-level=none"} if encoder == "libx265" else {}


def try_decoder(name: str) -> str | None:
    """None when a frame made for decoder `name` comes back with its size; otherwise the reason, in one line."""
    encoder, pix_fmt, container = _MAKERS[name]
    buffer = io.BytesIO()
    try:
        with same_priority(), av.open(buffer, "w", format=container) as film:
            stream = cast(VideoStream, film.add_stream(encoder, rate=25, options=_quiet(encoder)))
            stream.width, stream.height, stream.pix_fmt = 128, 96, pix_fmt
            grey = np.full((96, 128, 3), 128, np.uint8)
            for pts in range(_FRAMES):
                frame = av.VideoFrame.from_ndarray(grey, format="rgb24").reformat(format=pix_fmt, threads=1)
                frame.pts = pts
                film.mux(stream.encode(frame))
            film.mux(stream.encode(None))
        buffer.seek(0)
        with av.open(buffer, "r") as made:
            frame = next(made.decode(video=0))
    except (av.error.FFmpegError, ValueError, StopIteration, OSError) as error:
        return " ".join(str(error).split()) or type(error).__name__
    return None if (frame.width, frame.height) == (128, 96) else f"gave {frame.width}x{frame.height} for 128x96"


def try_hardware_decoder(device: str) -> str | None:
    """None when FFmpeg opens the hardware `device` (for example "cuda"); otherwise the reason, in one line."""
    from av.codec.hwaccel import HWAccel  # noqa: PLC0415 - opening a device is rare

    try:
        accelerator = HWAccel(device_type=device, allow_software_fallback=False)
        codec = av.Codec("h264", "r")
        accelerator.create(codec)
    except (av.error.FFmpegError, ValueError, NotImplementedError, RuntimeError) as error:
        return getattr(error, "strerror", "") or " ".join(str(error).split()) or type(error).__name__
    return None
