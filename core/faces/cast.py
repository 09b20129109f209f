"""Who becomes whom, over the whole film: tracks, gaps filled, points smoothed, faces chosen.

Runs once a film on the faces of all segments, so its result cannot depend on how the film was cut. A face with its
mesh is 4 kB, so a film's faces never are in memory together: they are read twice, part by part. The first time finds
the tracks and their mean shapes, the second smooths and writes each segment aside. When all is known of every track,
who is chosen and how large he gets, those are read back one by one. What grows with the film is a track number a face.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from core.errors import PlanError
from core.faces.smooth import MeanShape, TrackSmoother
from core.faces.table import read_table, write_table
from core.faces.track import GAP_FRAMES, Linker
from core.geometry import Float64Array, apply, box_area, display_from_coded, level_extent
from core.records import (
    EYE_OUTER,
    MESH_POINTS,
    FaceTable,
    Float32Array,
    Int32Array,
    Int64Array,
    MediaIndex,
    Segment,
)

STEP_PX = 1 / 64  # as in analyse
NOBODY = -1
# A find is taken for chance when it is both short and weak; a face seen well in one frame only is still a face.
SHORT_FRAMES = 3
WEAK_SCORE = 0.5
MEAN_BYTES = MESH_POINTS * 2 * 8


def cast_faces(
    index: MediaIndex,
    parts: Callable[[], Iterable[FaceTable]],
    segments: Sequence[Segment],
    select: Literal["largest", "all"],
    scratch: Callable[[str], Path],
) -> Iterator[FaceTable]:
    """For each of `segments`, which cover the film in order, the table of its rows.

    `parts` gives the faces found, each time from the start: any number of tables, each later than the one before it.
    `scratch` gives a new path that ends as asked; the files made there are removed again. OSError passes.

    The rows have track numbers, smoothed points, and role 0 where a face is replaced; they are sorted by frame, then
    by descending area. Rows without a mesh and chance finds keep track -1 and role -1. Rows filled into gaps have
    score 0. Each row of a track knows how large the track's face gets (reach_px). With "largest", of the tracks in a
    frame the one that is largest over its life (median area) is replaced, so that the choice does not flicker.
    `PlanError` when a row lies outside the film, or before the part before.
    """
    means, pieces = scratch(".means"), [scratch(".parquet") for _ in segments]
    try:
        tracks, lives = _survey(index, parts(), means)
        size, reach_px = np.zeros(len(lives)), np.zeros(len(lives), np.float32)
        smoothed = _smoothed(index, parts(), tracks, lives, means, (size, reach_px))
        for piece, table in zip(pieces, _cut(smoothed, segments), strict=True):
            write_table(table, piece)
        for piece in pieces:
            table = read_table(piece)
            piece.unlink()
            reach = np.append(reach_px, np.float32(0))[table.track]  # nobody's is the 0 at the end
            yield replace(table, role=_choose(table, select, size), reach_px=reach)
    finally:
        for made in (means, *pieces):
            made.unlink(missing_ok=True)


@dataclass(frozen=True)
class _Face:
    """A row of a FaceTable on its way; nothing of it is shared with a table."""

    frame: int
    box: Float32Array
    score: float
    points: Float32Array
    mesh: Float32Array
    presence: float

    @staticmethod
    def of(table: FaceTable, row: int) -> _Face:
        return _Face(
            int(table.frame[row]),
            table.box[row].copy(),
            float(table.score[row]),
            table.points[row].copy(),
            table.mesh[row].copy(),
            float(table.presence[row]),
        )


@dataclass(frozen=True)
class _Life:
    """The frames of a track, from `first` to `last` without holes, and where its mean shape is in the file."""

    first: int
    last: int
    place: int


@dataclass
class _Growing:
    """A track while it is found: its last face, its mean shape until now, and the scores that may make it chance."""

    first: int
    face: _Face
    mean: MeanShape
    scores: list[float] = field(default_factory=list)

    @property
    def chance(self) -> bool:
        return len(self.scores) < SHORT_FRAMES and float(np.median(np.array(self.scores, np.float32))) < WEAK_SCORE


# ---------------------------------------------------------------- the first time: who there is


def _in_order(parts: Iterable[FaceTable]) -> Iterator[FaceTable]:
    """The parts that hold faces, sorted by frame, then by descending area."""
    return (part.take(np.lexsort((-box_area(part.box), part.frame))) for part in parts if len(part))


def _survey(index: MediaIndex, parts: Iterable[FaceTable], means: Path) -> tuple[Int32Array, list[_Life]]:
    """Track numbers without holes and without chance finds of all rows in order, and the tracks.

    The tracks' mean shapes, over their faces found and filled in, are written to `means`.
    """
    pts, linker = np.asarray(index.pts), Linker()
    numbers: list[Int32Array] = []
    growing: dict[int, _Growing] = {}
    ended: dict[int, _Life] = {}  # without chance finds
    newest = -1
    with means.open("wb") as file:

        def end(number: int) -> None:
            one = growing.pop(number)
            if not one.chance:
                ended[number] = _Life(one.first, one.face.frame, len(ended))
                file.write(one.mean.shape().tobytes())

        for part in _in_order(parts):
            first, last = int(part.frame[0]), int(part.frame[-1])
            if not 0 <= first <= last < index.frames:
                raise PlanError(f"faces in frames up to {last} of a film of {index.frames}")
            if first <= newest:
                raise PlanError(f"faces of frame {first} after those of frame {newest}")
            newest = last
            numbers.append(linker.follow(part))
            for row in np.flatnonzero(numbers[-1] >= 0).tolist():
                number, face = int(numbers[-1][row]), _Face.of(part, row)
                if number not in growing:
                    growing[number] = _Growing(face.frame, face, MeanShape(face.mesh))
                one = growing[number]
                for step in _up_to(pts, one.face, face):
                    one.mean.add(step.mesh)
                one.face = face
                one.scores += [face.score] * (len(one.scores) < SHORT_FRAMES)
            for number in [number for number, one in growing.items() if one.face.frame < newest - GAP_FRAMES]:
                end(number)
        for number in list(growing):
            end(number)
    everyone = np.concatenate([*numbers, np.zeros(0, np.int32)])
    renumbered = np.full(int(everyone.max(initial=NOBODY)) + 2, NOBODY, np.int32)  # the last one is for NOBODY
    renumbered[sorted(ended)] = np.arange(len(ended))
    return renumbered[everyone], [ended[number] for number in sorted(ended)]


def _up_to(pts: Int64Array, before: _Face, after: _Face) -> Iterator[_Face]:
    """The faces after `before` up to `after`; those between, where it was lost, in a straight line in time."""
    start, end = int(pts[before.frame]), int(pts[after.frame])
    for frame in range(before.frame + 1, after.frame):
        share = np.float32((int(pts[frame]) - start) / (end - start) if end > start else 0.0)
        yield _Face(
            frame,
            before.box * (1 - share) + after.box * share,
            0.0,
            before.points * (1 - share) + after.points * share,
            before.mesh * (1 - share) + after.mesh * share,
            min(before.presence, after.presence),
        )
    yield after


# ---------------------------------------------------------------- the second time: smoothing


class _Follower:
    """Smooths one track as its faces come, and measures it."""

    def __init__(self, number: int, life: _Life, pts: Int64Array, mean: Float64Array, shown: Float64Array) -> None:
        self.number, self.last, self.next_frame = number, life.last, life.first
        self.areas, self.reach_px = array("d"), 0.0
        self._pts, self._shown = pts, shown
        self._smoother = TrackSmoother(pts[life.first : life.last + 1], mean)
        self._before: _Face | None = None
        self._waiting: list[_Face] = []

    def add(self, face: _Face) -> Iterator[_Face]:
        """Take the track's next face found; the smoothed ones that are ready, in order of frames."""
        for step in _up_to(self._pts, self._before or face, face):
            self._waiting.append(step)
            extra = np.concatenate([step.points, step.box.reshape(2, 2)])
            for mesh, others in self._smoother.add(step.mesh, extra):
                raw = self._waiting.pop(0)
                box = _rounded(others[5:].reshape(4))
                self.next_frame = raw.frame + 1
                self.areas.append(float(box_area(box)))
                self.reach_px = max(self.reach_px, float(level_extent(apply(self._shown, mesh), *EYE_OUTER)))
                yield _Face(raw.frame, box, raw.score, _rounded(others[:5]), _rounded(mesh), raw.presence)
        self._before = face


