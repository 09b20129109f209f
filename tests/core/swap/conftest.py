"""A real film, its faces and a real source face, made once a session."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import pytest

from core.faces.analyse import FaceModels, analyse_segment
from core.faces.identity import load_identity
from core.media.index import index_film
from core.media.plan import plan_segments
from core.records import FaceTable, MediaIndex, SourceIdentity, SourceSpec
from tests.faces_assets import astronaut, carphone_clip, cast_film, face_models


@dataclass(frozen=True)
class Film:
    path: Path
    index: MediaIndex
    faces: FaceTable


@pytest.fixture(scope="session")
def models() -> FaceModels:
    return face_models()


@pytest.fixture(scope="session")
def identity(models: FaceModels, tmp_path_factory: pytest.TempPathFactory) -> SourceIdentity:
    path = tmp_path_factory.mktemp("source") / "astronaut.png"
    cv2.imwrite(str(path), astronaut()[..., ::-1])
    return load_identity(SourceSpec(str(path)), models)


@pytest.fixture(scope="session")
def film(models: FaceModels, tmp_path_factory: pytest.TempPathFactory) -> Film:
    """36 frames of a talking head, 448x368, with a keyframe every 12, and the cast of it."""
    path = carphone_clip(tmp_path_factory.mktemp("film"))
    index = index_film(path)
    tables = [
        analyse_segment(path, index, segment, models, heartbeat=lambda _: None).faces
        for segment in plan_segments(index, Fraction(0))
    ]
    return Film(path, index, cast_film(index, FaceTable.concat(tables), "largest"))
