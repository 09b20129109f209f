"""Law 4 with the real detector and mesh: a still face in a noisy, compressed film trembles a fifth after smoothing."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from core.faces.analyse import analyse_segment
from core.faces.smooth import MeanShape, TrackSmoother
from core.geometry import box_area
from core.media.index import index_film
from tests.faces_assets import astronaut, carphone, face_models, pieces_of_film

FRAMES = 60


def still(name: str) -> NDArray[np.uint8]:
    if name == "astronaut":
        return astronaut()[:320, 64:384]
    with av.open(str(carphone())) as file:
        frame = next(file.decode(video=0))
        return np.asarray(frame.to_ndarray(format="rgb24", width=352, height=288), np.uint8)


def noisy_film(path: Path, picture: NDArray[np.uint8], grey_levels: float) -> Path:
    """The picture again and again through a sensor, whose noise grows with light, and x264."""
    random = np.random.default_rng(1)
    deviation = grey_levels * np.sqrt(0.3 + 0.7 * picture / 128.0)
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=30, options={"crf": "23", "preset": "fast"})
        stream.height, stream.width = picture.shape[:2]
        stream.pix_fmt = "yuv420p"
        for _ in range(FRAMES):
            noise = random.normal(0, 1, picture.shape) * deviation
            frame = av.VideoFrame.from_ndarray(np.clip(picture + noise, 0, 255).astype(np.uint8), format="rgb24")
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("name", [pytest.param("astronaut", marks=pytest.mark.heavy), "carphone"])
def test_a_still_face_trembles_a_fifth(name: str, tmp_path: Path) -> None:
    path = noisy_film(tmp_path / "still.mp4", still(name), 5)
    index = index_film(path)
    (segment,) = pieces_of_film(index, [])
    faces = analyse_segment(path, index, segment, face_models(), heartbeat=lambda _: None).faces
    rows = [np.flatnonzero(faces.frame == frame) for frame in range(FRAMES)]
    table = faces.take(np.array([one[np.argmax(box_area(faces.box[one]))] for one in rows]))
    shape = MeanShape(table.mesh[0])
    for mesh in table.mesh:
        shape.add(mesh)
    others = np.concatenate([table.points, table.box.reshape(-1, 2, 2)], axis=1)
    raw = np.concatenate([table.mesh, others], axis=1)
    smoother = TrackSmoother(np.asarray(index.pts), shape.shape())
    out = [one for frame in range(FRAMES) for one in smoother.add(table.mesh[frame], others[frame])]
    smooth = np.array([np.concatenate([mesh, other]) for mesh, other in out if mesh is not None])
    for part in (slice(0, 468), slice(468, 473), slice(473, 475)):
        before, after = raw[:, part], smooth[:, part]
        assert np.std(after - after.mean(axis=0)) < 0.2 * np.std(before - before.mean(axis=0))
        assert np.std(np.diff(after, axis=0)) < 0.2 * np.std(np.diff(before, axis=0))
