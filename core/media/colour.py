"""Between code values of planar frames and RGB, by the matrix, range and depth that the film states.

RGB here is non-linear R'G'B' in 0..1, in the film's own primaries and transfer: a face is converted there and back
with the same numbers, and nothing is tone-mapped. Formulas: ITU-T H.273 (2021), 8.3; BT.601, BT.709, BT.2020.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import av
import numpy as np
from numpy.typing import NDArray

from core.errors import InputError
from core.geometry import Float64Array
from core.records import Colour, Float32Array

# H.273 MatrixCoefficients -> (Kr, Kb). 10 and 12 to 14 are not linear in R'G'B' or depend on the primaries; faces
# are taken through the nearest linear one, which still returns exactly what it was given.
LUMA_WEIGHTS = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
    10: (0.2627, 0.0593),
    12: (0.2627, 0.0593),
    13: (0.2627, 0.0593),
    14: (0.2627, 0.0593),
}
YCGCO = 8
SD_HEIGHT = 576  # unspecified matrix: BT.601 up to here, BT.709 above, as players assume
SD_WEIGHTS, HD_WEIGHTS = LUMA_WEIGHTS[6], LUMA_WEIGHTS[1]
FULL = 2
# Diffuse white of graphics, as a fraction of the signal: BT.2408, 203 cd/m2 in PQ (16) and HLG (18).
GRAPHICS_WHITE = {16: 0.58, 18: 0.75}


@dataclass(frozen=True)
class PixelLayout:
    """How a working format stores a picture: `step` luma pixels a chroma sample across and down."""

    pix_fmt: str
    kind: Literal["yuv", "gbr", "gray"]
    bits: int
    step: tuple[int, int]
    alpha: bool

    @property
    def colour_planes(self) -> int:
        """Planes that carry colour: the first ones. An alpha plane comes after them."""
        return 1 if self.kind == "gray" else 3

    @property
    def top_code(self) -> int:
        """The largest code value."""
        return (1 << self.bits) - 1


def layout_of(pix_fmt: str) -> PixelLayout:
    """The layout of a planar integer format; `InputError` for any other."""
    try:
        form = av.VideoFormat(pix_fmt, 64, 64)
    except ValueError as error:
        raise InputError(f"{pix_fmt} is not a pixel format") from error
    parts = sorted(form.components, key=lambda part: part.plane)
    packed = len({part.plane for part in parts}) != len(parts)
    if packed or parts[0].bits > 16 or form.has_palette or form.is_bit_stream or len(parts) == 2:
        raise InputError(f"{pix_fmt} is not a planar format of at most 16 bits")
    alpha = len(parts) == 4
    if form.is_rgb:
        return PixelLayout(pix_fmt, "gbr", parts[0].bits, (1, 1), alpha)
    if len(parts) == 1:
        return PixelLayout(pix_fmt, "gray", parts[0].bits, (1, 1), False)
    return PixelLayout(pix_fmt, "yuv", parts[0].bits, (64 // parts[1].width, 64 // parts[1].height), alpha)


@dataclass(frozen=True)
class Conversion:
    """code = offset + scale * (matrix @ RGB), a row a colour plane in plane order (Y, U, V or G, B, R or Y)."""

    layout: PixelLayout
    matrix: Float64Array  # [planes, 3]
    offset: Float64Array  # [planes]
    scale: Float64Array  # [planes]
    chroma: tuple[float, float]  # luma coordinates of the first chroma sample
    white: float  # graphics white as a fraction of full signal

    def to_codes(self, rgb: NDArray[Any]) -> Float32Array:
        """Code values float32 [planes,...], neither rounded nor clipped, of RGB [3,...]."""
        return _transformed(self.scale[:, None] * self.matrix, self.offset, rgb)

    def to_rgb(self, codes: NDArray[Any]) -> Float32Array:
        """RGB float32 [3,...], not clipped, of code values [planes,...]; gray gives three equal planes."""
        if self.layout.kind == "gray":
            linear, offset = np.full((3, 1), 1 / self.scale[0]), -self.offset[0] / self.scale[0] * np.ones(3)
        else:
            linear = np.linalg.inv(self.matrix) / self.scale[None, :]
            offset = -linear @ self.offset
        return _transformed(linear, offset, codes)

    def frame_from_plane(self, plane: int) -> Float64Array:
        """The map [2,3] from a plane's sample coordinates to luma pixel coordinates."""
        if self.layout.kind != "yuv" or plane not in (1, 2):
            return np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
        (across, down), (x, y) = self.layout.step, self.chroma
        return np.array([[across, 0.0, x], [0.0, down, y]])


