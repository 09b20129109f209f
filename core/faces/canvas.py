"""Detectors that look at one square picture and answer with rows of numbers at three strides: SCRFD and YuNet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.errors import ModelError
from core.faces.finds import LONGEST_PX, Detections, by_shape, in_picture, multiple, not_beside, on_black, suppress
from core.faces.pixels import network_input
from core.geometry import Float64Array
from core.inference.manifest import ModelManifest
from core.inference.sessions import Session
from core.records import Float32Array

STRIDES_PX = (8, 16, 32)


@dataclass(frozen=True)
class Canvas:
    """The input of a detector that wants the picture to fill a square as far as its shape allows.

    `side_px` is the square's, which the picture is enlarged or shrunk to fit; `fixed` is the network's own width and
    height where its file states one, else None and the input is as large as the picture, in multiples of 32.
    """

    side_px: int
    fixed: tuple[int, int] | None

    @staticmethod
    def of(manifest: ModelManifest, longest_px: int) -> Canvas:
        """`longest_px` is cut down to the network's own size."""
        high, wide = manifest.inputs[0].shape[2:4]
        if isinstance(high, int) and isinstance(wide, int):
            return Canvas(min(longest_px, wide, high), (wide, high))
        return Canvas(longest_px, None)

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of a picture made to fit, rounded down as insightface does."""
        if height > width:
            return max(1, int(self.side_px / (height / width))), self.side_px
        return self.side_px, max(1, int(self.side_px * (height / width)))

    def lay(self, picture: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], Float64Array]:
        """The picture on its canvas, and fitted_from_picture."""
        high, wide = picture.shape[:2]
        size = self.size(wide, high)
        return on_black(picture, size, self.fixed or (multiple(size[0]), multiple(size[1])))


@dataclass(frozen=True)
class Reading:
    """How a family's outputs are read.

    `widths` are the numbers a row of each kind of output has; the outputs are each kind at every stride. `decode`
    gets one picture's outputs [a,width], the picture's width in pixels and the least score, and gives the finds in
    that picture's pixels, best first. Of those, one that overlaps a better one by more than `overlap_max` is left
    out, `rim_px` of the whole picture added to the sides (see suppress).
    """

    widths: tuple[int, ...]
    score_min: float
    overlap_max: float
    rim_px: float
    decode: Callable[[Sequence[Float32Array], int, float], Detections]


class CanvasDetector:
    """Finds faces; holds a session and thresholds, no state between calls."""

    def __init__(
        self, session: Session, reading: Reading, *, longest_px: int = LONGEST_PX, score_min: float | None = None
    ) -> None:
        manifest = session.manifest
        expected = len(reading.widths) * len(STRIDES_PX)
        if len(manifest.outputs) != expected:
            raise ModelError(
                f"{len(manifest.outputs)} outputs, a detector of the family {manifest.family} has {expected}",
                where=f"model {manifest.id}",
                hint="correct its manifest",
            )
        self._session = session
        self._reading = reading
        self._score_min = reading.score_min if score_min is None else score_min
        self._canvas = Canvas.of(manifest, longest_px)

    def at(self, longest_px: int) -> CanvasDetector:
        """The same detector looking at pictures of another size, at most the network's own where that is fixed."""
        return CanvasDetector(self._session, self._reading, longest_px=longest_px, score_min=self._score_min)

    def fitted_size(self, width: int, height: int) -> tuple[int, int]:
        """The size to which a picture may be shrunk beforehand (see Detector)."""
        size = self._canvas.size(width, height)
        return (width, height) if size[0] > width or size[1] > height else size

    def detect(self, pictures: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        """Faces of each picture (uint8 RGB [h,w,3]); pictures that end up equally large are run as one batch."""
        manifest = self._session.manifest
        laid = [self._canvas.lay(picture) for picture in pictures]
        found: dict[int, Detections] = {}
        for rows in by_shape([image for image, _ in laid]):
            images = network_input([laid[row][0] for row in rows], manifest.pixels)
            outputs = self._session.run({manifest.inputs[0].name: images})
            # SCRFD's heads as published hold the whole batch in one axis, in the order of the pictures.
            widths = np.repeat(self._reading.widths, len(STRIDES_PX))
            heads = [output.reshape(len(rows), -1, width) for output, width in zip(outputs, widths, strict=True)]
            for item, row in enumerate(rows):
                one = self._reading.decode([head[item] for head in heads], images.shape[3], self._score_min)
                one = in_picture(one, laid[row][1])
                one = one.take(suppress(one.box, self._reading.overlap_max, rim_px=self._reading.rim_px))
                high, wide = pictures[row].shape[:2]
                found[row] = not_beside(one, wide, high)
        return [found[row] for row in range(len(laid))]
