"""What a swapper's input `source` is given: a latent vector or a picture, of the source's face or a target's own.

Both kinds can be mixed, each in its own space, for a strength below 1: latents by `Latents.mixed`, pictures pixel by
pixel, since both faces are aligned to one template.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from core.errors import ModelError, PlanError
from core.faces.align import cut, template_chip
from core.faces.embed import Recogniser
from core.geometry import Float64Array, compose, scaling, similarity
from core.inference.manifest import ModelManifest, Template
from core.inference.pixels import numbers_of
from core.records import Float32Array, SourceIdentity
from core.swap.latents import Latents, swap_spec


class SourceInput(Protocol):
    """Items of the input `source`, without the batch's axis."""

    def of(self, identity: SourceIdentity) -> Float32Array:
        """The item [...] of the source's face."""
        ...

    def own(self, crops: Float32Array, boost: int) -> Float32Array:
        """The items [n,...] of the faces that are in the crops float32 RGB [n,3,S,S] in 0..1 themselves."""
        ...

    def mixed(self, own: Float32Array, wanted: Float32Array, strength: float) -> Float32Array:
        """Items [n,...] between `own` [n,...] (strength 0) and the sources' [n,...] (strength 1)."""
        ...


class LatentSource:
    """A latent vector [L], out of the vector of the recogniser that the swapper was trained with."""

    def __init__(
        self, manifest: ModelManifest, latents: Latents, recogniser_id: str, recogniser: Recogniser | None = None
    ) -> None:
        """`recogniser` looks at the targets' own faces; without it, `own` is not to be called."""
        self._manifest = manifest
        self._latents = latents
        self._recogniser_id = recogniser_id
        self._recogniser = recogniser

    def of(self, identity: SourceIdentity) -> Float32Array:
        vector = identity.vectors.get(self._recogniser_id)
        if vector is None:
            raise PlanError(
                f"the source face has no vector of {self._recogniser_id}, which {self._manifest.id} needs",
                where=f"source {identity.id}",
                hint="load the source face again with that recogniser",
            )
        return np.asarray(self._latents.of(vector[None])[0], np.float32)

    def own(self, crops: Float32Array, boost: int) -> Float32Array:
        if self._recogniser is None:
            raise ValueError("no recogniser to look at the targets' faces")
        chips = chips_of_crops(crops, boost, template_of(self._manifest), self._recogniser.template)
        return self._latents.of(self._recogniser.embed(chips))

    def mixed(self, own: Float32Array, wanted: Float32Array, strength: float) -> Float32Array:
        return self._latents.mixed(own, wanted, strength)


class PictureSource:
    """The source's face itself, cut to the template of SwapSpec.image: numbers float32 [3,h,h]."""

    def __init__(self, manifest: ModelManifest) -> None:
        spec = swap_spec(manifest)
        if spec.image is None:
            hint = "see models/README.md"
            raise ModelError("the manifest has no table [swap.image]", where=f"model {manifest.id}", hint=hint)
        self._template = template_of(manifest)
        self._image: Template = spec.image
        self._pixels = spec.image_pixels

    def of(self, identity: SourceIdentity) -> Float32Array:
        try:
            chip = template_chip(identity.image, identity.points, self._image)
        except ValueError as error:
            raise PlanError(
                "the source face has no five points", where=f"source {identity.id}", hint="load the source face again"
            ) from error
        return np.asarray(self._numbers([chip])[0], np.float32)

    def own(self, crops: Float32Array, boost: int) -> Float32Array:
        return self._numbers(chips_of_crops(crops, boost, self._template, self._image))

    def mixed(self, own: Float32Array, wanted: Float32Array, strength: float) -> Float32Array:
        return np.asarray((1 - strength) * own + strength * wanted, np.float32)

    def _numbers(self, chips: Sequence[NDArray[np.uint8]]) -> Float32Array:
        pictures = np.stack(chips).transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
        return numbers_of(pictures, self._pixels)


def template_of(manifest: ModelManifest) -> Template:
    """Where a swapper wants the five points; `ModelError` where the manifest does not say it."""
    if manifest.template is None:
        hint = "see models/README.md"
        raise ModelError("the manifest has no table [template]", where=f"model {manifest.id}", hint=hint)
    return manifest.template


def crop_from_template(boost: int) -> Float64Array:
    """The map [2,3] from the pixels of a model's template to those of a crop `boost` times as fine, edges on edges.

    So the pictures that `boost.split` deals out are aligned to the template on average: those of one crop lie at up to
    half a pixel around it.
    """
    return scaling(boost, boost)


def chips_of_crops(crops: Float32Array, boost: int, template: Template, other: Template) -> list[NDArray[np.uint8]]:
    """Chips uint8 RGB [s,s,3] aligned to `other`, of crops float32 RGB [n,3,S,S] in 0..1 aligned to `template`.

    The map is the least-squares similarity between the templates' points: exact between arcface_128 and
    arcface_112_v2, which differ by a shift, and close between those that differ in shape.
    """
    other_from_template = similarity(np.array(template.points), np.array(other.points))
    template_from_crop = scaling(1 / boost, 1 / boost)
    chip_from_crop = compose(other_from_template, template_from_crop)
    pictures = np.clip(crops.transpose(0, 2, 3, 1) * np.float32(255) + np.float32(0.5), 0, 255).astype(np.uint8)
    return [cut(np.ascontiguousarray(picture), chip_from_crop, other.side_px) for picture in pictures]