def _transformed(linear: Float64Array, offset: Float64Array, planes: NDArray[Any]) -> Float32Array:
    """linear [m,n] @ planes [n,...] + offset [m], float32.

    Summed plane by plane: a matrix product may add in another order when it runs with other threads, and the frames
    handed to the encoder must not depend on that.
    """
    rows = []
    for weights, start in zip(linear.astype(np.float32), offset.astype(np.float32), strict=True):
        row = planes[0] * weights[0]
        for weight, plane in zip(weights[1:], planes[1:], strict=True):
            row = row + plane * weight
        rows.append(row + start)
    return np.asarray(np.stack(rows), np.float32)


def conversion(pix_fmt: str, colour: Colour, height: int) -> Conversion:
    """The conversion of a film in working format `pix_fmt`; `height` decides where the matrix is not stated."""
    layout = layout_of(pix_fmt)
    peak = float(layout.top_code)
    unit = float(1 << (layout.bits - 8))
    if layout.kind == "gbr":
        limited = colour.range == 1
        matrix = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    else:
        # FFmpeg takes gray without a stated range as full, and YUV as limited.
        full = colour.range == FULL or pix_fmt.startswith("yuvj") or (layout.kind == "gray" and not colour.range)
        limited = not full
        matrix = _luma_chroma(colour, height)[: layout.colour_planes]
    luma_scale, luma_offset = (219 * unit, 16 * unit) if limited else (peak, 0.0)
    scale, offset = np.full(len(matrix), luma_scale), np.full(len(matrix), luma_offset)
    if layout.kind == "yuv":
        scale[1:] = 224 * unit if limited else peak
        offset[1:] = 128 * unit
    white = GRAPHICS_WHITE.get(colour.transfer, 1.0)
    return Conversion(layout, matrix, offset, scale, _chroma_origin(layout, colour), white)


def _luma_chroma(colour: Colour, height: int) -> Float64Array:
    """[3,3] from R'G'B' to Y' in 0..1 and two colour differences in -0.5..0.5."""
    if colour.matrix == YCGCO:
        return np.array([[0.25, 0.5, 0.25], [-0.25, 0.5, -0.25], [0.5, 0.0, -0.5]])
    kr, kb = LUMA_WEIGHTS.get(colour.matrix) or (SD_WEIGHTS if height <= SD_HEIGHT else HD_WEIGHTS)
    luma = np.array([kr, 1 - kr - kb, kb])
    blue = (np.array([0.0, 0.0, 1.0]) - luma) / (2 * (1 - kb))
    red = (np.array([1.0, 0.0, 0.0]) - luma) / (2 * (1 - kr))
    return np.stack([luma, blue, red])


def _chroma_origin(layout: PixelLayout, colour: Colour) -> tuple[float, float]:
    """Where the first chroma sample sits, in luma pixels, by FFmpeg's AVChromaLocation.

    Unspecified means left for video and centre for the JPEG formats.
    """
    if layout.kind != "yuv":
        return 0.0, 0.0
    across, down = layout.step
    location = colour.chroma_location or (2 if layout.pix_fmt.startswith("yuvj") else 1)
    x = 0.0 if location in (1, 3, 5) else (across - 1) / 2
    y = {1: (down - 1) / 2, 2: (down - 1) / 2, 3: 0.0, 4: 0.0}.get(location, float(down - 1))
    return x, y
