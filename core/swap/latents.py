"""Identity vectors as swappers want them, and mixtures of two identities in that same space."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from core.errors import ModelError
from core.records import Float32Array

if TYPE_CHECKING:
    from core.inference.manifest import ModelManifest, SwapSpec
    from core.inference.sessions import Session

EMAP = "emap"  # name of the array that surgery took out of inswapper's file


class Latents:
    """From a recogniser's vectors to a swapper's input `source`, by the manifest's SwapSpec."""

    def __init__(self, manifest: ModelManifest, swapper_session: Session, converter: Session | None) -> None:
        """`swapper_session` carries the arrays of its file; `converter` is the session of the model that SwapSpec
        names, if it names one. `ModelError` when one of them is missing."""
        spec = swap_spec(manifest)
        where = f"model {manifest.id}"
        self._where = where
        self._unit = spec.unit
        self._emap: Float32Array | None = None
        self._converter = converter if spec.identity == "converted" else None
        source = next((tensor for tensor in manifest.inputs if tensor.name == "source"), None)
        size = source.shape[-1] if source is not None else None
        self._size = size if isinstance(size, int) else None
        if spec.identity == "emap":
            self._emap = swapper_session.arrays.get(EMAP)
            if self._emap is None:
                hint = "the last initializer of the published file is this matrix; add that file"
                raise ModelError("the weights have no identity matrix emap", where=where, hint=hint)
        if spec.identity == "converted" and converter is None:
            raise ModelError("no model that converts identities is open", where=where)

    def of(self, vectors: Float32Array) -> Float32Array:
        """Latents float32 [n,L] of vectors float32 [n,D] as the recogniser gives them, not normalised.

        "embedding": the vector v itself; "emap": v / |v| times emap, in insightface's order of steps; "converted":
        the converter's answer to v. All divided by their norms at the end where the manifest's `unit` says so.
        `ModelError` when the vectors are of another size than the swapper's.
        """
        vectors = np.ascontiguousarray(vectors, np.float32)
        if self._emap is not None:
            self._expect(vectors, len(self._emap))
            latents = mapped(unit(vectors), self._emap)
        elif self._converter is not None:
            spec = self._converter.manifest.inputs[0]
            want = spec.shape[-1]
            self._expect(vectors, want if isinstance(want, int) else None)
            latents = self._converter.run({spec.name: vectors})[0]
        else:
            latents = vectors
        self._expect(latents, self._size)
        return unit(latents) if self._unit else np.asarray(latents, np.float32)

    def mixed(self, own: Float32Array, wanted: Float32Array, strength: float) -> Float32Array:
        """Latents [n,L] between the targets' `own` [n,L] (strength 0) and the source's,
        `wanted` [L] or [n,L] (strength 1).

        A straight line between latents, brought back to length 1 where all latents have that length. Both are
        latents of one swapper: a recogniser's vectors and a swapper's latents must never be mixed.
        """
        mixture = np.asarray((1 - strength) * own + strength * wanted, np.float32)
        return unit(mixture) if self._unit else mixture

    def _expect(self, vectors: Float32Array, size: int | None) -> None:
        if size is not None and vectors.shape[-1] != size:
            raise ModelError(
                f"identity vectors of {vectors.shape[-1]} numbers where {size} are expected",
                where=self._where,
                hint="use the recogniser that the swapper's manifest names",
            )


def mapped(vectors: Float32Array, matrix: Float32Array) -> Float32Array:
    """Vectors [n,D] times a matrix [D,L], each by itself and in one order of sums: float32 [n,L].

    A library's matrix product rounds otherwise with other threads and other n, and a film must not depend on them.
    """
    products = [np.sum(vector[:, None] * matrix, axis=0, dtype=np.float64) for vector in vectors]
    return np.asarray(products, np.float32).reshape(len(vectors), matrix.shape[1])


def swap_spec(manifest: ModelManifest) -> SwapSpec:
    """The [swap] table of a swapper's manifest; `ModelError` where there is none."""
    if manifest.swap is None:
        raise ModelError("the manifest has no table [swap]", where=f"model {manifest.id}", hint="see models/README.md")
    return manifest.swap


def unit(vectors: Float32Array) -> Float32Array:
    """Vectors [...,D] divided by their Euclidean norms; a vector of zeros stays one."""
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.where(norms > 0, norms, 1), np.float32)