@dataclass
class _Slice:
    """What is ready of the film: rows in any order, with their tracks; no row comes later that is before `until`."""

    rows: list[tuple[int, _Face]]
    until: int


def _smoothed(
    index: MediaIndex,
    parts: Iterable[FaceTable],
    tracks: Int32Array,
    lives: Sequence[_Life],
    means: Path,
    measured: tuple[Float64Array, Float32Array],
) -> Iterator[_Slice]:
    """The film's rows, smoothed and gaps filled; when it is through, median areas and reach of tracks are `measured`.

    `tracks` and `lives` are those of `_survey` of the same `parts`.
    """
    pts, video = np.asarray(index.pts), index.video
    shown = display_from_coded(video.width, video.height, video.sample_aspect_ratio, video.rotation)[0]
    size, reach_px = measured
    following: dict[int, _Follower] = {}
    done = 0
    for part in _in_order(parts):
        rows: list[tuple[int, _Face]] = []
        for row, number in enumerate(tracks[done : done + len(part)].tolist()):
            face = _Face.of(part, row)
            if number == NOBODY:
                rows.append((NOBODY, face))
                continue
            if number not in following:
                life = lives[number]
                mean = np.fromfile(means, np.float64, MESH_POINTS * 2, offset=life.place * MEAN_BYTES)
                following[number] = _Follower(number, life, pts, mean.reshape(-1, 2), shown)
            one = following[number]
            rows += [(number, smooth) for smooth in one.add(face)]
            if face.frame == one.last:
                size[number], reach_px[number] = np.median(one.areas), one.reach_px
                del following[number]
        done += len(part)
        yield _Slice(rows, min([int(part.frame[-1]) + 1, *(one.next_frame for one in following.values())]))


