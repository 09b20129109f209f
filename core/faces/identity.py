"""The source identity: the face to put in, out of one or several images or short films of one person.

What is shown of the person - the crop, its mesh and points - is one picture's: the first file's face, of a film the
best. What identifies the person is the mean of the best pictures' vectors. Pictures of another person, and such in
which the face is too small or turned away, are left out, and a note says so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from core.errors import InputError
from core.faces.align import cut
from core.faces.analyse import FaceModels
from core.faces.embed import Recogniser
from core.faces.portrait import Portrait, choose, clear_one, portraits, vectors_of
from core.faces.stills import read_stills
from core.geometry import apply, square_crop
from core.records import Float32Array, SourceIdentity, SourceSpec

# Of the mesh's larger extent. Hair and ears are in the picture, for whoever wants them, and all of the crops that
# swappers take of a source face: the largest, by the template ffhq_512, reaches 2.1 extents on the pictures tried.
CROP_SCALE = 2.2
CROP_MAX_PX = 1280
BEST_FACES = 8  # whose vectors are averaged; more change little


def load_identity(spec: SourceSpec, models: FaceModels, recognisers: Sequence[Recogniser] = ()) -> SourceIdentity:
    """The face of `spec.path` that `spec.face` names, or the only or clearly largest one, and the vectors of that
    person by every recogniser.

    `spec.more` are further images or films of the person, which need not show nobody else. Raises `InputError` when
    a file is unreadable, and when `spec.path` holds no face, several without a clear one or the same twice, not the
    one asked for, or one too small or turned away.
    """
    main, notes = _main(spec, models)
    reference = vectors_of(main[:1], models.embedder)[0]
    faces = list(main)
    for path in spec.more:
        more, note = _same_person(path, spec.path, reference, models)
        faces += more
        notes += [note] if note else []
    best = [faces[0], *_best(faces[1:], BEST_FACES - 1, models.embedder)]
    if len(faces) > 1:
        notes.append(f"the source's identity is the mean of {len(best)} of {len(faces)} pictures that show the face")
    sha256 = _hash_of(spec)
    face = best[0]
    side_px = face.extent_px * CROP_SCALE
    crop_px = min(round(side_px), CROP_MAX_PX)
    crop = square_crop((face.mesh.min(axis=0) + face.mesh.max(axis=0)) / 2, side_px, face.angle_rad, crop_px)
    return SourceIdentity(
        id=f"{sha256[:16]}-{face.number + 1}",
        sha256=sha256,
        face=face.number + 1,
        image=cut(face.rgb, crop, crop_px),
        mesh=apply(crop, face.mesh).astype(np.float32),
        embedding=_mean(best, models.embedder),
        notes=tuple(notes),
        points=apply(crop, face.points).astype(np.float32),
        vectors={recogniser.id: _mean(best, recogniser) for recogniser in recognisers},
    )


def _mean(faces: list[Portrait], recogniser: Recogniser) -> Float32Array:
    return recogniser.mean(vectors_of(faces, recogniser))


def _best(faces: list[Portrait], count: int, embedder: Recogniser) -> list[Portrait]:
    """At most `count` faces, best first."""
    quality = [face.quality(embedder.chip(face.rgb, face.points)) for face in faces]
    return [faces[row] for row in np.argsort(-np.array(quality), kind="stable")[:count]]


def _main(spec: SourceSpec, models: FaceModels) -> tuple[list[Portrait], list[str]]:
    """The face of `spec.path`, of a film the best one first, and notes."""
    seen = 0
    clear: list[Portrait] = []
    for still in read_stills(spec.path):
        faces = portraits(still.rgb, models.detector, models.mesher)
        if still.frame is None:
            face, note = choose(faces, spec.face, models.embedder, spec.path)
            flaw = face.flaw()
            if flaw is not None:
                raise InputError(flaw[0], where=spec.path, hint=flaw[1])
            return [face], [note] if note else []
        seen += 1
        one = clear_one(faces)
        clear += [one] if one is not None else []
    return _main_of_film(spec, clear, seen, models.embedder)


def _main_of_film(
    spec: SourceSpec, clear: list[Portrait], seen: int, embedder: Recogniser
) -> tuple[list[Portrait], list[str]]:
    """The person that most of a film's frames show: the best picture first, then the others."""
    if spec.face is not None:
        raise InputError("a face's number goes with an image, not a film", where=spec.path, hint="leave it out")
    usable = [face for face in clear if face.flaw() is None]
    if not usable:
        flaw = clear[0].flaw() if clear else None
        what = f"none of {seen} frames shows one face clearly" + (f": {flaw[0]}" if flaw else "")
        raise InputError(what, where=spec.path, hint="give a film or picture of one face, close and from the front")
    vectors = vectors_of(usable, embedder)
    apart = np.array([[embedder.distance(one, other) for other in vectors] for one in vectors])
    same = apart <= embedder.same_person
    centre = int(np.argmax(same.sum(axis=1)))
    kept = [face for face, near in zip(usable, same[centre], strict=True) if near]
    others = len(usable) - len(kept)
    return _best(kept, len(kept), embedder), [f"{spec.path}: {others} frames show another person"] if others else []


def _same_person(path: str, main: str, reference: Float32Array, models: FaceModels) -> tuple[list[Portrait], str]:
    """The faces of a further file that are of the person with the vector `reference`, and a note ("" none)."""
    embedder = models.embedder
    kept: list[Portrait] = []
    reason = "no face found"
    frames = 0
    for still in read_stills(path):
        frames += still.frame is not None
        faces = portraits(still.rgb, models.detector, models.mesher)
        if not faces:
            continue
        apart = [embedder.distance(reference, vector) for vector in vectors_of(faces, embedder)]
        nearest = int(np.argmin(apart))
        flaw = faces[nearest].flaw()
        if apart[nearest] > embedder.same_person:
            reason = f"another person than in {main}"
            reason += f", distance {apart[nearest]:.2f}, at most {embedder.same_person:.2f}"
        elif flaw is not None:
            reason = flaw[0]
        else:
            kept.append(faces[nearest])
    if kept:
        return kept, ""
    looked = f" in any of {frames} frames" if frames and reason == "no face found" else ""
    return [], f"{path} is left out: {reason}{looked}"


def _hash_of(spec: SourceSpec) -> str:
    """The file's SHA-256, or that of the first one's and the sorted others' where there are more."""
    first, *more = (_file_hash(path) for path in (spec.path, *spec.more))
    return hashlib.sha256("".join([first, *sorted(more)]).encode("ascii")).hexdigest() if more else first


def _file_hash(path: str) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
