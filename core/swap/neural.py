"""Swappers that are networks: a face aligned to a template and a source identity in, the same face as another out.

One code path for all of them. What differs between models is in their manifests: the template, the colours' numbers,
and what the input `source` holds. Inputs are named `source` and `target`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import ModelError
from core.geometry import Float64Array, compose, similarity
from core.inference.pixels import colours_of, numbers_of
from core.inference.sessions import Session
from core.kept import Kept
from core.records import Float32Array, SourceIdentity, SwapOptions
from core.swap import boost as tiles
from core.swap.masker import Masker
from core.swap.source import SourceInput, crop_from_template, template_of

HELD = 32  # identities whose items are kept: vectors of 2 kB, or pictures of up to 3 MB
AT_ONCE = 4  # pictures of one call where the session takes any number; bounds the activations' memory


class NeuralSwapper:
    """The swapper of one model. Holds the input `source` of the last identities it has seen."""

    needs_mesh = False

    def __init__(self, session: Session, source: SourceInput, masker: Masker, options: SwapOptions) -> None:
        """`source` makes the model's input `source`. Of the options, boost and strength are read here."""
        self.id = session.manifest.id
        self.provider = session.provider
        self.device = session.device
        self._session = session
        self._source = source
        self._masker = masker
        self._boost = options.boost
        self._strength = options.strength
        self._template = template_of(session.manifest)
        self._check()
        self._items: Kept[int, tuple[SourceIdentity, Float32Array]] = Kept(HELD)  # by the identity's own id()

    def _check(self) -> None:
        """`ModelError` where the manifest's tensors are not those of a swapper."""
        manifest = self._session.manifest
        sides = {tensor.name: tensor.shape[-1] for tensor in manifest.inputs}
        if set(sides) != {"source", "target"}:
            what = f"a swapper's inputs are source and target, the manifest has {', '.join(sides) or 'none'}"
            raise ModelError(what, where=f"model {manifest.id}", hint="see models/README.md")
        if sides["target"] != self._template.side_px:
            what = f"a template of {self._template.side_px} px for an input of {sides['target']} px"
            raise ModelError(what, where=f"model {manifest.id}", hint="see models/README.md")

    def side_for(self, reach_px: float, identity: SourceIdentity) -> int:
        """The model's side times the boost, however large the face."""
        del reach_px, identity
        return self._template.side_px * self._boost

    def crop_from_display(self, points: NDArray[Any], mesh: NDArray[Any], side_px: int) -> Float64Array:
        """The least-squares similarity (Umeyama) that takes the five points onto the model's template.

        As insightface's norm_crop2 at boost 1; `mesh` is not used.
        """
        del mesh
        crop_from_display = similarity(points, np.array(self._template.points))
        if not np.isfinite(crop_from_display).all() or not abs(float(np.linalg.det(crop_from_display[:, :2]))) > 0:
            raise ValueError("the five points span no area")
        return compose(crop_from_template(side_px // self._template.side_px), crop_from_display)

    def swap(
        self, crops: Float32Array, landmarks: Float32Array, identities: Sequence[SourceIdentity]
    ) -> tuple[Float32Array, Float32Array]:
        """See Swapper. Raises `ModelError` when the network fails or answers with numbers that are none."""
        if len(crops) == 0:
            return np.zeros_like(crops), np.zeros((0, 1, *crops.shape[2:]), np.float32)
        pictures = tiles.split(numbers_of(crops, self._session.manifest.pixels), self._boost)
        fresh = tiles.joined(self._run(pictures, self._items_for(crops, identities)), self._boost)
        if not np.isfinite(fresh).all():
            hint = "use the model in fp32" if self._session.use.precision != "fp32" else "check the file of its weights"
            raise ModelError(
                "the network answered with numbers that are not finite", where=f"model {self.id}", hint=hint
            )
        colours = colours_of(fresh, self._session.manifest.output_pixels)
        return np.clip(colours, 0, 1), self._masker.masks(crops, landmarks)

    def _items_for(self, crops: Float32Array, identities: Sequence[SourceIdentity]) -> Float32Array:
        """The input `source` [n,...] of each crop."""
        wanted = np.stack([self._item(identity) for identity in identities])
        if self._strength < 1:
            return self._source.mixed(self._source.own(crops, self._boost), wanted, self._strength)
        return wanted

    def _item(self, identity: SourceIdentity) -> Float32Array:
        """The item of an identity. One with the same id that is another object is looked at again: its vectors may
        come from another detector's points."""
        return self._items.get(id(identity), lambda: (identity, self._source.of(identity)))[1]

    def _run(self, pictures: Float32Array, items: Float32Array) -> Float32Array:
        """The network's answers [m,3,s,s] to pictures [m,3,s,s], a whole number of them for each of the items [n,...].

        Called with a few pictures at a time: one boosted crop makes up to 64.
        """
        size = self._session.batch or AT_ONCE
        crop_of = np.arange(len(pictures)) // (len(pictures) // len(items))
        answers = []
        for start in range(0, len(pictures), size):
            part = slice(start, start + size)
            answers.append(self._session.run({"target": pictures[part], "source": items[crop_of[part]]})[0])
        return answers[0] if len(answers) == 1 else np.concatenate(answers)
