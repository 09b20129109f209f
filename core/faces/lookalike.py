"""One face seen in two films at the same place: its chips, its vectors, its meshes, and how far they differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from core.faces.align import chip_from_points, cut
from core.faces.embed import Recogniser
from core.faces.landmarks import PRESENCE_MIN, Mesher
from core.faces.pose import Difference, difference, openings
from core.geometry import Float64Array, apply, compose, square_crop
from core.records import EYE_OUTER, FaceTable, Float32Array

CHIP_PX = 64
COARSE_PX = 16  # of a chip whose finest detail, and with it what an encoder loses, is averaged away
BOX_SCALE = 1.1  # of a face without mesh
# Half axes of the ellipse that holds the face in a chip as wide and high as the mesh's longer side.
FACE_ELLIPSE = (0.36, 0.46)
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601

Picture = NDArray[np.uint8]
Pair = tuple[Float32Array, Float32Array]


@dataclass(frozen=True)
class Look:
    """What was measured of one face: chips of both films, both meshes' difference and openings of mouth and eyes
    (None where no mesh was found in one of them), and vectors [D] where asked for. `solid` is the original's mesh."""

    chips: Pair
    solid: Float32Array
    difference: Difference | None
    openings: tuple[tuple[float, float], tuple[float, float]] | None
    vectors: Pair | None


def chips_of(pictures: tuple[Picture, Picture], crop: Float64Array) -> Pair:
    """The same crop [2,3] of both films' frames, float32 RGB [CHIP_PX,CHIP_PX,3] in 0..255."""
    first, second = (np.asarray(cut(picture, crop, CHIP_PX), np.float32) for picture in pictures)
    return first, second


def crops_of(faces: FaceTable, display_from_coded: Float64Array) -> list[Float64Array]:
    """crop_from_coded of each row: level with the eyes, as large as its mesh."""
    crops = []
    for box, mesh in zip(faces.box, faces.mesh, strict=True):
        if np.isfinite(mesh).all():
            shown = apply(display_from_coded, mesh)
            left, right = shown[EYE_OUTER[0]], shown[EYE_OUTER[1]]
            angle, scale = float(np.arctan2(right[1] - left[1], right[0] - left[0])), 1.0
        else:
            shown, angle, scale = apply(display_from_coded, np.asarray(box, np.float64).reshape(2, 2)), 0.0, BOX_SCALE
        low, high = shown.min(axis=0), shown.max(axis=0)
        side = max(float((high - low).max()) * scale, 1.0)
        crops.append(compose(square_crop((low + high) / 2, side, angle, CHIP_PX), display_from_coded))
    return crops


def look(
    pictures: tuple[Picture, Picture],
    faces: FaceTable,
    display_from_coded: Float64Array,
    mesher: Mesher,
    recogniser: Recogniser,
    with_vector: Sequence[bool],
) -> list[Look]:
    """Measure the faces of one frame in both films' pictures uint8 RGB [h,w,3].

    Everything is looked for where the original has the face, in the same way in both films, so that equal pictures
    give equal numbers.
    """
    count = len(faces)
    twice = [pictures[0]] * count + [pictures[1]] * count
    _, solid, presence = mesher.solid(
        twice, np.tile(faces.box, (2, 1)), np.tile(faces.points, (2, 1, 1)), display_from_coded
    )
    vectors = _vectors(pictures, faces, display_from_coded, recogniser, with_vector)
    looks = []
    for row, crop in enumerate(crops_of(faces, display_from_coded)):
        one, other = solid[row], solid[count + row]
        seen = min(presence[row], presence[count + row]) > PRESENCE_MIN
        looks.append(
            Look(
                chips=chips_of(pictures, crop),
                solid=one,
                difference=difference(one, other) if seen else None,
                openings=(openings(one), openings(other)) if seen else None,
                vectors=vectors[row],
            )
        )
    return looks


def _vectors(
    pictures: tuple[Picture, Picture],
    faces: FaceTable,
    display_from_coded: Float64Array,
    recogniser: Recogniser,
    wanted: Sequence[bool],
) -> list[Pair | None]:
    rows = [row for row, one in enumerate(wanted) if one]
    chips = []
    for picture in pictures:
        for row in rows:
            crop = chip_from_points(apply(display_from_coded, faces.points[row]), recogniser.template)
            chips.append(cut(picture, compose(crop, display_from_coded), recogniser.template.side_px))
    found = recogniser.embed(chips)
    out: list[Pair | None] = [None] * len(faces)
    for place, row in enumerate(rows):
        out[row] = found[place], found[len(rows) + place]
    return out


def change(chips: Pair) -> float:
    """Mean difference of two chips' luma inside the face, in levels of 0..255, without their finest detail and without
    what differs all over it: another encoding or grading is no other face."""
    size = (COARSE_PX, COARSE_PX)
    first, second = (cv2.resize(chip @ LUMA, size, interpolation=cv2.INTER_AREA) for chip in chips)
    apart = np.asarray(first - second, np.float32)[_face(COARSE_PX)]
    return float(np.abs(apart - np.median(apart)).mean())


def movement(before: Float32Array, after: Float32Array) -> float:
    """Mean difference of two chips of following frames inside the face, in levels of 0..255."""
    return float(np.abs(before - after)[_face(CHIP_PX)].mean())


@lru_cache(maxsize=2)
def _face(side_px: int) -> NDArray[np.bool_]:
    y, x = (np.mgrid[:side_px, :side_px] + 0.5) / side_px - 0.5
    inside: NDArray[np.bool_] = (x / FACE_ELLIPSE[0]) ** 2 + (y / FACE_ELLIPSE[1]) ** 2 <= 1
    return inside
