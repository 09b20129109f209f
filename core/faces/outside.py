"""How far two films differ outside the replaced faces and the label, on decoded planes."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from core.geometry import Float64Array, apply, display_from_coded, invert, square_crop
from core.media.colour import layout_of
from core.media.planes import Plane
from core.records import EYE_OUTER, FaceTable, MediaIndex, Outside, OutsideSeries

# The square around a face in which a swapper may change pixels, in extents of its mesh: the largest crop of all known
# alignment templates (core.faces.identity), and a little for what blending and sharpening reach beyond it.
REGION_SCALE = 2.3
# Encoders predict blocks of up to 64 pixels and filter across their edges; this keeps what bleeds from a face apart.
BLEED_PX = 8
BOX_SCALE = 1.6  # of a face without mesh, whose box ends at the chin and the brows


@dataclass
class _Sums:
    samples: int = 0
    absolute: float = 0.0
    squares: float = 0.0
    most: float = 0.0


class OutsideMeter:
    """Adds up the differences of frames as they come. `label` is the box of a label in coded pixels, if any."""

    def __init__(self, index: MediaIndex, pix_fmt: str, label: tuple[int, int, int, int] | None) -> None:
        video = index.video
        self._layout = layout_of(pix_fmt)
        self._shape = (video.height, video.width)
        self._label = label
        self._shown = display_from_coded(video.width, video.height, video.sample_aspect_ratio, video.rotation)[0]
        self._samples = array("q")
        self._columns = {name: array("f") for name in ("mean", "most", "psnr_db")}
        self._total = _Sums()

    def add(self, original: Sequence[Plane], output: Sequence[Plane], faces: FaceTable) -> tuple[float, float]:
        """Compare the next frame outside `faces`: the mean difference there in levels of 0..255, and the PSNR.

        The planes are both films' in the meter's format. Where nothing is outside they are 0 and NaN.
        """
        keep = self._outside(faces)
        fewer = _on_grid(keep, self._layout.step)
        sums = _Sums()
        for number in range(self._layout.colour_planes):
            mask = fewer if number else keep
            a, b = np.ascontiguousarray(original[number]), np.ascontiguousarray(output[number])
            sums.samples += int(cv2.countNonZero(mask))
            most = float(cv2.norm(a, b, cv2.NORM_INF, mask))
            if most:
                sums.most = max(sums.most, most)
                sums.absolute += float(cv2.norm(a, b, cv2.NORM_L1, mask))
                sums.squares += float(cv2.norm(a, b, cv2.NORM_L2SQR, mask))
        return self._take(sums)

    def _take(self, sums: _Sums) -> tuple[float, float]:
        mean = sums.absolute / sums.samples if sums.samples else np.nan
        self._samples.append(sums.samples)
        self._columns["mean"].append(mean)
        self._columns["most"].append(sums.most if sums.samples else np.nan)
        self._columns["psnr_db"].append(psnr_db(sums.squares, sums.samples, self._layout.top_code))
        total = self._total
        total.samples += sums.samples
        total.absolute += sums.absolute
        total.squares += sums.squares
        total.most = max(total.most, sums.most)
        return (mean * 255 / self._layout.top_code if sums.samples else 0.0), float(self._columns["psnr_db"][-1])

    def report(self) -> Outside:
        columns = {name: np.frombuffer(column, np.float32) for name, column in self._columns.items()}
        series = OutsideSeries(np.frombuffer(self._samples, np.int64), **columns)
        total = self._total
        psnr = psnr_db(total.squares, total.samples, self._layout.top_code)
        known = np.flatnonzero(np.isfinite(series.psnr_db))
        return Outside(
            format=self._layout.pix_fmt,
            peak=self._layout.top_code,
            samples=total.samples,
            mean=total.absolute / total.samples if total.samples else 0.0,
            most=total.most,
            psnr_db=psnr if np.isfinite(psnr) else None,
            worst_frame=int(known[np.argmin(series.psnr_db[known])]) if len(known) else None,
            frames_identical=int(np.count_nonzero(np.isposinf(series.psnr_db))),
            series=series,
        )

    def _outside(self, faces: FaceTable) -> NDArray[np.uint8]:
        """uint8 [h,w] on the luma grid: 255 where a sample is compared."""
        keep = np.full(self._shape, 255, np.uint8)
        for row in range(len(faces)):
            corners = region(faces.box[row], faces.mesh[row], self._shown)
            cv2.fillConvexPoly(keep, np.rint(corners).astype(np.int32), 0)
        if self._label is not None:
            x0, y0, x1, y1 = self._label
            keep[max(y0 - BLEED_PX, 0) : y1 + BLEED_PX, max(x0 - BLEED_PX, 0) : x1 + BLEED_PX] = 0
        return keep


def region(box: NDArray[np.floating], mesh: NDArray[np.floating], display_from_coded: Float64Array) -> Float64Array:
    """Corners [4,2] in coded pixels of the square that holds all that replacing a face may change."""
    if np.isfinite(mesh).all():
        shown = apply(display_from_coded, mesh)
        left, right = shown[EYE_OUTER[0]], shown[EYE_OUTER[1]]
        angle = float(np.arctan2(right[1] - left[1], right[0] - left[0]))
        low, high = shown.min(axis=0), shown.max(axis=0)
        side = float((high - low).max()) * REGION_SCALE
    else:
        shown = apply(display_from_coded, np.asarray(box, np.float64).reshape(2, 2))
        low, high, angle = shown.min(axis=0), shown.max(axis=0), 0.0
        side = float((high - low).max()) * BOX_SCALE * REGION_SCALE
    side += 2 * BLEED_PX
    back = invert(square_crop((low + high) / 2, max(side, 1.0), angle, 2))
    corners = apply(back, np.array([[-0.5, -0.5], [1.5, -0.5], [1.5, 1.5], [-0.5, 1.5]]))
    return apply(invert(display_from_coded), corners)


def psnr_db(squares: float, samples: int, peak: int) -> float:
    """Peak signal to noise ratio of summed squared differences; infinite without any, NaN of no samples."""
    if samples == 0:
        return float("nan")
    return float("inf") if squares == 0 else float(10 * np.log10(peak * peak * samples / squares))


def _on_grid(keep: NDArray[np.uint8], step: tuple[int, int]) -> NDArray[np.uint8]:
    """The mask of a subsampled plane: a sample is compared where all its luma pixels are."""
    across, down = step
    if step == (1, 1):
        return keep
    high, wide = keep.shape
    padded = np.pad(keep, ((0, -high % down), (0, -wide % across)), "edge")
    parts = [padded[y::down, x::across] for y in range(down) for x in range(across)]
    return np.ascontiguousarray(np.minimum.reduce(parts))
