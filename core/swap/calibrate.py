"""Inputs of a network out of a film's own faces, for INT8 calibration: what it will see, not noise.

Every face of a few frames, spread over the film, is cut as the manifest says. A swapper is given the identity of the
face itself; an enhancer's number (`weight`) is a half.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.errors import InputError
from core.faces.align import cut, template_chip
from core.faces.analyse import open_models
from core.faces.embed import Recogniser
from core.faces.portrait import Portrait, portraits
from core.faces.stills import Still, read_stills
from core.geometry import scaling
from core.inference.manifest import (
    TEMPLATES,
    ModelManifest,
    PixelSpec,
    Template,
    by_id,
    load_manifests,
    manifest_folder,
)
from core.inference.pixels import numbers_of
from core.inference.sessions import Sessions
from core.records import Float32Array
from core.swap.latents import Latents, swap_spec

Feeds = dict[str, Float32Array]

RECOGNISER = "w600k_r50"  # whose vectors the converters take
FREE_SIDE = 640  # px, where a detector takes pictures of any size
WEIGHT = 0.5
# Where the points go in a crop for a network that takes any crop with the face in it (masks).
ANY_CROP = "ffhq_512"


def calibration_inputs(film: Path, manifest: ModelManifest, sessions: Sessions) -> list[Feeds]:
    """Inputs of `manifest`'s network, one face (a detector: one frame) each: float32 [1,...] by tensor name.

    Raises `InputError` for a film that cannot be read or shows no face, `ModelError` for missing weights (a swapper's
    recogniser among them).
    """
    if manifest.role == "detector":
        found = [_detector_feeds(still, manifest) for still in read_stills(film)]
    else:
        models = open_models(sessions)
        feeds_of = _feeds_of(manifest, sessions)
        stills = (portraits(still.rgb, models.detector, models.mesher) for still in read_stills(film))
        found = [feeds_of(face) for faces in stills for face in faces]
    if not found:
        raise InputError("no face found to calibrate with", where=str(film), hint="name a film with faces in it")
    return found


def _feeds_of(manifest: ModelManifest, sessions: Sessions) -> Callable[[Portrait], Feeds]:
    """How the network's inputs are made of a face; opens what is needed for that."""
    vector_of = _identity(manifest, sessions)

    def feeds(face: Portrait) -> Feeds:
        made: Feeds = {}
        for spec in manifest.inputs:
            rank = len(spec.shape)
            if rank == 1:
                made[spec.name] = np.full(1, WEIGHT, np.float32)
            elif rank == 2:
                made[spec.name] = vector_of(face)
            elif manifest.swap is not None and manifest.swap.image is not None and spec.name == "source":
                made[spec.name] = _numbers(face, manifest.swap.image, manifest.swap.image_pixels)
            else:
                last = spec.shape[-1] == 3
                numbers = _numbers(face, _template(manifest, spec.shape[1 if last else 2]), manifest.pixels)
                made[spec.name] = np.ascontiguousarray(numbers.transpose(0, 2, 3, 1)) if last else numbers
        return made

    return feeds


def _identity(manifest: ModelManifest, sessions: Sessions) -> Callable[[Portrait], Float32Array]:
    """A face's identity as the network wants it, [1,L]."""
    manifests = load_manifests(manifest_folder())
    if manifest.role == "converter":
        recogniser = Recogniser(sessions.open(by_id(manifests, RECOGNISER, "embedder")))
        return lambda face: recogniser.embed([recogniser.chip(face.rgb, face.points)])
    if manifest.role != "swapper" or swap_spec(manifest).identity == "image":
        return _no_identity
    spec = swap_spec(manifest)
    recogniser = Recogniser(sessions.open(by_id(manifests, spec.recogniser or "", "embedder")))
    converter = sessions.open(by_id(manifests, spec.converter, "converter")) if spec.converter else None
    session = sessions.open(manifest)
    latents = Latents(manifest, session, converter)
    session.drop()  # only what was beside the graph is needed
    return lambda face: latents.of(recogniser.embed([recogniser.chip(face.rgb, face.points)]))


def _no_identity(face: Portrait) -> Float32Array:
    """For networks that ask for none."""
    del face
    return np.zeros((1, 0), np.float32)


def _template(manifest: ModelManifest, side: int | str) -> Template:
    if manifest.template is not None:
        return manifest.template
    side_px = side if isinstance(side, int) else FREE_SIDE
    return Template(side_px, tuple((x * side_px, y * side_px) for x, y in TEMPLATES[ANY_CROP]))


def _numbers(face: Portrait, template: Template, pixels: PixelSpec) -> Float32Array:
    return _network(template_chip(face.rgb, face.points, template), pixels)


def _network(chip: NDArray[np.uint8], pixels: PixelSpec) -> Float32Array:
    """A picture uint8 RGB [h,w,3] as float32 [1,3,h,w]."""
    return numbers_of(chip.transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255), pixels)


def _detector_feeds(still: Still, manifest: ModelManifest) -> Feeds:
    """The frame scaled to fit the detector's picture, top left; its edge continues to the right and below."""
    spec = manifest.inputs[0]
    side = spec.shape[-1] if isinstance(spec.shape[-1], int) else FREE_SIDE
    scale = side / max(still.rgb.shape[:2])
    return {spec.name: _network(cut(still.rgb, scaling(scale, scale), side), manifest.pixels)}
