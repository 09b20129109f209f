"""Pieces of tracks: the same face from frame to frame inside a shot, until it is lost, or becomes somebody else's.

After ByteTrack (Zhang et al., "ByteTrack: multi-object tracking by associating every detection box", 2022): sure finds
go to the pieces first, then the weak ones to the pieces that are left. A find goes on with a piece when its box
overlaps the one predicted from the piece's last two, its mesh or, where one has none, its five points are a small
deformation of the last one's, and its vector, where both have some, does not speak against it.
A greater deformation ends the piece unless the vectors agree, for somebody else may be at the same place after a cut
that was not seen.

A piece may pass from one person to another all the same: where faces touch, or a step is rough, or a cut was not
seen. So the steps of some frames are remembered, and when the vectors after one of them are another person's, the piece
is split there. Where faces are apart and nothing jumps, not even the vectors, it is one who turns away, however
different the vectors become. core.faces.joins puts together again what belongs together.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from core.faces.metric import Metric
from core.faces.onway import Face
from core.faces.steps import CALM, centre_of, close, deformation
from core.geometry import Float64Array, box_area, iou

SURE_SCORE = 0.5  # as in analyse
OVERLAP_MIN = 0.3
ROUGH = 1.0  # how rough a step is whose overlap or deformation is as follows
ROUGH_OVERLAP = 0.5
ROUGH_DEFORMATION = 0.4  # below CALM
FAR_AWAY = 1.0  # of the side: how far a face may jump that nobody else can be
VECTOR_WEIGHT = 0.5  # of a vector at the limit of one person, against an overlap of none
UNKNOWN = 0.5  # how unlike a face without a vector counts
STRANGER = 1.25  # times the limit: a vector that alone speaks for another person
FAMILIAR = 0.75  # times the limit: a vector that is nearer than this is the person's own
FRESH = 8  # vectors that may turn out to be another person's
KNOWN = 8  # vectors that a piece is known by
EVIDENCE = 3  # vectors that make a change of person
WINDOW_FRAMES = 32


@dataclass
class Sighting:
    """A find, and the piece that it belongs to until better is known."""

    face: Face
    piece: Piece
    doubt: float = 0.0  # of the step that led here: how rough it is, and 1 more where faces touch
    rough: bool = False  # whether the doubt is reasonable


@dataclass
class Fresh:
    """A vector not yet trusted; `doubtful` is the most doubtful sighting since the vector before."""

    sighting: Sighting
    point: Float64Array
    doubtful: Sighting
    rough: bool


@dataclass
class Piece:
    """A piece being followed: its newest face, the box's movement a frame [4], and its vectors, as points."""

    number: int
    face: Face
    movement: Float64Array = field(default_factory=lambda: np.zeros(4))
    known: deque[Float64Array] = field(default_factory=lambda: deque(maxlen=KNOWN))
    fresh: list[Fresh] = field(default_factory=list)
    recent: deque[Sighting] = field(default_factory=deque)
    doubtful: Sighting | None = None  # the most, since the newest vector
    rough: bool = False  # whether there was a rough step since then

    def take(self, sighting: Sighting, metric: Metric) -> None:
        """The piece's newest sighting."""
        self.face = sighting.face
        self.recent.append(sighting)
        self.rough |= sighting.rough
        if self.doubtful is None or sighting.doubt > self.doubtful.doubt:
            self.doubtful = sighting
        if sighting.face.vector is not None:
            self.fresh.append(Fresh(sighting, metric.points(sighting.face.vector), self.doubtful, self.rough))
            self.doubtful, self.rough = None, False

    def looks(self, metric: Metric) -> Float64Array | None:
        """The point [D] that the piece is known by."""
        newest = [*self.known, *(one.point for one in self.fresh)][-KNOWN:]
        return mean_of(newest, metric) if newest else None


def mean_of(points: Sequence[Float64Array], metric: Metric) -> Float64Array:
    """The point [D] between points."""
    return metric.points(np.mean(points, axis=0))


def distance_of(first: NDArray[np.floating], second: NDArray[np.floating], metric: Metric) -> float:
    """The distance of two points [D]."""
    away = np.asarray(first, np.float64) - second
    return float(metric.distance_of(np.asarray(away @ away)))


def _again(lost: Face, face: Face) -> bool:
    """Whether a face may be the one that was lost at its place."""
    changed = deformation(lost, face)
    return changed is not None and changed <= CALM and float(iou(lost.box[None], face.box[None])[0, 0]) >= OVERLAP_MIN


