"""One face of a still picture as a source: how large, how much from the front, how clear it is; which one is meant."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from core.errors import InputError
from core.faces.detect import LONGEST_PX, Detections, Detector
from core.faces.embed import Recogniser
from core.faces.finds import distinct
from core.faces.landmarks import PRESENCE_MIN, Mesher
from core.geometry import box_area
from core.records import EYE_OUTER, Float32Array

# A face that fills its picture, or one of many, may be missed at the usual size.
SIZES_PX = (LONGEST_PX, LONGEST_PX // 2, 2 * LONGEST_PX)
CLEAR_MAJORITY = 2.0  # the largest face is meant when its area is this many times the next one's
FACE_MIN_PX = 48  # a smaller source has less detail than any face it would replace
# Beyond it half of the face is not to be seen. The mesh makes turns smaller than they are: scikit-image's cameraman, in
# profile, reads 47 degrees, people who look aside in a group picture 33 to 36.
TURN_MAX_DEG = 40.0
LARGE_PX = 160.0  # a larger face is no better for any of our networks
# Variance of the Laplacian of an aligned grey chip at which sharpness counts half: the astronaut's face has 165, the
# blurred ones of a group picture 33 to 50.
SHARP_HALF = 50.0
# What is kept of a picture around the middle of a face, in extents to each side: a crop of 2.2 extents fits at any
# angle. Whole pictures of a film's frames would fill the memory.
SURROUNDINGS = 1.7
NOSE_TIP, CHEEKS = 1, (234, 454)  # mesh points; left and right end of the face as seen in the picture
# How far the nose tip stands before the cheeks' line, in halves of the face's width; measured on meshes with depth.
NOSE_DEPTH = 1.4


@dataclass(frozen=True)
class Portrait:
    """A face with its surroundings uint8 RGB [h,w,3], mesh [468,2], points [5,2] and the detector's score.

    `number` counts the faces of the picture it was cut out of, from 0 at the left.
    """

    rgb: NDArray[np.uint8]
    mesh: Float32Array
    points: Float32Array
    score: float
    number: int

    @property
    def extent_px(self) -> float:
        """The longer side of the mesh."""
        return float(np.ptp(self.mesh, axis=0).max())

    @property
    def angle_rad(self) -> float:
        """Of the line from the left to the right eye, y down."""
        left, right = self.mesh[EYE_OUTER[0]], self.mesh[EYE_OUTER[1]]
        return float(np.arctan2(right[1] - left[1], right[0] - left[0]))

    @property
    def turn_deg(self) -> float:
        """How far the face looks to a side, about, from 0 to 90 degrees."""
        return turn_deg(self.mesh)

    def quality(self, chip: NDArray[np.uint8]) -> float:
        """From 0 to 1: certain, large, from the front and sharp. `chip` is the face aligned, uint8 RGB [S,S,3]."""
        grey = cv2.cvtColor(chip, cv2.COLOR_RGB2GRAY)
        detail = float(cv2.Laplacian(grey, cv2.CV_32F).var())
        sharp = detail / (detail + SHARP_HALF)
        return self.score * min(self.extent_px / LARGE_PX, 1.0) * float(np.cos(np.radians(self.turn_deg))) * sharp

    def flaw(self) -> tuple[str, str] | None:
        """Why the face will not do as a source, and what to do; None when it will."""
        if self.extent_px < FACE_MIN_PX:
            what = f"the face is {self.extent_px:.0f} px high, at least {FACE_MIN_PX} are needed"
            return what, "give a larger picture of it"
        if self.turn_deg > TURN_MAX_DEG:
            what = f"the face is turned away by about {self.turn_deg:.0f} degrees, at most {TURN_MAX_DEG:.0f} will do"
            return what, "give a picture of it from the front"
        return None


def turn_deg(mesh: Float32Array) -> float:
    """The turn of a mesh [468,2] to a side, about: the nose tip moves between the cheeks with the turn's tangent."""
    left, right = (np.asarray(mesh[point], np.float64) for point in CHEEKS)
    across = right - left
    place = float((mesh[NOSE_TIP] - (left + right) / 2) @ across) / max(float(across @ across) / 2, 1e-12)
    return float(np.degrees(np.arctan(abs(place) / NOSE_DEPTH)))


