"""How much of a new crop the frame gets: box, hull, occlusion and region masks, combined by minimum.

Masks are float32 [n,1,S,S] in 0..1 on the grid of the crops [n,3,S,S], and 0 on the crop's rim, so that nothing
outside the crop is touched. The two networks look at the target's crop, before the swap.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np

from core.errors import InputError, ModelError
from core.inference.manifest import ModelManifest, Role, by_id, load_manifests, manifest_folder
from core.inference.pixels import numbers_of
from core.records import Float32Array, MaskKind, SwapOptions
from core.swap.mask import OVAL, feathered, filled_hull, softened
from core.swap.swapper import mask_models

if TYPE_CHECKING:
    from core.inference.sessions import Session, Sessions

KINDS: tuple[MaskKind, ...] = ("box", "hull", "occlusion", "region")
# FaceFusion's box (read as facts): blurred by blur/2 of the side, standard deviation a quarter of that, and the box's
# edge drawn in by half of it.
BLUR_PART, SIGMA_PART, INSET_PART = 0.5, 0.25, 0.5
HULL_PART = 0.25  # of `mask_blur`: width of the hull's soft edge, inside it
# Networks' masks are blurred by 5 px of 256 and their lower half is cut off: the edge lies inside what they found.
NETWORK_SIGMA = 5 / 256
# Classes of BiSeNet's 19 (CelebAMask-HQ): skin, brows, eyes, glasses, nose, inner mouth, lips. Left out are
# background, ears, earrings, neck, necklace, clothes, hair, hats.
REGION_CLASSES = (1, 2, 3, 4, 5, 6, 10, 11, 12, 13)
CLASSES = 19


class Masker:
    """The masks that some options ask for."""

    def __init__(self, options: SwapOptions, sessions: Sessions | None) -> None:
        """Opens the networks; `sessions` may be None where none is asked for.

        Raises `InputError` for an unknown kind or a bad number, `ModelError` for an unknown network, one of another
        role or of tensors that are not a mask's, and for missing or wrong weights.
        """
        unknown = [kind for kind in options.masks if kind not in KINDS]
        if unknown:
            raise InputError(f"unknown mask {unknown[0]}", hint=f"one or more of: {', '.join(KINDS)}")
        if not 0 <= options.mask_blur <= 1:
            raise InputError(f"mask blur {options.mask_blur:g}", hint="a number from 0 to 1")
        top, right, bottom, left = options.mask_padding
        if min(options.mask_padding) < 0 or max(top + bottom, left + right) >= 1:
            raise InputError("mask padding leaves no mask", hint="parts of the side, opposite sides together under 1")
        self._options = options
        self._networks = [_open(role, name, sessions) for role, name in mask_models(options)]
        self._boxes: dict[tuple[int, bool], Float32Array] = {}

    def masks(self, crops: Float32Array, landmarks: Float32Array) -> Float32Array:
        """Masks [n,1,S,S] for crops float32 RGB [n,3,S,S] in 0..1 with mesh points [n,468,2] in crop pixels.

        A face whose mesh is not known (NaN) gets the box where a hull was asked for. Raises `ModelError`.
        """
        side = crops.shape[-1]
        combined = np.zeros((len(crops), side, side), np.float32)
        for number, mesh in enumerate(landmarks):
            combined[number] = self._geometric(side, mesh if np.isfinite(mesh).all() else None)
        for session in self._networks if len(crops) else ():
            combined = np.minimum(combined, _found(session, crops))
        return np.asarray(combined[:, None], np.float32)

    def _geometric(self, side: int, mesh: Float32Array | None) -> Float32Array:
        """Box and hull [S,S]; the narrowest box where neither is asked for, so that the rim is 0."""
        hull = "hull" in self._options.masks
        cover = self._box(side, "box" in self._options.masks or (hull and mesh is None))
        if hull and mesh is not None:
            edge = HULL_PART * self._options.mask_blur * side
            cover = np.minimum(cover, feathered(filled_hull(mesh, OVAL, side), edge))
        return cover

    def _box(self, side: int, wanted: bool) -> Float32Array:
        known = self._boxes.get((side, wanted))
        if known is None:
            blur, padding = (self._options.mask_blur, self._options.mask_padding) if wanted else (0.0, (0.0,) * 4)
            known = self._boxes.setdefault((side, wanted), box_mask(side, blur, padding))
        return known


def _open(role: Role, name: str, sessions: Sessions | None) -> Session:
    if sessions is None:
        raise InputError(f"mask {role} without its model", hint="open the masks with sessions")
    manifest = by_id(load_manifests(manifest_folder()), name, role)
    if fault := mask_fault(manifest):
        raise ModelError(fault, where=f"model {name}", hint="see models/README.md")
    return sessions.open(manifest)


def mask_fault(manifest: ModelManifest) -> str | None:
    """Why the manifest's tensors cannot be read as a mask's, None when they can."""
    channels = 1 if manifest.role == "occlusion" else CLASSES
    if len(manifest.inputs) != 1 or _side(manifest.inputs[0].shape, 3) is None:
        return f"a mask's network takes one square picture of three channels, role {manifest.role}"
    shape = manifest.outputs[0].shape
    # Scores of parts lie in planes (region_of); one plane alone may have its channel at either end.
    if _side(shape, channels) is None or (channels > 1 and shape[1] != channels):
        return f"the answer of a network of role {manifest.role} is a square of {channels} channels"
    return None


def _side(shape: tuple[int | str, ...], channels: int) -> int | None:
    """The side of square pictures [n,channels,s,s] or [n,s,s,channels]; None for any other shape."""
    if len(shape) != 4 or channels not in (shape[1], shape[3]):
        return None
    height, width = shape[2:] if shape[1] == channels else shape[1:3]
    return height if isinstance(height, int) and height == width else None


def _found(session: Session, crops: Float32Array) -> Float32Array:
    """What a network says of crops [n,3,S,S]: [n,S,S], 1 where the new face may be seen."""
    manifest = session.manifest
    seen = session.run({manifest.inputs[0].name: network_input(crops, manifest)})[0]
    if not np.isfinite(seen).all():
        raise ModelError("the network answered with numbers that are not finite", where=f"model {manifest.id}")
    read = occlusion_of if manifest.role == "occlusion" else region_of
    return np.stack([_edged(picture, crops.shape[-1]) for picture in read(seen)])


def box_mask(side: int, blur: float, padding: tuple[float, ...]) -> Float32Array:
    """A box with soft edges [side,side]: `padding` is top, right, bottom, left, both in parts of the side.

    A step blurred by a Gaussian, in closed form and by axis; scaled so that the rim is 0 and not nearly 0.
    """
    top, right, bottom, left = padding
    rows, columns = _profile(side, blur, top, bottom), _profile(side, blur, left, right)
    return np.asarray(rows[:, None] * columns[None], np.float32)


def _profile(side: int, blur: float, before: float, after: float) -> Float32Array:
    """The box's weights along one axis, [side]."""
    reach = BLUR_PART * blur * side
    inset = max(INSET_PART * reach, 1.0)
    low, high = max(inset, before * side) - 0.5, side - max(inset, after * side) - 0.5
    sigma = max(SIGMA_PART * reach, 1e-3) * math.sqrt(2)
    raw = [0.5 * (math.erf((x - low) / sigma) - math.erf((x - high) / sigma)) for x in range(side)]
    rim = max(raw[0], raw[-1])
    return np.asarray(np.clip((np.array(raw) - rim) / (1 - rim), 0, 1), np.float32)


