"""A source face made ready once: triangles, a pyramid of its picture, and where its hair is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from core.records import Float32Array, Int64Array, SourceIdentity
from core.swap import mask as masks

LEVELS = 6
TRIANGLE_MIN_PX2 = 0.05  # twice the area of the smallest target triangle that is drawn
SUBPIXEL_BITS = 4
SMOOTHING_PX = 7  # two boxes over the map, so that triangles do not show as facets
# Points on plain skin in every face: cheeks, nose, chin.
SKIN_POINTS = (36, 50, 101, 205, 118, 117, 266, 280, 330, 425, 347, 346, 4, 5, 195, 197, 199, 200, 208, 428)
LIP_MIDDLES, LIP_CORNERS = (13, 14), (78, 308)
OPEN_MOUTH = 0.15  # lips this far apart, in widths of the mouth, belong to a full smile
FOLD_CALM = 0.7  # of a full smile's folds, how much goes
FILL_TRUST = 4.0  # a level of the filling pyramid speaks for itself from a quarter of known pixels on
SKIN_NEAR, SKIN_FAR = 2.8, 4.2  # standard deviations from the skin's colour: surely skin, surely not


@dataclass(frozen=True)
class FaceTexture:
    """`levels[k]` is float32 [h,w,4]: RGB 0..1 with hair painted over, and 1 where there is skin; halved k times.

    mesh is [468,2] in level 0 pixels; triangles int64 [m,3] are mesh points, all turning the same way.
    """

    levels: tuple[Float32Array, ...]
    mesh: Float32Array
    triangles: Int64Array

    def laid_over(self, mesh: Float32Array, grid: int, side: int) -> Float32Array:
        """RGB and skin of this face, float32 [side,side,4], warped onto the mesh [468,2] of a crop [grid,grid].

        The places are found on the grid and enlarged to `side`, a multiple of it: they are smooth, colours are not.
        """
        where, scale = self._map(mesh, grid)
        if side != grid:
            where = np.asarray(cv2.resize(where, (side, side), interpolation=cv2.INTER_LINEAR), np.float32)
            scale *= grid / side
        level = int(np.clip(np.round(np.log2(max(scale, 1e-6))), 0, len(self.levels) - 1))
        if level:
            where = (where + np.float32(0.5)) / np.float32(1 << level) - np.float32(0.5)
        drawn = cv2.remap(
            self.levels[level], where[..., 0], where[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        return np.asarray(drawn, np.float32)

    def _map(self, mesh: Float32Array, side: int) -> tuple[Float32Array, float]:
        """For each crop pixel its place in level 0, float32 [side,side,2]; and source pixels a crop pixel."""
        to, there = mesh[self.triangles].astype(np.float64), self.mesh[self.triangles].astype(np.float64)
        base, edges = to[:, 0], np.stack([to[:, 1] - to[:, 0], to[:, 2] - to[:, 0]], axis=2)  # [m,2], [m,2,2]
        there_edges = np.stack([there[:, 1] - there[:, 0], there[:, 2] - there[:, 0]], axis=2)
        area = np.linalg.det(edges)
        shown = np.flatnonzero(area > TRIANGLE_MIN_PX2)
        linear = there_edges[shown] @ np.linalg.inv(edges[shown])  # [m,2,2]
        shift = there[shown, 0] - (linear @ base[shown, :, None])[..., 0]
        # What no triangle covers takes the whole face's affine map, so that the field has no holes.
        whole = np.linalg.lstsq(np.column_stack([mesh, np.ones(len(mesh))]), self.mesh, rcond=None)[0].T  # [2,3]
        table = np.concatenate([whole[None], np.concatenate([linear, shift[..., None]], axis=2)]).astype(np.float32)
        label = np.zeros((side, side), np.int32)
        corners = np.rint(to[shown] * (1 << SUBPIXEL_BITS)).astype(np.int32)
        for number, triangle in enumerate(corners, start=1):
            cv2.fillConvexPoly(label, triangle, number, cv2.LINE_8, SUBPIXEL_BITS)
        picked = table[label]  # [side,side,2,3]
        y, x = np.mgrid[0:side, 0:side].astype(np.float32)
        where = picked[..., 0] * x[..., None] + picked[..., 1] * y[..., None] + picked[..., 2]
        for _ in range(2):
            where = cv2.blur(where, (SMOOTHING_PX, SMOOTHING_PX), borderType=cv2.BORDER_REPLICATE)
        scale = float(np.sqrt(abs(np.linalg.det(whole[:, :2]))))
        return np.asarray(where, np.float32), scale


def texture_of(identity: SourceIdentity) -> FaceTexture:
    """Prepare a source face."""
    picture = identity.image.astype(np.float32) / np.float32(255)
    skin = skin_of(identity.image, identity.mesh)
    clean = _filled_in(picture, skin)
    lips = _filled_in(clean, 1 - _mouth(identity.mesh, picture.shape[:2]))
    level = np.dstack([_calmed(lips, identity.mesh), skin]).astype(np.float32)
    levels = [level]
    while len(levels) < LEVELS and min(level.shape[:2]) >= 32:
        level = np.asarray(cv2.resize(level, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.float32)
        levels.append(level)
    return FaceTexture(tuple(levels), identity.mesh, triangles_of(identity.mesh))


def triangles_of(mesh: NDArray[Any]) -> Int64Array:
    """Delaunay triangles int64 [m,3] of points [n,2], with positive area in x right, y down order."""
    points = np.asarray(mesh, np.float32)
    low, high = np.floor(points.min(axis=0)) - 2, np.ceil(points.max(axis=0)) + 2
    plane: Any = cv2.Subdiv2D((int(low[0]), int(low[1]), int(high[0] - low[0]), int(high[1] - low[1])))
    number: dict[tuple[float, float], int] = {}
    for row, (x, y) in enumerate(points.tolist()):
        if (x, y) not in number:
            plane.insert((x, y))
            number[x, y] = row
    sixes = [[(six[0], six[1]), (six[2], six[3]), (six[4], six[5])] for six in plane.getTriangleList().tolist()]
    # The subdivision's own far corners are no points of ours.
    found = [[number[corner] for corner in corners] for corners in sixes if all(c in number for c in corners)]
    triangles = np.array(found, np.int64).reshape(-1, 3)
    a, b, c = (points[triangles[:, corner]].astype(np.float64) for corner in range(3))
    turned = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0] < 0
    triangles[turned] = triangles[turned][:, ::-1]
    return triangles[np.lexsort(triangles.T[::-1])]


def skin_of(image: NDArray[np.uint8], mesh: Float32Array) -> Float32Array:
    """Where the photograph [h,w,3] shows skin that may be used, float32 [h,w] in 0..1.

    Colours are compared with those round SKIN_POINTS; brows, eyes, nose and mouth are always kept.
    """
    high, wide = image.shape[:2]
    size = float(np.ptp(mesh[:, 1]))
    blurred = cv2.GaussianBlur(image.astype(np.float32) / 255, (0, 0), max(size / 120, 0.5))
    lab = cv2.cvtColor(blurred, cv2.COLOR_RGB2Lab)
    at = np.rint(mesh[list(SKIN_POINTS)]).astype(int)
    samples = lab[np.clip(at[:, 1], 0, high - 1), np.clip(at[:, 0], 0, wide - 1)]
    centre = np.median(samples, axis=0)
    # Shading makes skin vary in lightness more than in hue; the floors keep an even face from being too strict.
    spread = np.maximum(1.4826 * np.median(np.abs(samples - centre), axis=0), np.array([7.0, 4.0, 4.0]))
    far = np.sqrt((((lab - centre) / spread) ** 2).sum(axis=2))
    skin = np.clip((SKIN_FAR - far) / (SKIN_FAR - SKIN_NEAR), 0, 1).astype(np.float32)
    side = max(high, wide)
    inner = np.zeros((side, side), np.float32)
    for part in (masks.LEFT_BROW, masks.RIGHT_BROW, masks.LEFT_EYE, masks.RIGHT_EYE, masks.OUTER_LIPS, CORE):
        inner = np.maximum(inner, masks.filled_hull(mesh, part, side))
    inner = masks.softened(inner, max(size / 60, 0.5))[:high, :wide]
    reach = 2 * int(np.ceil(size / 60)) + 1
    eroded = cv2.erode(np.maximum(skin, inner), np.ones((reach, reach), np.uint8))
    return np.asarray(np.maximum(cv2.GaussianBlur(eroded, (0, 0), max(size / 60, 0.5)), inner), np.float32)


# Between brows, cheeks and mouth: nothing in here is hair that falls over a face.
CORE = (107, 336, 285, 282, 276, 353, 346, 280, 425, 432, 422, 418, 200, 194, 202, 212, 205, 50, 117, 124, 46, 52, 55)


def _mouth(mesh: Float32Array, shape: tuple[int, ...]) -> Float32Array:
    """What shows between the lips: teeth would be pressed into a white line where the target's mouth shuts."""
    return masks.filled(mesh, masks.INNER_LIPS, max(shape))[: shape[0], : shape[1]]


