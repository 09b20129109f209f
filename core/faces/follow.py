"""Faces followed over the whole film: tracks inside shots, gaps filled, points smoothed.

Runs once a film on the faces of all segments, so its result cannot depend on how the film was cut. A face with its
mesh is 4 kB, so a film's faces never are in memory together: they are read three times, part by part. The first time
tells which faces are one track, the second measures the tracks, the third smooths and writes each segment aside. What
grows with the film is a number a face and a few hundred bytes a track.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from core.errors import PlanError
from core.faces.measure import Measure, Track, apart, track_table
from core.faces.metric import Metric, metric_of
from core.faces.onway import Face, between, rounded, table_of
from core.faces.smooth import MeanShape, TrackSmoother
from core.faces.table import write_table
from core.faces.track import Linker
from core.geometry import Float64Array, box_area, display_from_coded
from core.records import MESH_POINTS, NOBODY, FaceTable, Int32Array, Int64Array, MediaIndex, Segment, TrackTable

# A find is taken for chance when it is both short and weak; a face seen well in one frame only is still a face.
SHORT_FRAMES = 3
WEAK_SCORE = 0.5
MEAN_BYTES = MESH_POINTS * 2 * 8

Parts = Callable[[], Iterable[FaceTable]]


@dataclass(frozen=True)
class Followed:
    """The tracks of a film, and for each segment the FaceTable of its rows as a Parquet file."""

    tracks: TrackTable
    files: tuple[Path, ...]


def follow_film(
    index: MediaIndex,
    parts: Parts,
    cuts: Int64Array,
    segments: Sequence[Segment],
    scratch: Callable[[str], Path],
    *,
    detect_every: int = 1,
    metric: Metric | None = None,
) -> Followed:
    """Follow the faces of a film; the files belong to the caller, one for each of `segments`, which cover the film.

    `parts` gives the faces found, each time from the start: any number of tables, each later than the one before it.
    `cuts` are the ordinals that start a new shot. `scratch` gives a new path that ends as asked; nothing else that was
    made there is left behind. Of every `detect_every` frames one was looked at. `metric` is of the
    recogniser that made the vectors; None is that of the embedded one. OSError passes.

    The rows have track numbers, smoothed points, reach and role -1; they are sorted by frame, then by descending area.
    Chance finds keep track -1. Rows filled into gaps have score 0, no vector and no sharpness.
    `PlanError` when a row lies outside the film, or before the part before.
    """
    means, files = scratch(".means"), [scratch(".parquet") for _ in segments]
    try:
        film = _Film(index, parts, np.asarray(cuts, np.int64), detect_every, metric or metric_of("dlib"))
        linked = film.link()
        labels, tracks = film.measure(linked, means)
        reach = np.array([one.reach_px for one in tracks], np.float32)
        distances = np.zeros(len(tracks))
        for file, rows in zip(files, _cut(film.smoothed(labels, tracks, means, distances), segments), strict=True):
            write_table(table_of(rows, reach, film.dimensions), file)
        return Followed(track_table(tracks, distances, film.dimensions), tuple(files))
    except BaseException:
        for file in files:
            file.unlink(missing_ok=True)
        raise
    finally:
        means.unlink(missing_ok=True)


class _Film:
    """The three readings of a film's faces."""

    def __init__(self, index: MediaIndex, parts: Parts, cuts: Int64Array, detect_every: int, metric: Metric) -> None:
        video = index.video
        self._frames, self._pts = index.frames, np.asarray(index.pts)
        self._parts, self._cuts, self._metric = parts, cuts, metric
        self._shown = display_from_coded(video.width, video.height, video.sample_aspect_ratio, video.rotation)[0]
        self._detect_every = detect_every
        self.dimensions = 0

    def _in_order(self) -> Iterator[FaceTable]:
        """The parts that hold faces, sorted by frame, then by descending area."""
        return (part.take(np.lexsort((-box_area(part.box), part.frame))) for part in self._parts() if len(part))

    def link(self) -> Int32Array:
        """Which rows, in order, are of one track: numbers from 0, -1 for rows of none."""
        linker = Linker(self._cuts, self._detect_every)
        numbers: list[Int32Array] = []
        newest = -1
        for part in self._in_order():
            first, last = int(part.frame[0]), int(part.frame[-1])
            if not 0 <= first <= last < self._frames:
                raise PlanError(f"faces in frames up to {last} of a film of {self._frames}")
            if first <= newest:
                raise PlanError(f"faces of frame {first} after those of frame {newest}")
            newest = last
            self.dimensions = max(self.dimensions, part.vector.shape[1])
            numbers.append(linker.follow(part))
        return np.concatenate([*numbers, np.zeros(0, np.int32)])

    def measure(self, linked: Int32Array, means: Path) -> tuple[Int32Array, list[Track]]:
        """Track numbers of all rows in order, without chance finds, and the tracks in order of first appearance.

        The mean shapes of the tracks' meshes, found and filled in, are written to `means`.
        """
        left = np.bincount(linked[linked >= 0]).tolist()
        growing: dict[int, tuple[Measure, MeanShape | None, Face]] = {}
        ended: dict[int, Track] = {}
        done = 0
        with means.open("wb") as file:
            for part in self._in_order():
                for row, number in enumerate(linked[done : done + len(part)].tolist()):
                    if number == NOBODY:
                        continue
                    face = Face.of(part, row)
                    measure, shape, before = growing.get(number) or (
                        Measure(face.frame, self._metric, self._shown),
                        None,
                        face,
                    )
                    for step in (*between(self._pts, before, face), face):
                        measure.add(step)
                        if step.mesh is not None:
                            shape = shape or MeanShape(step.mesh)
                            shape.add(step.mesh)
                    growing[number] = (measure, shape, face)
                    left[number] -= 1
                    if not left[number]:
                        del growing[number]
                        if _chance(measure):
                            continue
                        ended[number] = Track.of(measure, len(ended))
                        mean = np.full((MESH_POINTS, 2), np.nan) if shape is None else shape.shape()
                        file.write(mean.tobytes())
                done += len(part)
        kept = sorted(ended)
        renumbered = np.full(len(left) + 1, NOBODY, np.int32)  # the last one is for NOBODY
        renumbered[kept] = np.arange(len(kept))
        return renumbered[linked], [ended[number] for number in kept]

    def smoothed(
        self, labels: Int32Array, tracks: Sequence[Track], means: Path, distances: Float64Array
    ) -> Iterator[_Slice]:
        """The film's rows, smoothed and with gaps filled; when it is through, `distances` are summed (track_table)."""
        following: dict[int, _Follower] = {}
        done = 0
        for part in self._in_order():
            rows: list[tuple[int, Face]] = []
            for row, number in enumerate(labels[done : done + len(part)].tolist()):
                face = Face.of(part, row)
                if number == NOBODY:
                    rows.append((NOBODY, face))
                    continue
                track = tracks[number]
                if number not in following:
                    mean = np.fromfile(means, np.float64, MESH_POINTS * 2, offset=track.place * MEAN_BYTES)
                    following[number] = _Follower(track, self._pts, mean.reshape(-1, 2))
                one = following[number]
                rows += [(number, smooth) for smooth in one.add(face)]
                if face.vector is not None and track.vector is not None:
                    distances[number] += apart(face.vector, track.vector, self._metric)
                if face.frame == track.end - 1:
                    del following[number]
            done += len(part)
            yield _Slice(rows, min([int(part.frame[-1]) + 1, *(one.next_frame for one in following.values())]))


