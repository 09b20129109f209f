"""Faces followed over the whole film: tracks inside shots, gaps filled, points smoothed.

Runs once a film on the faces of all segments, so its result cannot depend on how the film was cut. A face with its
mesh is 4 kB, so a film's faces never are in memory together: they are read three times, part by part. The first time
tells which faces are one track, the second measures the tracks, the third smooths and writes each segment aside. What
grows with the film is a number a face and a few hundred bytes a track.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from core.errors import PlanError
from core.faces.fill import Filler
from core.faces.joins import Joiner
from core.faces.measure import Measure, Track, apart, track_table
from core.faces.metric import Metric, metric_of
from core.faces.onway import Face, beyond, rounded, table_of
from core.faces.smooth import MeanShape, TrackSmoother
from core.faces.steps import Reach, centre_of
from core.faces.table import write_table
from core.faces.track import Linker, Sighting
from core.geometry import Float64Array, box_area, display_from_coded
from core.records import MESH_POINTS, NOBODY, FaceTable, Int32Array, Int64Array, MediaIndex, Segment, TrackTable

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
    made there is left behind. Of every `detect_every` frames one was looked at; a track goes on through those that were
    not, from and to a cut in a straight line. `metric` is of the
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
        self._reach = Reach(self._pts, index.time_base, detect_every)
        self._size = (video.width, video.height)
        self.dimensions = 0

    def _in_order(self) -> Iterator[FaceTable]:
        """The parts that hold faces, sorted by frame, then by descending area."""
        return (part.take(np.lexsort((-box_area(part.box), part.frame))) for part in self._parts() if len(part))

    def link(self) -> Int32Array:
        """Which rows, in order, are of one track: numbers from 0 in order of first appearance."""
        linker = Linker(self._reach.detect_every, self._metric)
        joiner = Joiner(self._reach, self._size, self._metric)
        pieces = array("i")

        def settle(frames: Iterable[list[Sighting]]) -> None:
            for sightings in frames:
                pieces.extend(one.piece.number for one in sightings)
                joiner.add(sightings)

        shot, newest = 0, -1
        for part in self._in_order():
            first, last = int(part.frame[0]), int(part.frame[-1])
            if not 0 <= first <= last < self._frames:
                raise PlanError(f"faces in frames up to {last} of a film of {self._frames}")
            if first <= newest:
                raise PlanError(f"faces of frame {first} after those of frame {newest}")
            newest = last
            self.dimensions = max(self.dimensions, part.vector.shape[1])
            for rows in np.split(np.arange(len(part)), np.flatnonzero(np.diff(part.frame)) + 1):
                now = int(np.searchsorted(self._cuts, part.frame[rows[0]], side="right"))
                if now != shot:
                    settle(linker.close())
                    joiner.close()
                    shot = now
                settle(linker.add([Face.of(part, int(row)) for row in rows]))
        settle(linker.close())
        joiner.close()
        roots = np.array([joiner.root[number] for number in range(len(joiner.root))], np.int64)
        _, firsts, tracks = np.unique(roots[np.asarray(pieces)], return_index=True, return_inverse=True)
        return np.asarray(np.argsort(np.argsort(firsts))[tracks], np.int32)

    def measure(self, linked: Int32Array, means: Path) -> tuple[Int32Array, list[Track]]:
        """Track numbers of all rows in order, without chance finds, and the tracks in order of first appearance.

        The mean shapes of the tracks' meshes, found and filled in, are written to `means`.
        """
        left = np.bincount(linked).tolist()
        growing: dict[int, _Growing] = {}
        ended: dict[int, Track] = {}
        done = 0
        with means.open("wb") as file:
            for part in self._in_order():
                for row, number in enumerate(linked[done : done + len(part)].tolist()):
                    face = Face.of(part, row)
                    if number not in growing:
                        growing[number] = _Growing(Measure(face.frame, self._metric, self._shown), Filler(self._reach))
                    one = growing[number]
                    one.take(one.filler.add(face))
                    left[number] -= 1
                    if not left[number]:
                        one.take(one.filler.end())
                        del growing[number]
                        if not one.measure.chance:
                            ended[number] = Track.of(one.measure, len(ended), *self._around(one.measure))
                            file.write(one.mean().tobytes())
                done += len(part)
        kept = sorted(ended)
        renumbered = np.full(len(left), NOBODY, np.int32)
        renumbered[kept] = np.arange(len(kept))
        return renumbered[linked], [ended[number] for number in kept]

    def _around(self, measure: Measure) -> tuple[int, int]:
        """How many frames to the beginning and to the end of its shot a track goes on that nobody looked at."""
        shot = int(np.searchsorted(self._cuts, measure.first, side="right"))
        start = int(self._cuts[shot - 1]) if shot else 0
        end = int(self._cuts[shot]) if shot < len(self._cuts) else self._frames
        lead, trail = measure.first - start, end - measure.end
        every = self._reach.detect_every
        return lead if lead < every else 0, trail if trail < every else 0

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
                    following[number] = _Follower(track, self._reach, self._size, mean.reshape(-1, 2))
                one = following[number]
                rows += [(number, smooth) for smooth in one.add(face)]
                if face.vector is not None and track.vector is not None:
                    distances[number] += apart(face.vector, track.vector, self._metric)
                if one.next_frame == track.end:
                    del following[number]
            done += len(part)
            yield _Slice(rows, min([int(part.frame[-1]) + 1, *(one.next_frame for one in following.values())]))


@dataclass
class _Growing:
    """A track that is being measured."""

    measure: Measure
    filler: Filler
    shape: MeanShape | None = None

    def take(self, faces: Iterable[Face]) -> None:
        for face in faces:
            self.measure.add(face)
            if face.mesh is not None:
                self.shape = self.shape or MeanShape(face.mesh)
                self.shape.add(face.mesh)

    def mean(self) -> Float64Array:
        """The mean shape [468,2]; NaN of no meshes."""
        return np.full((MESH_POINTS, 2), np.nan) if self.shape is None else self.shape.shape()


class _Follower:
    """Smooths one track as its faces come."""

    def __init__(self, track: Track, reach: Reach, size: tuple[int, int], mean: Float64Array) -> None:
        self.next_frame = track.first
        self._track, self._pts, self._size = track, reach.pts, size
        self._last = track.end - track.trail - 1
        self._filler = Filler(reach)
        self._smoother = TrackSmoother(reach.pts[track.first + track.lead : self._last + 1], mean)
        self._waiting: deque[Face] = deque()
        self._newest: deque[Face] = deque(maxlen=2)

    def add(self, face: Face) -> Iterator[Face]:
        """Take the track's next face found; the smoothed ones that are ready, in order of frames."""
        yield from self._smoothed(self._filler.add(face))
        if face.frame == self._last:
            yield from self._smoothed(self._filler.end())

    def _smoothed(self, faces: Iterable[Face]) -> Iterator[Face]:
        for face in faces:
            self._waiting.append(face)
            for mesh, others in self._smoother.add(face.mesh, face.others, found=face.score > 0):
                raw = self._waiting.popleft()
                box, points = rounded(others[5:].reshape(4)), rounded(others[:5])
                yield from self._with_ends(
                    replace(raw, box=box, points=points, mesh=None if mesh is None else rounded(mesh))
                )

    def _with_ends(self, face: Face) -> Iterator[Face]:
        """The next smoothed face; with the first two those before, with the last those behind."""
        track = self._track
        self._newest.append(face)
        near, far = self._newest[0], self._newest[-1]
        first = track.first + track.lead
        if face.frame == min(first + 1, self._last):
            yield from (self._beyond(near, far, frame) for frame in range(track.first, first))
            yield near
        if face.frame > first:
            yield face
        if face.frame == self._last:
            yield from (self._beyond(far, near, frame) for frame in range(self._last + 1, track.end))
        if face.frame > first or face.frame == self._last:
            self.next_frame = track.end if face.frame == self._last else face.frame + 1

    def _beyond(self, near: Face, far: Face, frame: int) -> Face:
        """The face where its movement leads; where it is, when that is beside the picture."""
        face = beyond(self._pts, near, far, frame)
        middle = centre_of(face.box)
        inside = (middle >= 0).all() and (middle < self._size).all()
        return face if inside else beyond(self._pts, near, near, frame)


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
