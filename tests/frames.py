"""Frames, films' indexes and swappers for tests of rendering, without a film."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray

from core.geometry import Float64Array, square_crop
from core.media.planes import Plane, plane_views
from core.records import Colour, Float32Array, MediaIndex, SourceIdentity, VideoInfo
from core.swap.stages import OpenRole, Stage
from core.swap.swapper import Swapper

FORMATS = (
    "yuv420p",
    "yuvj420p",
    "yuv422p",
    "yuv444p",
    "yuv411p",
    "yuv440p",
    "yuva420p",
    "gray",
    "gbrp",
    "gbrap",
    "yuv420p10le",
    "yuv422p10le",
    "yuv444p12le",
    "yuv444p16le",
    "gray10le",
    "gbrp10le",
    "gbrp16le",
)


NOBODY = SourceIdentity(
    "x", "0" * 64, 1, np.zeros((8, 8, 3), np.uint8), np.zeros((468, 2), np.float32), np.ones(4, np.float32)
)


def index_of(
    width: int,
    height: int,
    pix_fmt: str,
    *,
    colour: Colour | None = None,
    sar: Fraction = Fraction(0),
    rotation: int = 0,
    matrix: tuple[int, ...] | None = None,
) -> MediaIndex:
    """The index of a film of one frame."""
    video = VideoInfo(
        stream_index=0,
        codec="ffv1",
        width=width,
        height=height,
        pix_fmt=pix_fmt,
        sample_aspect_ratio=sar,
        display_matrix=matrix,
        rotation=rotation,
        field_order=1,
        frame_rate=Fraction(25),
        colour=colour or Colour(),
        mastering=None,
        profile=None,
        reorder_depth=0,
    )
    return MediaIndex(
        sha256="0" * 64,
        size_bytes=1,
        format="matroska,webm",
        video=video,
        time_base=Fraction(1, 25),
        pts=np.array([0]),
        duration=np.array([1]),
        key=np.array([True]),
        packet=np.array([0]),
        streams=(),
        chapters=(),
        tags={},
    )


def blank(width: int, height: int, pix_fmt: str) -> tuple[Plane, ...]:
    """Planes of a new frame, copied out of it."""
    return tuple(np.zeros_like(plane) for plane in plane_views(av.VideoFrame(width, height, pix_fmt)))


def noise(width: int, height: int, pix_fmt: str, bits: int, seed: int = 0) -> tuple[Plane, ...]:
    """Planes full of random code values."""
    random = np.random.default_rng(seed)
    return tuple(
        random.integers(0, 1 << bits, plane.shape).astype(plane.dtype) for plane in blank(width, height, pix_fmt)
    )


def copied(planes: tuple[Plane, ...]) -> tuple[Plane, ...]:
    return tuple(plane.copy() for plane in planes)


def same(first: tuple[Plane, ...], second: tuple[Plane, ...]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


class Negative:
    """A swapper that needs no model: the negative of the crop inside a disc with a soft edge."""

    id = "negative"
    needs_mesh = False
    provider = "test"
    device = "cpu"

    def __init__(self, side: int = 64) -> None:
        self._side = side
        self.batches: list[int] = []

    def side_for(self, reach_px: float, identity: SourceIdentity) -> int:
        del reach_px, identity
        return self._side

    def crop_from_display(self, points: NDArray[np.floating], mesh: NDArray[np.floating], side_px: int) -> Float64Array:
        del mesh
        extent = float(np.ptp(points, axis=0).max())
        if not extent > 0:
            raise ValueError("no extent")
        return square_crop(points.mean(axis=0), 2.5 * extent, 0.0, side_px)

    def swap(
        self, crops: Float32Array, landmarks: Float32Array, identities: Sequence[SourceIdentity]
    ) -> tuple[Float32Array, Float32Array]:
        del landmarks
        assert len(identities) == len(crops)
        self.batches.append(len(crops))
        side = crops.shape[-1]
        masks = np.broadcast_to(disc(side), (len(crops), 1, side, side))
        return np.asarray(1 - crops, np.float32), np.asarray(masks, np.float32)


def roles_of(swapper: Swapper, identity: SourceIdentity = NOBODY) -> list[OpenRole]:
    """One role: this face, by this swapper alone."""
    return [OpenRole(identity, (Stage("swap", swapper),))]


def disc(side: int, radius: float = 0.35, edge: float = 0.1) -> Float32Array:
    """float32 [side,side]: 1 within `radius` of the middle, 0 beyond `radius` + `edge` (parts of the side)."""
    y, x = (np.mgrid[0:side, 0:side] - (side - 1) / 2) / side
    return np.asarray(np.clip((radius + edge - np.hypot(x, y)) / edge, 0, 1), np.float32)