def network_input(crops: Float32Array, manifest: ModelManifest) -> Float32Array:
    """Crops float32 RGB [n,3,S,S] in 0..1 as a manifest's first input wants them: side, layout, order, numbers."""
    shape = manifest.inputs[0].shape
    side = _side(shape, 3)
    if side is None:
        raise ValueError(f"{manifest.id} takes no square pictures")
    pictures = np.ascontiguousarray(crops.transpose(0, 2, 3, 1))
    small = np.stack([resized(picture, side) for picture in pictures]).transpose(0, 3, 1, 2)
    numbers = numbers_of(small, manifest.pixels)
    return np.ascontiguousarray(numbers.transpose(0, 2, 3, 1)) if shape[-1] == 3 else numbers


def resized(picture: Float32Array, side: int) -> Float32Array:
    """A picture [s,s,...] at another side: averaged when it shrinks, bilinear when it grows."""
    if len(picture) == side:
        return picture
    how = cv2.INTER_AREA if side < len(picture) else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, (side, side), interpolation=how), np.float32)


def occlusion_of(seen: Float32Array) -> Float32Array:
    """XSeg's output [n,h,w,1] or [n,1,h,w] as [n,h,w]: 1 where nothing lies before the face."""
    cover = seen[..., 0] if seen.shape[-1] == 1 else seen[:, 0]
    return np.asarray(np.clip(cover, 0, 1), np.float32)


def region_of(seen: Float32Array) -> Float32Array:
    """BiSeNet's scores [n,19,h,w] as [n,h,w]: 1 where the likeliest class belongs to the face."""
    return np.asarray(np.isin(seen.argmax(axis=1), REGION_CLASSES), np.float32)


def _edged(picture: Float32Array, side: int) -> Float32Array:
    """A network's mask [h,w] on the crop's grid, its edge soft and inside."""
    blurred = softened(resized(picture, side), NETWORK_SIGMA * side)
    return np.asarray(np.clip(2 * blurred - 1, 0, 1), np.float32)
