"""Look for faces in one segment of a film. Per frame and without memory, so it does not matter how a film is cut."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.faces.align import shrink
from core.faces.detect import Detector, open_detector
from core.faces.embed import Recogniser
from core.faces.finds import distinct
from core.faces.landmarks import PRESENCE_MIN, Mesher
from core.geometry import Float64Array, apply, box_area, compose, display_from_coded, invert, map_boxes, scaling
from core.inference.manifest import by_id, by_role, load_manifests, manifest_folder
from core.inference.sessions import CPU, Sessions
from core.media.decode import DecodedFrame, decode_segment
from core.media.picture import rgb_picture
from core.records import Damage, FaceTable, Float32Array, MediaIndex, Segment

# Coordinates are rounded to this part of a pixel: finer than any model's noise, and coarse enough that the last bits
# of float arithmetic do not differ between runs.
STEP_PX = 1 / 64
ACCELERATOR_BATCH = 4
SURE_SCORE = 0.5
WEAK_PRESENCE_MIN = 10.0  # what a find below SURE_SCORE must show


@dataclass(frozen=True)
class FaceModels:
    """The networks of the analysis, shared by threads; `batch` is how many frames are looked at together.

    On a CPU one frame at a time is fastest, because a batch of activations does not fit its caches (measured: 39
    against 50 ms a 640x384 picture); results are bit-identical for any batch.
    """

    detector: Detector
    mesher: Mesher
    embedder: Recogniser
    provider: str
    device: str
    batch: int


def open_models(sessions: Sessions, detector: str = "centerface") -> FaceModels:
    """The detector called so and the embedded models; `ModelError` when one is missing or altered."""
    manifests = load_manifests(manifest_folder())
    looking = sessions.open(by_id(manifests, detector, "detector"))
    mesh = sessions.open(by_role(manifests, "mesh"))
    embedder = sessions.open(by_role(manifests, "embedder"))
    batch = 1 if looking.provider == CPU else ACCELERATOR_BATCH
    return FaceModels(
        detector=open_detector(looking),
        mesher=Mesher(mesh, batch=batch),
        embedder=Recogniser(embedder, batch=batch),
        provider=looking.provider,
        device=looking.device,
        batch=batch,
    )


def analyse_segment(
    path: Path,
    index: MediaIndex,
    segment: Segment,
    models: FaceModels,
    *,
    heartbeat: Callable[[int], None],
) -> tuple[FaceTable, tuple[Damage, ...]]:
    """Faces of the segment's frames in coded pixels, and the frames that are not whole.

    `heartbeat` is called with the number of frames done. Rows: see FaceTable; track and source are -1.
    """
    view = _View.of(index, models.detector)
    tables: list[FaceTable] = []
    damage: list[Damage] = []
    done = 0
    frames = decode_segment(path, index, segment)
    for batch in _batches(frames, models.batch):
        damage += [Damage(item.ordinal, item.pts, item.damage) for item in batch if item.damage is not None]
        tables.append(_look(batch, view, models))
        done += len(batch)
        heartbeat(done)
    return FaceTable.concat(tables), tuple(damage)


@dataclass(frozen=True)
class _View:
    """How the coded picture is shown, and how small the detector gets it."""

    display_from_coded: Float64Array
    small_from_coded: Float64Array
    small_width: int  # of the coded picture before it is turned
    small_height: int
    turns: int  # quarter turns counter-clockwise

    @staticmethod
    def of(index: MediaIndex, detector: Detector) -> _View:
        video = index.video
        shown, wide, high = display_from_coded(video.width, video.height, video.sample_aspect_ratio, video.rotation)
        small_wide, small_high = detector.fitted_size(wide, high)
        turns = round(video.rotation / 90) % 4
        unturned = (small_high, small_wide) if turns % 2 else (small_wide, small_high)
        small = compose(scaling(small_wide / wide, small_high / high), shown)
        return _View(shown, small, *unturned, turns)

    def small(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The coded picture uint8 RGB as the detector wants it: small and upright."""
        return np.ascontiguousarray(np.rot90(shrink(picture, self.small_width, self.small_height), self.turns))


def _batches(frames: Iterator[DecodedFrame], size: int) -> Iterator[list[DecodedFrame]]:
    while batch := list(islice(frames, size)):
        yield batch


def _look(batch: list[DecodedFrame], view: _View, models: FaceModels) -> FaceTable:
    """The faces of a few frames."""
    pictures = [rgb_picture(item.frame) for item in batch]
    found = models.detector.detect([view.small(picture) for picture in pictures])
    rows = [row for row, one in enumerate(found) for _ in range(len(one))]
    if not rows:
        return FaceTable.empty()
    coded_from_small = invert(view.small_from_coded)
    box = map_boxes(coded_from_small, np.concatenate([one.box for one in found]))
    points = apply(coded_from_small, np.concatenate([one.points for one in found]))
    mesh, presence = models.mesher.mesh([pictures[row] for row in rows], box, points, view.display_from_coded)
    frame = np.array([batch[row].ordinal for row in rows], np.int64)
    score = np.concatenate([one.score for one in found])
    table = FaceTable(
        frame=frame,
        box=_rounded(box),
        score=score,
        points=_rounded(points),
        mesh=np.where((presence > PRESENCE_MIN)[:, None, None], _rounded(mesh), np.float32(np.nan)),
        presence=presence,
        track=np.full(len(rows), -1, np.int32),
        role=np.full(len(rows), -1, np.int32),
        reach_px=np.zeros(len(rows), np.float32),
    )
    table = table.take(_distinct(table))
    return table.take(np.lexsort((-box_area(table.box), table.frame)))


def _distinct(table: FaceTable) -> NDArray[np.intp]:
    """Rows that are faces of their own, in order: a weak find that the mesh network takes for no face is dropped."""
    meant = np.flatnonzero((table.presence > WEAK_PRESENCE_MIN) | (table.score >= SURE_SCORE))
    return meant[distinct(table.mesh[meant], table.score[meant], table.frame[meant])]


def _rounded(coordinates: NDArray[np.floating]) -> Float32Array:
    return np.asarray(np.round(coordinates / STEP_PX) * STEP_PX, np.float32)
