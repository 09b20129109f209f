"""Look for faces in one segment of a film. Per frame and without memory, so it does not matter how a film is cut.

Every frame is scored against the one before it, for shots. Vectors are dear, so they are taken of some frames only,
by a rule that sees one frame: its ordinal, which spreads them evenly over every track, and where shapes and places do
not tell who is who: where faces are close to each other, because there tracks may change places, and at the picture's
edge, where a face that is seen in part changes its shape.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.faces.align import chip_from_points, cut, shrink
from core.faces.detect import Detector, open_detector
from core.faces.embed import Recogniser
from core.faces.finds import distinct, visible
from core.faces.landmarks import PRESENCE_MIN, Mesher
from core.faces.sharpness import sharpness
from core.faces.shots import ShotScorer, ShotScores
from core.geometry import Float64Array, apply, box_area, compose, display_from_coded, invert, map_boxes, scaling
from core.inference.manifest import by_id, by_role, load_manifests, manifest_folder
from core.inference.sessions import CPU, Sessions
from core.media.decode import decode_segment
from core.media.picture import rgb_picture
from core.records import BoolArray, Damage, FaceTable, Float32Array, Int64Array, MediaIndex, Segment

# Coordinates are rounded to this part of a pixel: finer than any model's noise, and coarse enough that the last bits
# of float arithmetic do not differ between runs.
STEP_PX = 1 / 64
ACCELERATOR_BATCH = 4
SURE_SCORE = 0.5
WEAK_PRESENCE_MIN = 10.0  # what a find below SURE_SCORE must show
# Frames from one with vectors of all its faces to the next: six or more a second are enough for a track's mean, and a
# vector takes as long as the mesh does (7 ms of processor time; the detector 40 ms a frame).
# Where only some frames are looked at, a face changes much from one to the next, and all of these have vectors: of the
# carphone clip with every second or third frame, whose head shakes, that alone makes one track.
VECTOR_EVERY = 4
# Faces are close when their boxes, enlarged by this factor, touch: they cannot change places before they do so.
CLOSE_SCALE = 1.5
EDGE = 0.05  # of the box's side: nearer to the picture's edge than this a face may be seen in part
# In a crowd everybody is close to somebody. The largest so many get their vectors each time, the others every
# VECTOR_EVERY frames.
CLOSE_MOST = 16
VECTOR_STEP = 2.0**-16  # of the vectors' numbers, as STEP_PX


@dataclass(frozen=True)
class FaceModels:
    """The networks of the analysis, shared by threads; `batch` is how many frames are looked at together.

    `embedder` is the recogniser whose vectors are taken.

    On a CPU one frame at a time is fastest, because a batch of activations does not fit its caches (measured: 39
    against 50 ms a 640x384 picture); results are bit-identical for any batch.
    """

    detector: Detector
    mesher: Mesher
    embedder: Recogniser
    provider: str
    device: str
    batch: int


def open_models(sessions: Sessions, detector: str = "centerface", recogniser: str | None = None) -> FaceModels:
    """The detector and recogniser called so (None: the embedded one), and the embedded mesh; `ModelError` when one is
    missing or altered."""
    manifests = load_manifests(manifest_folder())
    looking = sessions.open(by_id(manifests, detector, "detector"))
    mesh = sessions.open(by_role(manifests, "mesh"))
    knowing = by_id(manifests, recogniser, "embedder") if recogniser is not None else by_role(manifests, "embedder")
    batch = 1 if looking.provider == CPU else ACCELERATOR_BATCH
    return FaceModels(
        detector=open_detector(looking),
        mesher=Mesher(mesh, batch=batch),
        embedder=Recogniser(sessions.open(knowing), batch=batch),
        provider=looking.provider,
        device=looking.device,
        batch=batch,
    )


@dataclass(frozen=True)
class SegmentFaces:
    """What is seen in one segment: its faces, how its frames differ, and the frames that are not whole."""

    faces: FaceTable
    shots: ShotScores
    damage: tuple[Damage, ...]


def analyse_segment(
    path: Path,
    index: MediaIndex,
    segment: Segment,
    models: FaceModels,
    *,
    heartbeat: Callable[[int], None],
    detect_every: int = 1,
) -> SegmentFaces:
    """What `look_at_segment` sees, its faces in one table."""
    tables: list[FaceTable] = []
    shots, damage = look_at_segment(
        path, index, segment, models, tables.append, heartbeat=heartbeat, detect_every=detect_every
    )
    return SegmentFaces(FaceTable.concat(tables), shots, damage)


def look_at_segment(
    path: Path,
    index: MediaIndex,
    segment: Segment,
    models: FaceModels,
    found: Callable[[FaceTable], None],
    *,
    heartbeat: Callable[[int], None],
    detect_every: int = 1,
) -> tuple[ShotScores, tuple[Damage, ...]]:
    """Give `found` the faces of the segment's frames in coded pixels, in order; how its frames differ, and the frames
    that are not whole. Rows: see FaceTable; track and role are -1.

    Only frames whose ordinal is a multiple of `detect_every` are looked at; all of them are decoded and scored.
    `heartbeat` is called with the number of frames done.
    """
    view = _View.of(index, models.detector)
    scorer = ShotScorer(segment.first)
    damage: list[Damage] = []
    seen: list[_Seen] = []
    for done, item in enumerate(decode_segment(path, index, segment), 1):
        if item.damage is not None:
            damage.append(Damage(item.ordinal, item.pts, item.damage))
        picture = rgb_picture(item.frame)
        small = view.small(picture)
        scorer.add(small)
        if item.ordinal % detect_every == 0:
            seen.append(_Seen(item.ordinal, picture, small))
        if len(seen) == models.batch or (seen and done == segment.frames):
            found(_look(seen, view, models, detect_every))
            seen = []
        heartbeat(done)
    return scorer.scores(), tuple(damage)


@dataclass(frozen=True)
class _Seen:
    """A frame to be looked at: uint8 RGB as coded, and as the detector wants it."""

    ordinal: int
    picture: NDArray[np.uint8]
    small: NDArray[np.uint8]


@dataclass(frozen=True)
class _View:
    """How the coded picture is shown, and how small the detector gets it."""

    display_from_coded: Float64Array
    small_from_coded: Float64Array
    small_width: int  # of the coded picture before it is turned
    small_height: int
    turns: int  # quarter turns counter-clockwise
    coded_size: tuple[int, int]  # width and height

    @staticmethod
    def of(index: MediaIndex, detector: Detector) -> _View:
        video = index.video
        shown, wide, high = display_from_coded(video.width, video.height, video.sample_aspect_ratio, video.rotation)
        small_wide, small_high = detector.fitted_size(wide, high)
        turns = round(video.rotation / 90) % 4
        unturned = (small_high, small_wide) if turns % 2 else (small_wide, small_high)
        small = compose(scaling(small_wide / wide, small_high / high), shown)
        return _View(shown, small, *unturned, turns, (video.width, video.height))

    def small(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The coded picture uint8 RGB as the detector wants it: small and upright."""
        return np.ascontiguousarray(np.rot90(shrink(picture, self.small_width, self.small_height), self.turns))


