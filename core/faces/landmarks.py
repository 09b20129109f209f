"""468 points of a face, by MediaPipe's face landmark network.

The network wants the face upright in a 192x192 crop, its box scaled by 1.5 (Kartynnik et al., "Real-time facial
surface geometry from monocular video on mobile GPUs", 2019). The first crop comes from the detector's box; the
second from the points of the first pass, as MediaPipe does from frame to frame. Here it is done inside one frame,
so that the points depend on nothing but the frame, and on the detector's box hardly at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.faces.align import cut
from core.geometry import IDENTITY, Float64Array, apply, compose, invert, scale_of, square_crop
from core.inference.sessions import Session
from core.records import EYE_OUTER, MESH_POINTS, Float32Array

CROP_PX = 192
BOX_SCALE = 1.5
PASSES = 2
PRESENCE_MIN = 0.0  # logit; even odds


@dataclass(frozen=True)
class _Found:
    """Mesh points [n,468,2] in picture pixels, their depth [n,468] in crop pixels, and crop_from_picture of each."""

    in_picture: Float32Array
    depth: Float32Array
    crops: list[Float64Array]


class Mesher:
    """Finds mesh points of detected faces; holds a session, no state between calls."""

    def __init__(self, session: Session, *, batch: int = 4, passes: int = PASSES) -> None:
        self._session = session
        self._batch = batch
        self._passes = passes

    def mesh(
        self,
        pictures: Sequence[NDArray[np.uint8]],
        boxes: NDArray[np.floating],
        points: NDArray[np.floating],
        display_from_picture: Float64Array = IDENTITY,
    ) -> tuple[Float32Array, Float32Array]:
        """Mesh points float32 [n,468,2] in picture pixels, and presence logits float32 [n].

        `pictures` holds one uint8 RGB [h,w,3] a face (the same one may occur again); `boxes` [n,4] and `points`
        [n,5,2] are in picture pixels. Crops are upright in the displayed picture, whatever `display_from_picture`
        does. Points of a face with presence below PRESENCE_MIN are still given; the caller judges.
        """
        found, presence = self._look(pictures, boxes, points, display_from_picture)
        return found.in_picture, presence

    def solid(
        self,
        pictures: Sequence[NDArray[np.uint8]],
        boxes: NDArray[np.floating],
        points: NDArray[np.floating],
        display_from_picture: Float64Array = IDENTITY,
    ) -> tuple[Float32Array, Float32Array, Float32Array]:
        """As `mesh`, with the points' depth: mesh [n,468,2] in picture pixels, points float32 [n,468,3] in displayed
        pixels, and presence [n].

        Depth is the network's own, in the scale of x and y, smaller towards the camera.
        """
        found, presence = self._look(pictures, boxes, points, display_from_picture)
        shown = apply(display_from_picture, found.in_picture)
        scale = np.array([scale_of(crop) for crop in found.crops]) / scale_of(display_from_picture)
        depth = found.depth / scale.reshape(-1, 1)
        return found.in_picture, np.asarray(np.concatenate([shown, depth[..., None]], axis=-1), np.float32), presence

    def _look(
        self,
        pictures: Sequence[NDArray[np.uint8]],
        boxes: NDArray[np.floating],
        points: NDArray[np.floating],
        display_from_picture: Float64Array,
    ) -> tuple[_Found, Float32Array]:
        count = len(pictures)
        crops = [
            compose(_first_crop(box, five, display_from_picture), display_from_picture)
            for box, five in zip(boxes, points, strict=True)
        ]
        found = np.zeros((count, MESH_POINTS, 2), np.float32)
        depth = np.zeros((count, MESH_POINTS), np.float32)
        presence = np.zeros(count, np.float32)
        for number in range(self._passes):
            if number:
                crops = [_next_crop(mesh, display_from_picture) for mesh in found]
            for start in range(0, count, self._batch):
                rows = range(start, min(start + self._batch, count))
                chips = np.stack([cut(pictures[row], crops[row], CROP_PX) for row in rows])
                mesh, logit = self._session.run({"image": chips.astype(np.float32) / np.float32(255)})
                for item, row in enumerate(rows):
                    # Mesh coordinates count from the crop's edge, ours from the centre of its first pixel.
                    found[row] = apply(invert(crops[row]), mesh[item, :, :2] - 0.5)
                    depth[row] = mesh[item, :, 2]
                    presence[row] = logit[item, 0]
        return _Found(found, depth, crops), presence


def _first_crop(
    box: NDArray[np.floating], five: NDArray[np.floating], display_from_picture: Float64Array
) -> Float64Array:
    """crop_from_display around the detector's box, level with its eyes."""
    corners = apply(display_from_picture, np.array([[box[0], box[1]], [box[2], box[3]]]))
    left, right = apply(display_from_picture, five[:2])
    side = float(np.abs(corners[1] - corners[0]).max())
    return square_crop(corners.mean(axis=0), side * BOX_SCALE, _angle(left, right), CROP_PX)


def _next_crop(mesh: NDArray[np.floating], display_from_picture: Float64Array) -> Float64Array:
    """crop_from_picture around mesh points [468,2] of a picture: their extent along the eye line and across."""
    shown = apply(display_from_picture, mesh)
    angle = _angle(shown[EYE_OUTER[0]], shown[EYE_OUTER[1]])
    level = square_crop(np.zeros(2), 1.0, angle, 1)  # a turn alone
    turned = apply(level, shown)
    low, high = turned.min(axis=0), turned.max(axis=0)
    centre = apply(invert(level), (low + high) / 2)
    side = max(float((high - low).max()), 1.0)
    return compose(square_crop(centre, side * BOX_SCALE, angle, CROP_PX), display_from_picture)


def _angle(left: NDArray[np.floating], right: NDArray[np.floating]) -> float:
    return float(np.arctan2(right[1] - left[1], right[0] - left[0]))
