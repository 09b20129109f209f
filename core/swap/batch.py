"""Faces of several frames and people through a model together: a GPU is idle at one face at a time."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from core.geometry import Float64Array
from core.records import Float32Array, SourceIdentity
from core.swap.swapper import Swapper

if TYPE_CHECKING:
    from core.swap.stages import Stage

BATCH = 4  # beyond four, throughput of the 128-px networks grows little and latency does


@dataclass
class FaceWork:
    """One face of one frame: its crop on the way in, the new crop and mask on the way out.

    crop and fresh are float32 RGB [3,S,S] in 0..1, mask float32 [S,S], landmarks float32 [468,2] in crop pixels;
    identity is the face to put in, stage the change that is made; row is the face's in the table of faces.
    """

    crop_from_frame: Float64Array
    crop: Float32Array
    landmarks: Float32Array
    identity: SourceIdentity
    stage: Stage
    row: int = -1
    fresh: Float32Array | None = None
    mask: Float32Array | None = None

    @property
    def side_px(self) -> int:
        return int(self.crop.shape[-1])

    @property
    def done(self) -> bool:
        return self.mask is not None


class Batcher:
    """Collects faces for one model and runs it on `size` at a time, those with crops of one side in the order they
    came, whoever is put in."""

    def __init__(self, model: Swapper, size: int = BATCH) -> None:
        self._model = model
        self._size = size
        self._waiting: dict[int, list[FaceWork]] = {}  # by the crop's side: one batch is one array
        self.seconds = 0.0

    def add(self, faces: list[FaceWork]) -> None:
        """Take faces in; as many full batches of one side as there are run at once."""
        for face in faces:
            waiting = self._waiting.setdefault(face.side_px, [])
            waiting.append(face)
            if len(waiting) == self._size:
                self._run(face.side_px)

    def flush(self) -> None:
        """Run on what is waiting, however few."""
        for side_px in sorted(self._waiting):
            self._run(side_px)

    def _run(self, side_px: int) -> None:
        started = time.monotonic()
        batch = self._waiting.pop(side_px)
        fresh, masks = self._model.swap(
            np.stack([face.crop for face in batch]),
            np.stack([face.landmarks for face in batch]),
            [face.identity for face in batch],
        )
        for face, picture, mask in zip(batch, fresh, masks, strict=True):
            face.fresh, face.mask = picture, mask[0]
        self.seconds += time.monotonic() - started
