"""The source face: which face of an image is meant, cut out, with its mesh and embedding."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.errors import InputError
from core.faces.align import cut
from core.faces.detect import LONGEST_PX, Detections, Detector
from core.faces.embed import Recogniser
from core.faces.landmarks import PRESENCE_MIN, Mesher
from core.geometry import apply, box_area, square_crop
from core.media.image import read_image
from core.records import EYE_OUTER, Float32Array, SourceIdentity, SourceSpec

CROP_SCALE = 1.8  # of the mesh's larger extent: hair and ears are in the picture, for whoever wants them
CROP_MAX_PX = 1024
FACE_MIN_PX = 48  # a smaller source has less detail than any face it would replace
CLEAR_MAJORITY = 2.0  # the largest face is meant when its area is this many times the next one's
# A face that fills its picture, or one of many, may be missed at the usual size.
SIZES_PX = (LONGEST_PX, LONGEST_PX // 2, 2 * LONGEST_PX)


def load_identity(spec: SourceSpec, detector: Detector, mesher: Mesher, embedder: Recogniser) -> SourceIdentity:
    """The face of `spec.path` that `spec.face` names, or the only or clearly largest one.

    Raises `InputError` when the image is unreadable, holds no face, several without a clear one, or not the one
    asked for, or one too small.
    """
    rgb = read_image(spec.path)
    found, mesh = find_faces(rgb, detector, mesher)
    number, note = choose_face(found, spec)
    chosen, points = mesh[number], found.points[number]
    extent = float(np.ptp(chosen, axis=0).max())
    if extent < FACE_MIN_PX:
        raise InputError(
            f"the face is {extent:.0f} px high, at least {FACE_MIN_PX} are needed",
            where=spec.path,
            hint="give a larger picture of it",
        )
    left, right = chosen[EYE_OUTER[0]], chosen[EYE_OUTER[1]]
    angle = float(np.arctan2(right[1] - left[1], right[0] - left[0]))
    side = extent * CROP_SCALE
    crop_px = min(round(side), CROP_MAX_PX)
    middle = (chosen.min(axis=0) + chosen.max(axis=0)) / 2
    crop = square_crop(middle, side, angle, crop_px)
    sha256 = hashlib.sha256(Path(spec.path).read_bytes()).hexdigest()
    return SourceIdentity(
        id=f"{sha256[:16]}-{number + 1}",
        sha256=sha256,
        face=number + 1,
        image=cut(rgb, crop, crop_px),
        mesh=apply(crop, chosen).astype(np.float32),
        embedding=embedder.embed([embedder.chip(rgb, points)])[0],
        notes=(note,) if note else (),
    )


def find_faces(rgb: NDArray[np.uint8], detector: Detector, mesher: Mesher) -> tuple[Detections, Float32Array]:
    """Faces with a mesh in a picture uint8 RGB [h,w,3], from left to right, and their meshes [k,468,2]."""
    for longest_px in SIZES_PX:
        found = detector.at(longest_px).detect([rgb])[0]
        mesh, presence = mesher.mesh([rgb] * len(found), found.box, found.points)
        rows = np.flatnonzero(presence > PRESENCE_MIN)
        if len(rows):
            rows = rows[np.argsort(found.box[rows, 0] + found.box[rows, 2], kind="stable")]
            return replace(found, box=found.box[rows], score=found.score[rows], points=found.points[rows]), mesh[rows]
    return replace(found, box=found.box[:0], score=found.score[:0], points=found.points[:0]), mesh[:0]


def choose_face(found: Detections, spec: SourceSpec) -> tuple[int, str]:
    """Which of the faces, numbered from 0 at the left, is meant, and what to tell the user about it ("" nothing)."""
    count = len(found)
    if count == 0:
        hint = "give a picture that shows one face clearly, from the front"
        raise InputError("no face found in the source image", where=spec.path, hint=hint)
    if spec.face is not None:
        if not 1 <= spec.face <= count:
            hint = f"give --source-face 1 to {count}, counted from the left"
            raise InputError(f"there is no face {spec.face} in the source image", where=spec.path, hint=hint)
        return spec.face - 1, ""
    if count == 1:
        return 0, ""
    areas = box_area(found.box)
    order = np.argsort(-areas, kind="stable")
    if areas[order[0]] < CLEAR_MAJORITY * areas[order[1]]:
        hint = f"crop it to one, or give --source-face 1 to {count}, counted from the left"
        raise InputError(f"{count} faces in the source image, none clearly the largest", where=spec.path, hint=hint)
    number = int(order[0])
    return number, f"{count} faces in the source image: took the largest, number {number + 1} from the left"
