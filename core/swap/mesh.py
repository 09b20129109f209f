"""The geometric swapper: the source photograph's skin, laid over the target's 468 mesh points.

Not a neural swap: the target keeps its shape and movement, its eyes, the inside of its mouth, its hair and its
light; the source gives skin, brows, nose and lips. Per face and frame, without memory of other frames; steadiness
comes from mesh points that were smoothed over the whole film, and from colour fields far smoother than a feature.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from core.geometry import Float64Array, apply, level_extent, scaling, square_crop
from core.kept import Kept
from core.records import EYE_OUTER, Float32Array, SourceIdentity
from core.swap import mask as masks
from core.swap.texture import FaceTexture, texture_of
from core.swap.tone import light_ratio

GRID_PX = 256  # masks, light and the warp are computed at this side, and enlarged: they are smooth
SIDES_PX = (256, 512)  # of crops; a source face, kept with at most 570 px, fills no more
# A crop serves squares up to this many times its side, in displayed pixels. Detail of 1 px in the new face, 256 and
# 512: 3.9 and 4.1 grey levels at a square of 320, 3.4 and 4.1 at 362, 2.2 and 3.5 at 512.
STRETCH = 1.25
HELD = 24  # identities whose textures are kept, of up to 7 MB
CROP_MARGIN = 1.12  # of the oval's longer extent
# Parts of the crop's side:
FEATHER = 0.05  # width of the outer edge
EYE_EDGE = 0.007  # blur of the edges of eyes and mouth
LIP_LINE = 0.004  # width of the line where lips meet
TEETH_REACH = 0.04  # width of the band along the inner lips in which teeth are looked for
# In parts of the lips' mean brightness and redness: where it begins to be mouth, where it is certain.
GAP_LIGHT = (0.75, 0.5)
TEETH_LIGHT = (1.0, 1.2)
TEETH_RED = (0.7, 0.4)


class MeshSwapper:
    """Swapper "mesh". Holds the prepared textures of the last identities it has seen and nothing else."""

    id = "mesh"
    needs_mesh = True
    provider = "OpenCV"
    device = "cpu"

    def __init__(self, sides_px: tuple[int, ...] = SIDES_PX) -> None:
        """`sides_px` rises; all are multiples of GRID_PX."""
        self._sides_px = sides_px
        self._textures: Kept[int, tuple[SourceIdentity, FaceTexture]] = Kept(HELD)  # by the identity's own id()

    def side_for(self, reach_px: float, identity: SourceIdentity) -> int:
        """By the largest the face gets in its track, so that it has one side throughout and never changes it in view.

        The source's own extent bounds it: a finer crop would hold no more of it.
        """
        square_px = CROP_MARGIN * min(reach_px, float(level_extent(identity.mesh, *EYE_OUTER)))
        return next((side for side in self._sides_px if square_px <= STRETCH * side), self._sides_px[-1])

    def crop_from_display(self, points: NDArray[Any], mesh: NDArray[Any], side_px: int) -> Float64Array:
        """A square around the face's oval, level with its eyes; `points` are not used."""
        del points
        left, right = mesh[EYE_OUTER[0]], mesh[EYE_OUTER[1]]
        angle = float(np.arctan2(right[1] - left[1], right[0] - left[0]))
        along = np.array([np.cos(angle), np.sin(angle)])
        across = np.array([-along[1], along[0]])
        oval = np.asarray(mesh, np.float64)[list(masks.OVAL)] @ np.stack([along, across], axis=1)
        low, high = oval.min(axis=0), oval.max(axis=0)
        extent = float((high - low).max())
        if not extent > 0:
            raise ValueError("the mesh has no extent")
        centre = (low + high) / 2
        return square_crop(centre[0] * along + centre[1] * across, extent * CROP_MARGIN, angle, side_px)

    def swap(
        self, crops: Float32Array, landmarks: Float32Array, identities: Sequence[SourceIdentity]
    ) -> tuple[Float32Array, Float32Array]:
        faces = zip(crops, landmarks, identities, strict=True)
        pairs = [self._one(crop, mesh, self._texture(identity)) for crop, mesh, identity in faces]
        fresh, mask = zip(*pairs, strict=True)
        return np.stack(fresh), np.stack(mask)[:, None]

    def _texture(self, identity: SourceIdentity) -> FaceTexture:
        return self._textures.get(id(identity), lambda: (identity, texture_of(identity)))[1]

    def _one(self, crop: Float32Array, mesh: Float32Array, texture: FaceTexture) -> tuple[Float32Array, Float32Array]:
        """New crop [3,S,S] and mask [S,S] of one crop [3,S,S] with mesh [468,2]. G is GRID_PX."""
        side = crop.shape[-1]
        mesh = np.asarray(apply(scaling(GRID_PX / side, GRID_PX / side), mesh), np.float32)
        target = _resized(np.ascontiguousarray(crop.transpose(1, 2, 0)), GRID_PX)  # [G,G,3]
        laid = texture.laid_over(mesh, GRID_PX, side)  # [S,S,4]
        coarse = _resized(laid, GRID_PX)
        skin, allowed = coarse[..., :3], coarse[..., 3]
        region = _Region.of(mesh, target)
        hull = region.hull * allowed
        light = light_ratio(skin, target, hull * region.plain, side)
        lit = np.clip(laid[..., :3] * light, 0, 1)
        edge = masks.feathered(region.hull, FEATHER * GRID_PX)
        mask = masks.softened(edge * allowed, 0.01 * GRID_PX) * edge * (1 - region.kept)
        return np.ascontiguousarray(lit.transpose(2, 0, 1)), _resized(np.asarray(mask, np.float32), side)


