"""Models and frames, loaded once a session."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from core.faces.analyse import FaceModels
from tests.faces_assets import carphone_clip, face_models


@pytest.fixture(scope="session")
def models() -> FaceModels:
    return face_models()


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faces")


@pytest.fixture(scope="session")
def carphone_film(clips: Path) -> Path:
    return carphone_clip(clips)


@pytest.fixture(scope="session")
def carphone_frames(carphone_film: Path) -> list[NDArray[np.uint8]]:
    """Every sixth frame of the clip, uint8 RGB [368,448,3]."""
    with av.open(str(carphone_film)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return frames[::6]
