"""Identity vectors of faces, by dlib's face recognition ResNet.

Distances are Euclidean: below SAME_PERSON two faces are taken for one person. The vectors are used as they come,
about 1.4 long; on unit vectors the threshold would not hold. The network was trained on dlib's alignment; the
manifest's template reproduces it for the detector's five points, and other alignments spoil the distances.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from core.faces.align import template_chip
from core.inference.manifest import Template
from core.inference.sessions import Session
from core.records import Float32Array

SAME_PERSON = 0.6  # dlib's documentation of dlib_face_recognition_resnet_model_v1


class Embedder:
    """Makes embeddings; `template` says how chips must be aligned."""

    def __init__(self, session: Session, *, batch: int = 4) -> None:
        if session.manifest.template is None:
            raise ValueError(f"model {session.manifest.id} has no template")
        self.template: Template = session.manifest.template
        self._session = session
        self._batch = batch

    def chip(self, rgb: NDArray[np.uint8], points: Float32Array) -> NDArray[np.uint8]:
        """The aligned chip uint8 RGB [150,150,3] of the face with the detector's five points [5,2]."""
        return template_chip(rgb, points, self.template)

    def embed(self, chips: Sequence[NDArray[np.uint8]]) -> Float32Array:
        """Vectors float32 [n,128] of aligned chips uint8 RGB [150,150,3]."""
        parts = [np.zeros((0, 128), np.float32)]
        for start in range(0, len(chips), self._batch):
            batch = np.stack(chips[start : start + self._batch]).transpose(0, 3, 1, 2).astype(np.float32)
            parts.append(self._session.run({"image": batch})[0])
        return np.asarray(np.concatenate(parts), np.float32)


def distance(first: Float32Array, second: Float32Array) -> float:
    """Euclidean distance of two embeddings [D]."""
    return float(np.linalg.norm(first - second))