def _chance(measure: Measure) -> bool:
    scores = np.asarray(measure.scores)
    return len(scores) < SHORT_FRAMES and float(np.median(scores)) < WEAK_SCORE


class _Follower:
    """Smooths one track as its faces come."""

    def __init__(self, track: Track, pts: Int64Array, mean: Float64Array) -> None:
        self.next_frame = track.first
        self._pts = pts
        self._smoother = TrackSmoother(pts[track.first : track.end], mean)
        self._before: Face | None = None
        self._waiting: deque[Face] = deque()

    def add(self, face: Face) -> Iterator[Face]:
        """Take the track's next face found; the smoothed ones that are ready, in order of frames."""
        for step in (*between(self._pts, self._before or face, face), face):
            self._waiting.append(step)
            assert step.mesh is not None
            for mesh, others in self._smoother.add(step.mesh, step.others):
                raw = self._waiting.popleft()
                self.next_frame = raw.frame + 1
                yield replace(raw, box=rounded(others[5:].reshape(4)), points=rounded(others[:5]), mesh=rounded(mesh))
        self._before = face


@dataclass
class _Slice:
    """What is ready of the film: rows in any order, with their tracks; no row comes later that is before `until`."""

    rows: list[tuple[int, Face]]
    until: int


def _cut(slices: Iterable[_Slice], segments: Sequence[Segment]) -> Iterator[list[tuple[int, Face]]]:
    """The rows of each segment, in any order."""
    waiting: list[tuple[int, Face]] = []
    todo = list(segments)
    for ready in slices:
        waiting += ready.rows
        while todo and todo[0].end <= ready.until:
            end = todo.pop(0).end
            yield [one for one in waiting if one[1].frame < end]
            waiting = [one for one in waiting if one[1].frame >= end]
    for segment in todo:
        yield [one for one in waiting if one[1].frame < segment.end]
        waiting = [one for one in waiting if one[1].frame >= segment.end]