def find_faces(rgb: NDArray[np.uint8], detector: Detector, mesher: Mesher) -> tuple[Detections, Float32Array]:
    """Faces with a mesh in a picture uint8 RGB [h,w,3], from left to right, and their meshes [k,468,2]."""
    for longest_px in SIZES_PX:
        found = detector.at(longest_px).detect([rgb])[0]
        mesh, presence = mesher.mesh([rgb] * len(found), found.box, found.points)
        rows = np.flatnonzero(presence > PRESENCE_MIN)
        rows = rows[distinct(mesh[rows], found.score[rows], np.zeros(len(rows), np.int64))]
        if len(rows):
            rows = rows[np.argsort(found.box[rows, 0] + found.box[rows, 2], kind="stable")]
            return found.take(rows), mesh[rows]
    return found.take([]), mesh[:0]


def portraits(rgb: NDArray[np.uint8], detector: Detector, mesher: Mesher) -> list[Portrait]:
    """Every face of a picture uint8 RGB [h,w,3], from left to right."""
    found, mesh = find_faces(rgb, detector, mesher)
    made = []
    for row in range(len(found)):
        low, high = mesh[row].min(axis=0), mesh[row].max(axis=0)
        reach = SURROUNDINGS * float((high - low).max())
        limits = rgb.shape[1::-1]
        x0, y0 = (int(v) for v in np.clip(np.floor((low + high) / 2 - reach), 0, np.array(limits) - 1))
        x1, y1 = (int(v) for v in np.clip(np.ceil((low + high) / 2 + reach), (x0 + 1, y0 + 1), limits))
        corner = np.array([x0, y0], np.float32)
        part = rgb[y0:y1, x0:x1].copy()
        made.append(Portrait(part, mesh[row] - corner, found.points[row] - corner, float(found.score[row]), row))
    return made


def vectors_of(faces: list[Portrait], recogniser: Recogniser) -> Float32Array:
    """The faces' vectors [n,D] by a recogniser."""
    return recogniser.embed([recogniser.chip(face.rgb, face.points) for face in faces])


def clear_one(faces: list[Portrait]) -> Portrait | None:
    """The only face, or the one that is clearly the largest; None when there is no such face."""
    areas = box_area(np.array([[*face.mesh.min(axis=0), *face.mesh.max(axis=0)] for face in faces]).reshape(-1, 4))
    order = np.argsort(-areas, kind="stable")
    if len(faces) == 0 or (len(faces) > 1 and areas[order[0]] < CLEAR_MAJORITY * areas[order[1]]):
        return None
    return faces[int(order[0])]


def choose(faces: list[Portrait], face: int | None, recogniser: Recogniser, where: str) -> tuple[Portrait, str]:
    """Which of a picture's faces is meant, and what to tell the user about it ("" nothing).

    `face` is its number from 1 at the left, None for the only or clearly largest one. Raises `InputError` when there
    is none, not this one, none clearly the largest, or when the largest ones are one person, twice in the picture.
    """
    count = len(faces)
    if count == 0:
        hint = "give a picture that shows one face clearly, from the front"
        raise InputError("no face found in the source image", where=where, hint=hint)
    numbers = f"--source-face 1 to {count}, counted from the left"
    if face is not None:
        if not 1 <= face <= count:
            raise InputError(f"there is no face {face} in the source image", where=where, hint=f"give {numbers}")
        return faces[face - 1], ""
    chosen = clear_one(faces)
    if chosen is None:
        hint = f"crop it to one, or give {numbers}"
        extents = np.array([one.extent_px for one in faces])
        rivals = [faces[int(row)] for row in np.argsort(-extents, kind="stable")[:2]]
        if recogniser.distance(*vectors_of(rivals, recogniser)) <= recogniser.same_person:
            raise InputError("the same face is in the source image twice", where=where, hint=hint)
        raise InputError(f"{count} faces in the source image, none clearly the largest", where=where, hint=hint)
    if count == 1:
        return chosen, ""
    return chosen, f"{count} faces in the source image: took the largest, number {chosen.number + 1} from the left"
