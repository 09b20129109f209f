"""Identity vectors of faces, by the recogniser that a manifest describes.

The families differ in what a vector means. "dlib" (dlib's face recognition ResNet): the vector is used as it comes,
about 1.4 long, and the distance is Euclidean; on unit vectors its threshold would not hold. "arcface" (insightface's
ArcFace networks): only the direction counts, and the distance is 1 - cosine; the length, some 20, tells how clear
the face is. Chips must be aligned as the network was trained, which the manifest's template says for the detector's
five points; other alignments spoil the distances.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from core.errors import ModelError
from core.faces.align import template_chip
from core.faces.pixels import network_input
from core.inference.manifest import Template
from core.inference.sessions import Session
from core.records import Float32Array

# The greatest distance of two pictures of one person. dlib: its documentation of
# dlib_face_recognition_resnet_model_v1. arcface: a cosine of 0.4, the usual choice for w600k_r50.
SAME_PERSON: Mapping[str, float] = {"dlib": 0.6, "arcface": 0.6}


class Recogniser:
    """Makes and compares vectors; holds a session, no state between calls. `template` says how chips are aligned."""

    def __init__(self, session: Session, *, batch: int = 4) -> None:
        manifest = session.manifest
        where = f"model {manifest.id}"
        if manifest.template is None:
            raise ModelError("a recogniser without a template", where=where, hint="add one to its manifest")
        if manifest.family not in SAME_PERSON:
            hint = f"family of its manifest: one of {', '.join(SAME_PERSON)}"
            raise ModelError(f"no recogniser of the family {manifest.family!r}", where=where, hint=hint)
        self.id = manifest.id
        self.template: Template = manifest.template
        self.same_person = SAME_PERSON[manifest.family]
        self._manifest = manifest
        self._session = session
        self._batch = batch

    def chip(self, rgb: NDArray[np.uint8], points: Float32Array) -> NDArray[np.uint8]:
        """The aligned chip uint8 RGB [S,S,3] of the face with the detector's five points [5,2]; S is the template's."""
        return template_chip(rgb, points, self.template)

    def embed(self, chips: Sequence[NDArray[np.uint8]]) -> Float32Array:
        """Vectors float32 [n,D], as they come, of aligned chips uint8 RGB [S,S,3]."""
        if not chips:
            return np.zeros((0, self.dimensions), np.float32)
        parts = []
        for start in range(0, len(chips), self._batch):
            batch = network_input(chips[start : start + self._batch], self._manifest.pixels)
            parts.append(self._session.run({self._manifest.inputs[0].name: batch})[0])
        return np.asarray(np.concatenate(parts), np.float32)

    def distance(self, first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
        """How far two vectors [D] are apart, to be compared with `same_person`."""
        return distance(first, second) if self._manifest.family == "dlib" else 1 - cosine(first, second)

    def mean(self, vectors: Float32Array) -> Float32Array:
        """One vector [D] for several pictures [n,D], n >= 1, of a person; of one picture, that picture's.

        Where only the direction counts it is the mean of the directions, made as long as the vectors are on average.
        """
        if self._manifest.family == "dlib" or len(vectors) == 1:
            return np.asarray(np.mean(vectors, axis=0), np.float32)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        towards = (vectors / np.maximum(lengths, 1e-12)).mean(axis=0)
        return np.asarray(towards / max(float(np.linalg.norm(towards)), 1e-12) * lengths.mean(), np.float32)

    @property
    def dimensions(self) -> int:
        """How many numbers a vector has; `ModelError` where the manifest does not say it."""
        size = self._manifest.outputs[0].shape[-1]
        if not isinstance(size, int):
            raise ModelError("a recogniser whose vectors have no fixed length", where=f"model {self.id}")
        return size


def distance(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """Euclidean distance of two vectors [D]."""
    return float(np.linalg.norm(np.asarray(first, np.float64) - second))


def cosine(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """Cosine of the angle between two vectors [D]; 0 when one of them is 0."""
    lengths = float(np.linalg.norm(first)) * float(np.linalg.norm(second))
    return float(np.dot(first, second)) / lengths if lengths > 0 else 0.0
