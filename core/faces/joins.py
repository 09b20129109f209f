"""Pieces of tracks put together: a face that was lost for a moment and is found again inside the same shot.

Which piece goes on with which is decided when the shot is over and all vectors are known, the best fits first. A gap
is not filled where the face cannot have been seen: behind another one, or beside the picture. What is not put together
here stays two tracks, which core.faces.people may still take for one person.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from core.faces.metric import Metric
from core.faces.onway import Face
from core.faces.steps import CALM, GROWTH_MAX, Reach, centre_of, covered, deformation, growth_of
from core.faces.track import KNOWN, OVERLAP_MIN, SURE_SCORE, Sighting, distance_of, mean_of
from core.geometry import Float64Array, box_area, iou
from core.records import Float32Array

TRAIL = 4  # faces whose movement tells where a lost one went
# With vectors that agree a face may be found again further away than by its box and mesh alone.
AWAY_MAX = 1.0  # of its side, from where it was expected or lost
GROWTH_KNOWN = 1.6
COVERED_MAX = 0.2  # of a filled box, by another face that was found there
EDGE = 0.05  # of the box's side: nearer to the picture's edge than this it may go on outside
UNLIKE_COST = 1.5  # of shapes that are too different, or too far apart to be compared; at the limit it is 1
UNKNOWN_COST = 0.75  # of vectors that are not there; at the limit of one person it is 1


@dataclass
class _End:
    """What is known of a piece where it may be joined; points are those of vectors (Metric.points)."""

    first: int
    trail: deque[Face] = field(default_factory=lambda: deque(maxlen=TRAIL))
    early: list[Float64Array] = field(default_factory=list)
    late: deque[Float64Array] = field(default_factory=lambda: deque(maxlen=KNOWN))
    start: Float32Array | None = None  # the means of both, once the piece is over
    end: Float32Array | None = None

    def settle(self, metric: Metric) -> None:
        """The piece is over and out of reach; only the means of its vectors are kept."""
        self.trail.clear()
        if self.early:
            self.start = np.asarray(mean_of(self.early, metric), np.float32)
            self.end = np.asarray(mean_of(list(self.late), metric), np.float32)
        self.early.clear()
        self.late.clear()


@dataclass(frozen=True)
class _Fit:
    """How well one piece goes on as another; `plain` when box and mesh alone say so."""

    cost: float
    before: int
    after: int
    plain: bool


def _in_reach(trail: Sequence[Face], face: Face) -> bool:
    """Whether a face is anywhere near where another was lost; a quick answer, which may be yes where it is no."""
    first, last = trail[0].box.tolist(), trail[-1].box.tolist()
    there = face.box.tolist()
    share = (face.frame - trail[-1].frame) / max(trail[-1].frame - trail[0].frame, 1)
    side = max(last[2] - last[0], last[3] - last[1], there[2] - there[0], there[3] - there[1])
    for low, high in ((0, 2), (1, 3)):
        away = abs(there[low] + there[high] - last[low] - last[high]) / 2
        moved = abs(last[low] + last[high] - first[low] - first[high]) / 2 * share
        if away > moved + AWAY_MAX * side:
            return False
    return True


class Joiner:
    """Puts pieces together, shot by shot; `root` tells the first piece of the track of each piece so far."""

    def __init__(self, reach: Reach, size: tuple[int, int], metric: Metric) -> None:
        self.root: dict[int, int] = {}
        self._reach, self._metric = reach, metric
        self._size = np.array(size, np.float64)
        self._ends: dict[int, _End] = {}
        self._near: dict[int, _End] = {}  # those that may still go on
        self._fits: list[_Fit] = []
        self._boxes: deque[tuple[int, Float32Array, list[int]]] = deque()  # of frames near: surely found, whose

    def add(self, sightings: Sequence[Sighting]) -> None:
        """Take the sightings of the next frame that has some; their pieces are final."""
        frame = sightings[0].face.frame
        over = [number for number, one in self._near.items() if not self._reach.spans(one.trail[-1].frame, frame)]
        for number in over:
            self._near.pop(number).settle(self._metric)
        while self._boxes and not self._reach.spans(self._boxes[0][0], frame):
            self._boxes.popleft()
        going_on = {one.piece.number for one in sightings}
        for one in sightings:
            number = one.piece.number
            if number not in self._ends:
                self._begin(number, one.face, going_on)
            end = self._ends[number]
            self._near[number] = end
            end.trail.append(one.face)
            if one.face.vector is not None:
                point = self._metric.points(one.face.vector)
                end.late.append(point)
                if len(end.early) < KNOWN:
                    end.early.append(point)
        sure = [one for one in sightings if one.face.score >= SURE_SCORE]
        if sure:
            self._boxes.append((frame, np.stack([one.face.box for one in sure]), [one.piece.number for one in sure]))

    def _begin(self, number: int, face: Face, going_on: set[int]) -> None:
        self.root[number] = number
        self._ends[number] = _End(face.frame)
        for before, end in self._near.items():
            if before not in going_on and _in_reach(end.trail, face):
                fit = self._fit(before, end, number, face)
                if fit is not None:
                    self._fits.append(fit)

    def _fit(self, before: int, end: _End, after: int, face: Face) -> _Fit | None:
        last, first = end.trail[-1], end.trail[0]
        steps = face.frame - last.frame
        movement = (last.box.astype(np.float64) - first.box) / max(last.frame - first.frame, 1)
        expected = last.box + movement * steps
        side = max(float(box_area(last.box)), float(box_area(face.box)), 1e-6) ** 0.5
        there = centre_of(face.box)
        away = min(float(np.abs(there - centre_of(box)).max()) for box in (expected, last.box)) / side
        growth = growth_of(last.box, face.box)
        if away > AWAY_MAX or growth > GROWTH_KNOWN or self._outside(last, face, movement):
            return None
        if any(self._hidden(last, face, *seen, {before, after}) for seen in self._boxes):
            return None
        overlap = float(np.max(iou(np.stack([expected, last.box]), face.box[None])))
        changed = deformation(last, face) if overlap >= OVERLAP_MIN and growth <= GROWTH_MAX else None
        plain = changed is not None and changed <= CALM
        cost = away + float(np.log(growth)) + 0.02 * (steps - 1) + (UNLIKE_COST if changed is None else changed)
        return _Fit(cost, before, after, plain)

    def _outside(self, last: Face, face: Face, movement: Float64Array) -> bool:
        """Whether a lost face went out of the picture and came back."""
        lost = face.frame - last.frame - 1
        if lost == 0:
            return False
        middle = centre_of(last.box) + (movement[:2] + movement[2:]) / 2 * (lost + 1) / 2
        if (middle < 0).any() or (middle > self._size - 1).any():
            return True
        if lost <= max(2, self._reach.detect_every - 1):
            return False
        edges = [self._at_edges(box) for box in (last.box, face.box)]
        return bool((edges[0] & edges[1]).any())

    def _at_edges(self, box: Float32Array) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """At which of the picture's left, top, right and bottom edge a box is."""
        rim = EDGE * (box[2:] - box[:2])
        return np.concatenate([box[:2] <= rim, box[2:] >= self._size - 1 - rim])

    def _hidden(
        self, last: Face, face: Face, frame: int, boxes: Float32Array, whose: Sequence[int], own: set[int]
    ) -> bool:
        """Whether the face, were it filled in, would be covered by another that was found in its frame."""
        others = boxes[[number not in own for number in whose]]
        if not last.frame < frame < face.frame or not len(others):
            return False
        share = (frame - last.frame) / (face.frame - last.frame)
        return covered(last.box * (1 - share) + face.box.astype(np.float64) * share, others) > COVERED_MAX

    def close(self) -> None:
        """The shot is over: join its pieces."""
        for one in self._near.values():
            one.settle(self._metric)
        # Of a track so far: where its vectors begin and end, by its first and by its last piece.
        early = {number: one.start for number, one in self._ends.items()}
        late = {number: one.end for number, one in self._ends.items()}
        # The first piece of each track by its last one, and the last by the first.
        first, last = ({number: number for number in self._ends} for _ in range(2))
        follows: dict[int, int] = {}
        for fit in sorted(self._costed(), key=lambda fit: (fit.cost, fit.before, fit.after)):
            if fit.before not in first or fit.after not in last:
                continue  # gone on already, or going on from another one
            known, coming = late[fit.before], early[fit.after]
            if known is None or coming is None:
                agree = fit.plain
            else:
                agree = distance_of(known, coming, self._metric) <= self._metric.same_person
            if agree:
                head, tail = first.pop(fit.before), last.pop(fit.after)
                first[tail], last[head] = head, tail
                late[tail] = known if late[tail] is None else late[tail]
                early[head] = coming if early[head] is None else early[head]
                follows[fit.after] = fit.before
        for number in sorted(follows, key=lambda number: self._ends[number].first):
            self.root[number] = self.root[follows[number]]
        self._ends, self._near, self._fits = {}, {}, []
        self._boxes.clear()

    def _costed(self) -> list[_Fit]:
        """The fits with what their vectors add."""
        out = []
        for fit in self._fits:
            known, coming = self._ends[fit.before].end, self._ends[fit.after].start
            away = UNKNOWN_COST
            if known is not None and coming is not None:
                away = distance_of(known, coming, self._metric) / self._metric.same_person
            out.append(_Fit(fit.cost + away, fit.before, fit.after, fit.plain))
        return out