class Linker:
    """Divides the faces of one shot into pieces; remembers only what is near in time."""

    def __init__(self, detect_every: int, metric: Metric) -> None:
        self._step = detect_every
        self._window = max(WINDOW_FRAMES, FRESH * detect_every)
        self._metric = metric
        self._live: list[Piece] = []
        self._lost: list[Piece] = []  # not long ago; somebody may have stepped in front of them
        self._line: deque[list[Sighting]] = deque()  # by frames
        self._count = 0

    def add(self, faces: Sequence[Face]) -> Iterator[list[Sighting]]:
        """Take the finds of the next frame that has some; gives the sightings of frames about which all is known."""
        frame = faces[0].frame
        gone = [one for one in self._live if frame - one.face.frame > self._step]
        for one in gone:
            self._check(one, 1)
        self._live = [one for one in self._live if frame - one.face.frame <= self._step]
        self._lost = [one for one in self._lost + gone if frame - one.face.frame <= self._window]
        sightings = self._sighted(faces)
        self._line.append(sightings)
        self._live = [one.piece for one in sightings] + [
            one for one in self._live if one.face.frame < frame
        ]  # these are lost unless the next frame has them
        for piece in [one.piece for one in sightings if one.face.vector is not None]:
            self._check(piece, EVIDENCE - 1)
        while self._line and self._line[0][0].face.frame <= frame - self._window:
            yield self._settled()

    def close(self) -> Iterator[list[Sighting]]:
        """The shot is over: all that is left."""
        for one in self._live:
            self._check(one, 1)
        while self._line:
            yield self._settled()
        self._live, self._lost = [], []

    def _settled(self) -> list[Sighting]:
        sightings = self._line.popleft()
        for one in sightings:
            one.piece.recent.popleft()
            while one.piece.fresh and one.piece.fresh[0].sighting.face.frame <= one.face.frame:
                one.piece.known.append(one.piece.fresh.pop(0).point)
        return sightings

    def _sighted(self, faces: Sequence[Face]) -> list[Sighting]:
        """Each find with its piece, which goes on or begins."""
        boxes = np.stack([face.box for face in faces])
        left = {id(one): one for one in self._live}
        pieces: dict[int, tuple[Piece, float]] = {}  # by place in `faces`, with the doubt about the step
        sure = [n for n, face in enumerate(faces) if face.score >= SURE_SCORE]
        weak = [n for n, face in enumerate(faces) if face.score < SURE_SCORE]
        for how, places in ((self._pairs, sure), (self._pairs, weak), (self._jumps, [*sure, *weak])):
            for piece, place, doubt in how(list(left.values()), faces, [n for n in places if n not in pieces]):
                del left[id(piece)]
                pieces[place] = (piece, doubt)
        for place, face in enumerate(faces):
            if place not in pieces:  # a face that was lost and is here again is nobody who stands in front of it
                self._lost = [one for one in self._lost if not _again(one.face, face)]
        missing = [*left.values(), *self._lost]
        around = np.concatenate([boxes, *(one.face.box[None] for one in missing)])
        near = close(boxes, around).sum(axis=1) > 1  # each is close to itself
        sightings = []
        for place, face in enumerate(faces):
            piece, doubt = pieces.get(place) or (self._begin(face), 0.0)
            sighting = Sighting(face, piece)
            if place in pieces:
                piece.movement = (face.box.astype(np.float64) - piece.face.box) / (face.frame - piece.face.frame)
                sighting.doubt = doubt + near[place]
                sighting.rough = doubt >= ROUGH or bool(near[place])
            piece.take(sighting, self._metric)
            sightings.append(sighting)
        return sightings

    def _begin(self, face: Face) -> Piece:
        self._count += 1
        return Piece(self._count - 1, face)

    def _pairs(self, live: list[Piece], faces: Sequence[Face], places: list[int]) -> Iterator[tuple[Piece, int, float]]:
        """Which live piece goes on with which face, and the doubt about the step; the best first, each at most once."""
        if not live or not places:
            return
        boxes = np.stack([faces[place].box for place in places])
        steps = np.array([[faces[places[0]].frame - one.face.frame] for one in live])
        last = np.stack([one.face.box for one in live])
        expected = last + np.stack([one.movement for one in live]) * steps
        overlap = np.maximum(iou(expected, boxes), iou(last, boxes))
        near = close(boxes, np.stack([*(face.box for face in faces), *last, *(one.face.box for one in self._lost)]))
        neighbours = near.sum(axis=1)  # with itself, and the piece it goes on with
        costs = []
        for number, column in np.argwhere(overlap >= OVERLAP_MIN).tolist():
            away = self._unlike(live[number], faces[places[column]])
            alone = neighbours[column] <= 1 + near[column, len(faces) + number]
            # A face that changes more than one person's does may be another one at the same place, alone or not.
            most = np.inf if away is not None and away <= 1 else CALM
            if away is None or away <= STRANGER or alone:
                weight = VECTOR_WEIGHT * min(UNKNOWN if away is None else away, STRANGER)
                costs.append((1 - overlap[number, column] + weight, number, column, most))
        used: tuple[set[int], set[int]] = (set(), set())
        for _, number, column, most in sorted(costs):
            if number in used[0] or column in used[1]:
                continue
            changed = deformation(live[number].face, faces[places[column]])
            if changed is not None and changed <= most:
                used[0].add(number)
                used[1].add(column)
                rough = (1 - overlap[number, column]) / (1 - ROUGH_OVERLAP), changed / ROUGH_DEFORMATION
                yield live[number], places[column], float(max(rough))

    def _jumps(self, live: list[Piece], faces: Sequence[Face], places: list[int]) -> Iterator[tuple[Piece, int, float]]:
        """As _pairs, of faces that jumped further than they overlap, and can be nobody else."""
        fits = []
        around = np.stack([one.face.box for one in (*live, *self._lost)] + [face.box for face in faces])
        for piece in live:
            for place in places:
                face = faces[place]
                if close(face.box[None], around).sum() > 1 + close(face.box[None], piece.face.box[None])[0, 0]:
                    continue
                side = float(np.sqrt(box_area(face.box)))
                away = float(np.abs(centre_of(face.box) - centre_of(piece.face.box)).max())
                if away <= FAR_AWAY * side and (self._unlike(piece, face) or 0) <= 1:
                    changed = deformation(piece.face, face)
                    if changed is not None and changed <= CALM:
                        fits.append((piece, place))
        for piece, place in fits:
            if sum(one is piece or other == place for one, other in fits) == 1:
                yield piece, place, 2 * ROUGH

    def _unlike(self, piece: Piece, face: Face) -> float | None:
        """How unlike a face's vector is to the piece's, at the limit of one person 1; None where one has none."""
        known = piece.looks(self._metric)
        if face.vector is None or known is None:
            return None
        return distance_of(self._metric.points(face.vector), known, self._metric) / self._metric.same_person

    def _check(self, piece: Piece, evidence: int) -> None:
        """Split a piece where its fresh vectors, at least `evidence` of them, become another person's."""
        if not piece.fresh:
            return
        if piece.known:
            newest = distance_of(mean_of(piece.known, self._metric), piece.fresh[-1].point, self._metric)
            if newest < FAMILIAR * self._metric.same_person:
                return
        points = [*piece.known, *(one.point for one in piece.fresh)]
        limit = self._metric.same_person
        best, place = 0.0, None
        for number, one in enumerate(piece.fresh):
            middle = len(piece.known) + number
            before, after = points[max(0, middle - KNOWN) : middle], points[middle : middle + EVIDENCE]
            if not before or len(after) < evidence:
                continue
            if not one.rough and distance_of(before[-1], after[0], self._metric) <= limit:
                continue
            apart = distance_of(mean_of(before, self._metric), mean_of(after, self._metric), self._metric)
            sure = min(len(before), len(after)) >= EVIDENCE
            if apart > limit * (1 if sure else STRANGER) and apart > best:
                best, place = apart, number
        if place is not None:
            self._split(piece, place)

    def _split(self, piece: Piece, place: int) -> None:
        """What comes from the most doubtful step before the fresh vector at `place` on is another piece."""
        start = piece.fresh[place].doubtful
        tail = self._begin(piece.face)
        tail.movement, tail.doubtful, tail.rough = piece.movement, piece.doubtful, piece.rough
        tail.fresh, piece.fresh = piece.fresh[place:], piece.fresh[:place]
        tail.fresh[0].rough = False
        kept: deque[Sighting] = deque()
        while piece.recent[0].face.frame < start.face.frame:
            kept.append(piece.recent.popleft())
        tail.recent, piece.recent = piece.recent, kept
        for one in tail.recent:
            one.piece = tail
        for group in (self._live, self._lost):
            group[:] = [tail if one is piece else one for one in group]