def _calmed(picture: Float32Array, mesh: Float32Array) -> Float32Array:
    """The picture with the folds that an open smile digs beside the mouth made shallow.

    The target may not be smiling, and the folds would stay. How open the mouth is tells how much of them is the smile.
    """
    high, wide = picture.shape[:2]
    size = float(np.ptp(mesh[:, 1]))
    opening = float(np.linalg.norm(mesh[LIP_MIDDLES[0]] - mesh[LIP_MIDDLES[1]]))
    across = float(np.linalg.norm(mesh[LIP_CORNERS[0]] - mesh[LIP_CORNERS[1]]))
    strength = FOLD_CALM * float(np.clip(opening / max(across, 1e-6) / OPEN_MOUTH, 0, 1))
    folds = np.zeros((max(high, wide),) * 2, np.float32)
    for part in (masks.LEFT_FOLD, masks.RIGHT_FOLD):
        folds = np.maximum(folds, masks.lined(mesh, part, max(high, wide), max(1, round(size * 0.07)), closed=False))
    folds = masks.softened(folds, max(size * 0.012, 0.5))[:high, :wide]
    mixed = strength * folds[..., None]
    return np.asarray(picture * (1 - mixed) + _filled_in(picture, 1 - folds) * mixed, np.float32)


def _filled_in(picture: Float32Array, keep: Float32Array) -> Float32Array:
    """The picture [h,w,3] where `keep` [h,w] is 1, elsewhere colours of what is kept nearby, by push and pull.

    Averages of what is kept go up a pyramid, and come down where a level has too little of its own.
    """
    sums, weights = [picture * keep[..., None]], [keep]
    while min(weights[-1].shape) > 1:
        size = tuple(-(-n // 2) for n in weights[-1].shape[::-1])
        sums.append(np.asarray(cv2.resize(sums[-1], size, interpolation=cv2.INTER_AREA), np.float32))
        weights.append(np.asarray(cv2.resize(weights[-1], size, interpolation=cv2.INTER_AREA), np.float32))
    total = np.maximum(weights[-1].sum(), np.float32(1e-6))
    filled = np.broadcast_to(sums[-1].sum(axis=(0, 1)) / total, sums[-1].shape)
    for level in reversed(range(len(weights))):
        own, share = sums[level], weights[level][..., None]
        coarse = cv2.resize(np.ascontiguousarray(filled), own.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        trust = share if level == 0 else np.clip(share * FILL_TRUST, 0, 1)
        filled = own / np.maximum(share, np.float32(1e-6)) * trust + coarse * (1 - trust)
    return np.asarray(filled, np.float32)
