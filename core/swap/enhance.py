"""Enhancers: networks that restore a face, as a face stage after the swap. No identity is asked for.

The face is cut out of the frame anew, by the enhancer's own template, after the swap was pasted. Conventions are those
of GFPGAN's and its relatives' published use (faces.md): RGB, numbers and answers in -1..1, the answer blended.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import InputError, ModelError
from core.faces.align import chip_from_points
from core.geometry import Float64Array
from core.inference.manifest import ModelManifest, TensorSpec, by_id, load_manifests, manifest_folder
from core.inference.pixels import colours_of, numbers_of
from core.inference.sessions import LeftOut, Session, Sessions
from core.records import Float32Array, SourceIdentity, SwapOptions
from core.swap.masker import Masker

BATCH = 4
BATCH_SIDE_PX = 512  # of larger crops, as many at once as have the pixels of BATCH such crops


class Enhancer:
    """One enhancing model with the surface of a Swapper, so that a face stage can hold either.

    `left_out` counts the faces that were left as they came because memory was short and the job allowed it.
    """

    needs_mesh = False

    def __init__(self, manifest: ModelManifest, session: Session | None, masker: Masker, options: SwapOptions) -> None:
        """`session` of the manifest's model, None where memory is so short that all faces are left out. Of the options,
        those of the enhancer are read. `ModelError` where the manifest is not that of an enhancer."""
        picture, *others = manifest.inputs
        template = manifest.template
        if template is None or picture.shape[-1] != template.side_px or len(others) > 1:
            what = "an enhancer has a picture of its template's side as first input and at most a weight beside it"
            raise ModelError(what, where=f"model {manifest.id}", hint="see models/README.md")
        self.id = manifest.id
        self.provider = session.provider if session else "none"
        self.device = session.device if session else "none"
        self.left_out = 0
        self._manifest = manifest
        self._session = session
        self._may_go = options.enhancer_may_go
        self._masker = masker
        self._blend = options.enhancer_blend
        self._fidelity = options.enhancer_weight
        self._template = template
        self._picture = picture.name
        self._weight: TensorSpec | None = others[0] if others else None

    @property
    def batch(self) -> int:
        """How many faces of it are worth to be gathered."""
        share = (BATCH_SIDE_PX / self._template.side_px) ** 2
        fixed = self._session.batch if self._session else None
        return fixed or max(1, min(BATCH, int(BATCH * share)))

    def side_for(self, reach_px: float, identity: SourceIdentity) -> int:
        """The template's, however large the face."""
        del reach_px, identity
        return self._template.side_px

    def crop_from_display(self, points: NDArray[Any], mesh: NDArray[Any], side_px: int) -> Float64Array:
        """The least-squares similarity that takes the five points onto the template; `mesh` is not used."""
        del mesh, side_px
        return chip_from_points(points, self._template)

    def swap(
        self, crops: Float32Array, landmarks: Float32Array, identities: Sequence[SourceIdentity]
    ) -> tuple[Float32Array, Float32Array]:
        """Restored crops and masks of the same faces, shapes and ranges as of Swapper.swap.

        The blend is in the masks: what is kept of the face is then the frame's own samples, not a crop of them. Faces
        that are left out get a mask of zeros.
        """
        del identities
        try:
            made = self._answers(crops)
        except LeftOut as error:
            if not self._may_go:  # another job's wish let the model go
                raise ModelError(
                    "too little memory", where=error.where, hint="allow it with --enhancer-may-go"
                ) from error
            self.left_out += len(crops)
            return crops, np.zeros((len(crops), 1, *crops.shape[2:]), np.float32)
        if not np.isfinite(made).all():
            raise ModelError("the network answered with numbers that are not finite", where=f"model {self.id}")
        colours = np.clip(colours_of(made, self._manifest.output_pixels), 0, 1)
        masks = self._masker.masks(crops, landmarks) * np.float32(self._blend)
        return np.asarray(colours, np.float32), np.asarray(masks, np.float32)

    def _answers(self, crops: Float32Array) -> Float32Array:
        """The network's numbers for the crops; `LeftOut` where it is not run any more."""
        if self._session is None:
            raise LeftOut("left out for want of memory", where=f"model {self.id}")
        manifest = self._manifest
        feeds: dict[str, NDArray[np.float32]] = {self._picture: numbers_of(crops, manifest.pixels)}
        if self._weight is not None:
            feeds[self._weight.name] = np.full(len(crops), self._fidelity, np.float32)
        return self._session.run(feeds)[0]


def open_enhancer(options: SwapOptions, sessions: Sessions) -> Enhancer | None:
    """The enhancer that the options name, None where they name none or blend nothing of it in.

    It gets the options' masks without their padding, which is meant for the swapper's crop. Raises `InputError` for a
    blend or weight out of bounds, `ModelError` for an unknown name and for missing or wrong weights.
    """
    for name in ("blend", "weight"):
        value = getattr(options, f"enhancer_{name}")
        if not 0 <= value <= 1:
            raise InputError(f"enhancer {name} {value:g}", hint="a number from 0 to 1")
    if options.enhancer is None or options.enhancer_blend == 0:
        return None
    manifest = by_id(load_manifests(manifest_folder()), options.enhancer, "enhancer")
    masker = Masker(whole_face(options), sessions)
    session: Session | None = None
    with suppress(LeftOut):
        session = sessions.open(manifest, precision=options.precision, may_go=options.enhancer_may_go)
    return Enhancer(manifest, session, masker, options)


def whole_face(options: SwapOptions) -> SwapOptions:
    """The options with masks for an enhancer's crop."""
    return SwapOptions(
        masks=options.masks,
        mask_blur=options.mask_blur,
        occlusion_model=options.occlusion_model,
        region_model=options.region_model,
    )