@dataclass(frozen=True)
class _Region:
    """Parts of the target's face as float32 [S,S]: inside the outline; without features; kept from the target."""

    hull: Float32Array
    plain: Float32Array
    kept: Float32Array

    @staticmethod
    def of(mesh: Float32Array, target: Float32Array) -> _Region:
        """The regions of a crop [S,S,3] with mesh [468,2]."""
        side = len(target)
        hull = masks.filled_hull(mesh, masks.OUTLINE, side)
        openings = [masks.filled(mesh, part, side) for part in (masks.LEFT_EYE, masks.RIGHT_EYE, masks.INNER_LIPS)]
        # The line where closed lips meet belongs to the target's mouth too.
        line = masks.lined(mesh, masks.INNER_LIPS, side, max(1, round(LIP_LINE * side)))
        lips = masks.filled(mesh, masks.OUTER_LIPS, side)
        kept = np.maximum.reduce([*openings, line, _gap(target, mesh, lips, openings[2])])
        brows = [masks.filled(mesh, part, side) for part in (masks.LEFT_BROW, masks.RIGHT_BROW)]
        plain = 1 - np.maximum.reduce([kept, lips, *brows])
        return _Region(hull, np.asarray(plain, np.float32), masks.softened(kept, EYE_EDGE * side))


def _gap(target: Float32Array, mesh: Float32Array, lips: Float32Array, opening: Float32Array) -> Float32Array:
    """What lies between the lips and is no lip, float32 [S,S]: the mouth's dark, and teeth beside the opening.

    The mesh makes small openings smaller than they are; darkness and white show how far they really go. `lips` is
    the polygon of the outer lips, `opening` of the inner ones, `target` the crop [S,S,3].
    """
    light, red = target.mean(axis=2), target[..., 0] - target[..., 1]
    skin = lips * (1 - opening)
    total = float(skin.sum())
    if total < 1:
        return np.zeros_like(lips)
    lip_light = max(float((light * skin).sum()) / total, 1e-3)
    lip_red = max(float((red * skin).sum()) / total, 1e-3)
    dark = _ramp(light / lip_light, *GAP_LIGHT)
    side = len(target)
    near = masks.lined(mesh, masks.INNER_LIPS, side, max(1, round(TEETH_REACH * side)))
    teeth = _ramp(light / lip_light, *TEETH_LIGHT) * _ramp(red / lip_red, *TEETH_RED) * near
    return np.asarray(np.maximum(dark, teeth) * lips, np.float32)


def _resized(picture: Float32Array, side: int) -> Float32Array:
    """A picture [s,s,...] at another side: averaged when it shrinks, bilinear when it grows."""
    if len(picture) == side:
        return picture
    how = cv2.INTER_AREA if side < len(picture) else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, (side, side), interpolation=how), np.float32)


def _ramp(values: Float32Array, zero: float, one: float) -> Float32Array:
    """0 at `zero`, 1 at `one` and beyond."""
    return np.asarray(np.clip((values - zero) / (one - zero), 0, 1), np.float32)
