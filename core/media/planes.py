"""Pixel formats in which frames are worked on, and frames as NumPy planes.

A working format is planar, little-endian, integer, at most 16 bits a sample: one 2-D array a component. Every
mapping here is lossless; what cannot be mapped so is refused by name.
"""

from __future__ import annotations

from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from core.errors import InputError

Plane = NDArray[Any]

# Planar as the decoder gives them: nothing to do.
_DEPTHS = ("", "9le", "10le", "12le", "14le", "16le")
_PLANAR = frozenset(
    [f"yuv{chroma}p{depth}" for chroma in ("420", "422", "444") for depth in _DEPTHS]
    + ["yuv440p", "yuv440p10le", "yuv440p12le", "yuv411p", "yuv410p"]
    + ["yuvj420p", "yuvj422p", "yuvj444p", "yuvj440p", "yuvj411p"]
    + [f"yuva{chroma}p{depth}" for chroma in ("420", "422", "444") for depth in ("", "9le", "10le", "16le")]
    + [f"yuva{chroma}p12le" for chroma in ("422", "444")]
    + ["gbrp", "gbrp9le", "gbrp10le", "gbrp12le", "gbrp14le", "gbrp16le"]
    + ["gbrap", "gbrap10le", "gbrap12le", "gbrap14le", "gbrap16le"]
    + ["gray", "gray9le", "gray10le", "gray12le", "gray14le", "gray16le"]
)

# Packed or semi-planar layouts of the same samples (`lossless` in tests/core/media/test_planes.py tries each).
_REPACKED = {
    "nv12": "yuv420p",
    "nv21": "yuv420p",
    "nv16": "yuv422p",
    "nv24": "yuv444p",
    "nv42": "yuv444p",
    "nv20le": "yuv422p10le",
    "p010le": "yuv420p10le",
    "p012le": "yuv420p12le",
    "p016le": "yuv420p16le",
    "p210le": "yuv422p10le",
    "p212le": "yuv422p12le",
    "p216le": "yuv422p16le",
    "p410le": "yuv444p10le",
    "p412le": "yuv444p12le",
    "p416le": "yuv444p16le",
    "yuyv422": "yuv422p",
    "yvyu422": "yuv422p",
    "uyvy422": "yuv422p",
    "y210le": "yuv422p10le",
    "y212le": "yuv422p12le",
    "vuyx": "yuv444p",
    "vuya": "yuva444p",
    "xv30le": "yuv444p10le",
    "xv36le": "yuv444p12le",
    "ayuv64le": "yuva444p16le",
    "rgb24": "gbrp",
    "bgr24": "gbrp",
    "0rgb": "gbrp",
    "rgb0": "gbrp",
    "0bgr": "gbrp",
    "bgr0": "gbrp",
    "rgb8": "gbrp",
    "bgr8": "gbrp",
    "rgb555le": "gbrp",
    "bgr555le": "gbrp",
    "rgb565le": "gbrp",
    "bgr565le": "gbrp",
    "rgb444le": "gbrp",
    "bgr444le": "gbrp",
    "pal8": "gbrp",
    "argb": "gbrap",
    "rgba": "gbrap",
    "abgr": "gbrap",
    "bgra": "gbrap",
    "rgb48le": "gbrp16le",
    "bgr48le": "gbrp16le",
    "rgb48be": "gbrp16le",
    "bgr48be": "gbrp16le",
    "rgba64le": "gbrap16le",
    "bgra64le": "gbrap16le",
    "rgba64be": "gbrap16le",
    "bgra64be": "gbrap16le",
    "x2rgb10le": "gbrp10le",
    "x2bgr10le": "gbrp10le",
    "monow": "gray",
    "monob": "gray",
}


def working_format(pix_fmt: str) -> str:
    """The planar format in which frames of `pix_fmt` are worked on and given to the encoder, without loss.

    Full-range names (yuvj420p, ...) are kept, the range stays with them. `InputError` names a format that has no
    such form: floating point, Bayer, XYZ, hardware surfaces.
    """
    if pix_fmt in _PLANAR:
        return pix_fmt
    little = pix_fmt[:-2] + "le" if pix_fmt.endswith("be") else pix_fmt
    if little in _PLANAR:
        return little
    mapped = _REPACKED.get(pix_fmt) or _REPACKED.get(little)
    if mapped is None:
        raise InputError(
            f"pixel format {pix_fmt} cannot be carried without loss",
            hint="convert the film first, for example to yuv420p10le",
        )
    return mapped


def component_shapes(pix_fmt: str, width: int, height: int) -> tuple[tuple[int, int], ...]:
    """(h, w) in samples of each component plane of a working format, in plane order."""
    components = av.VideoFormat(pix_fmt, width, height).components
    planes = sorted((c.plane, c.height, c.width) for c in components)
    return tuple((height_px, width_px) for _, height_px, width_px in planes)


def plane_views(frame: av.VideoFrame) -> tuple[Plane, ...]:
    """One 2-D array [h, w] a component: uint8 or little-endian uint16, in plane order (Y, U, V, A or G, B, R, A).

    Views of the frame's own memory without its padding, writable; whoever writes calls `frame.make_writable()`
    before asking for them. `InputError` when the frame is not in a working format.
    """
    name = frame.format.name
    if name not in _PLANAR:
        raise InputError(f"frame in {name}, expected a planar working format")
    views: list[Plane] = []
    for plane, (height, width) in zip(frame.planes, component_shapes(name, frame.width, frame.height), strict=True):
        wide = name.endswith("le")
        dtype = np.dtype("<u2") if wide else np.dtype(np.uint8)
        stride = abs(plane.line_size)
        rows = np.frombuffer(memoryview(plane), dtype=np.uint8, count=stride * height).reshape(height, stride)
        view = rows[:, : width * dtype.itemsize].view(dtype)
        views.append(view[::-1] if plane.line_size < 0 else view)
    return tuple(views)


def to_working(frame: av.VideoFrame, pix_fmt: str) -> av.VideoFrame:
    """`frame` in the working format `pix_fmt`: itself when it is, else repacked without loss."""
    if frame.format.name == pix_fmt:
        return frame
    return repacked(frame, pix_fmt)


def repacked(frame: av.VideoFrame, pix_fmt: str) -> av.VideoFrame:
    """The samples of `frame` in a format of the same depth and chroma.

    Both ends are given the same range, so that swscale moves samples and computes nothing; and one thread, because
    with several it at times leaves whole slices of 10-bit pictures unwritten (FFmpeg 8.1).
    """
    return frame.reformat(
        format=pix_fmt, src_color_range=frame.color_range, dst_color_range=frame.color_range, threads=1
    )


def copy_frame(frame: av.VideoFrame) -> av.VideoFrame:
    """A frame with memory of its own and the same properties (colour, flags, side data), in a working format."""
    # PyAV has no clone; a range change allocates a frame and copies the properties, then the samples are replaced.
    other = 1 if frame.color_range == 2 else 2
    twin = frame.reformat(format=frame.format.name, src_color_range=3 - other, dst_color_range=other, threads=1)
    if twin is frame or twin.format.name != frame.format.name:
        twin = av.VideoFrame(frame.width, frame.height, frame.format.name)
        twin.colorspace, twin.color_trc, twin.color_primaries = (
            frame.colorspace,
            frame.color_trc,
            frame.color_primaries,
        )
    for source, target in zip(plane_views(frame), plane_views(twin), strict=True):
        target[...] = source
    twin.color_range = frame.color_range
    twin.colorspace = frame.colorspace
    twin.pts = frame.pts
    if frame.time_base is not None:
        twin.time_base = frame.time_base
    return twin