def _look(batch: list[_Seen], view: _View, models: FaceModels, detect_every: int) -> FaceTable:
    """The faces of a few frames."""
    found = [visible(one) for one in models.detector.detect([item.small for item in batch])]
    rows = [row for row, one in enumerate(found) for _ in range(len(one))]
    if not rows:
        return FaceTable.empty()
    coded_from_small = invert(view.small_from_coded)
    box = map_boxes(coded_from_small, np.concatenate([one.box for one in found]))
    points = apply(coded_from_small, np.concatenate([one.points for one in found]))
    pictures = {item.ordinal: item.picture for item in batch}
    mesh, presence = models.mesher.mesh([batch[row].picture for row in rows], box, points, view.display_from_coded)
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
    table = table.take(np.lexsort((-box_area(table.box), table.frame)))
    sharp = [
        sharpness(pictures[int(table.frame[row])], table.box[row], table.mesh[row], view.display_from_coded)
        for row in range(len(table))
    ]
    vector = _vectors(table, pictures, view, models.embedder, detect_every)
    return replace(table, sharpness=np.array(sharp, np.float32), vector=vector)


def _vectors(
    table: FaceTable,
    pictures: Mapping[int, NDArray[np.uint8]],
    view: _View,
    embedder: Recogniser,
    detect_every: int,
) -> Float32Array:
    """Vectors [n,D] of the rows that get one, NaN for the others. Chips are cut upright and with square pixels."""
    vector = np.full((len(table), embedder.dimensions), np.nan, np.float32)
    rows = np.flatnonzero(rows_with_vectors(table.frame, table.box, view.coded_size, detect_every))
    chips = []
    for row in rows:
        chip = chip_from_points(apply(view.display_from_coded, table.points[row]), embedder.template)
        picture = pictures[int(table.frame[row])]
        chips.append(cut(picture, compose(chip, view.display_from_coded), embedder.template.side_px))
    vector[rows] = np.round(embedder.embed(chips) / VECTOR_STEP) * VECTOR_STEP
    return vector


def rows_with_vectors(frame: Int64Array, box: Float32Array, size: tuple[int, int], detect_every: int = 1) -> BoolArray:
    """Which faces [n] get a vector, from their frames [n] and boxes [n,4] in a picture of `size` (width, height); those
    of a frame by that frame alone.

    All of every frame whose ordinal is a multiple of VECTOR_EVERY, or of `detect_every` where that is more than 1; of
    other frames the faces that are close to another one or at the picture's edge, at most the CLOSE_MOST largest.
    """
    chosen: BoolArray = frame % (VECTOR_EVERY if detect_every == 1 else detect_every) == 0
    area = box_area(box)
    centre, side = (box[:, :2] + box[:, 2:]) / 2, box[:, 2:] - box[:, :2]
    rim = EDGE * side
    at_edge = ((box[:, :2] <= rim) | (box[:, 2:] >= np.array(size) - 1 - rim)).any(axis=1)
    for ordinal in np.unique(frame[~chosen]):
        rows = np.flatnonzero(frame == ordinal)
        apart = np.abs(centre[rows, None] - centre[None, rows])
        touch = (apart <= CLOSE_SCALE / 2 * (side[rows, None] + side[None, rows])).all(axis=-1)
        doubtful = rows[(touch.sum(axis=1) > 1) | at_edge[rows]]  # everybody touches himself
        chosen[doubtful[np.argsort(-area[doubtful], kind="stable")][:CLOSE_MOST]] = True
    return chosen


def _distinct(table: FaceTable) -> NDArray[np.intp]:
    """Rows that are faces of their own, in order: a weak find that the mesh network takes for no face is dropped."""
    meant = np.flatnonzero((table.presence > WEAK_PRESENCE_MIN) | (table.score >= SURE_SCORE))
    return meant[distinct(table.mesh[meant], table.score[meant], table.frame[meant])]


def _rounded(coordinates: NDArray[np.floating]) -> Float32Array:
    return np.asarray(np.round(coordinates / STEP_PX) * STEP_PX, np.float32)