def _cut(slices: Iterable[_Slice], segments: Sequence[Segment]) -> Iterator[FaceTable]:
    """The rows of each segment, sorted by frame, then by descending area; of equals the older track is first."""
    waiting: list[tuple[int, _Face]] = []
    todo = list(segments)
    for ready in slices:
        waiting += ready.rows
        while todo and todo[0].end <= ready.until:
            end = todo.pop(0).end
            yield _table([one for one in waiting if one[1].frame < end])
            waiting = [one for one in waiting if one[1].frame >= end]
    for segment in todo:
        yield _table([one for one in waiting if one[1].frame < segment.end])
        waiting = [one for one in waiting if one[1].frame >= segment.end]


def _table(rows: Sequence[tuple[int, _Face]]) -> FaceTable:
    if not rows:
        return FaceTable.empty()
    faces = [face for _, face in rows]
    table = FaceTable(
        frame=np.array([face.frame for face in faces], np.int64),
        box=np.stack([face.box for face in faces]),
        score=np.array([face.score for face in faces], np.float32),
        points=np.stack([face.points for face in faces]),
        mesh=np.stack([face.mesh for face in faces]),
        presence=np.array([face.presence for face in faces], np.float32),
        track=np.array([number for number, _ in rows], np.int32),
        role=np.full(len(rows), NOBODY, np.int32),
        reach_px=np.zeros(len(rows), np.float32),
    )
    return table.take(np.lexsort((table.track, -box_area(table.box), table.frame)))


def _choose(table: FaceTable, select: Literal["largest", "all"], size: Float64Array) -> Int32Array:
    """The role of each row: 0 for rows to replace, -1 for others. `size` is of the tracks, by their numbers."""
    if select == "all":
        return np.where(table.track >= 0, 0, NOBODY).astype(np.int32)
    role = np.full(len(table), NOBODY, np.int32)
    rows = np.flatnonzero(table.track >= 0)
    # Per frame the row of the track with the greatest size; equal sizes go to the older track.
    best = rows[np.lexsort((table.track[rows], -size[table.track[rows]], table.frame[rows]))]
    role[best[np.diff(table.frame[best], prepend=-1) > 0]] = 0
    return role


def _rounded(coordinates: Float64Array) -> Float32Array:
    return np.asarray(np.round(coordinates / STEP_PX) * STEP_PX, np.float32)
