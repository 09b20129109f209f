"""The person of a reference picture: whom to look for in the film."""

from __future__ import annotations

import numpy as np

from core.errors import InputError
from core.faces.analyse import FaceModels
from core.faces.portrait import clear_one, portraits, vectors_of
from core.media.image import read_image
from core.records import Float32Array


def reference_vector(path: str, models: FaceModels) -> Float32Array:
    """The vector [D] by `models.embedder` of the only or clearly largest face of the image at `path`.

    `InputError` when the file is no image that we read, and when it holds no face or none that is clearly meant.
    """
    faces = portraits(read_image(path), models.detector, models.mesher)
    if not faces:
        hint = "give a picture that shows the person's face clearly"
        raise InputError("no face found in the reference image", where=path, hint=hint)
    face = clear_one(faces)
    if face is None:
        what = f"{len(faces)} faces in the reference image, none clearly the largest"
        raise InputError(what, where=path, hint="crop it to the one to look for")
    return np.asarray(vectors_of([face], models.embedder)[0], np.float32)
