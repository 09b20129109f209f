"""Before anything is rendered: the faces that are likely to look bad, from the face tables alone.

What is looked at is in the tables already, so a film of any length is scanned in seconds. The limits were set on faces
of the carphone clip and the astronaut, with parts of them covered, blurred, shrunk and cut off; between `begin` and
`full` severity rises from 0 to 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from core.faces.landmarks import PRESENCE_MIN
from core.faces.portrait import turn_deg
from core.geometry import Float64Array, apply, display_from_coded, level_extent
from core.records import EYE_OUTER, Doubt, DoubtReason, FaceTable, MediaIndex, Person

JOIN_FRAMES = 5  # runs of one track that lie no further apart are one
SHORT_FRAMES = 3  # a shorter run is told only when it is at least half as bad as can be
SHORT_SEVERITY = 0.5
BLUR_JUDGED_PX = 70.0  # a smaller face is enlarged before its sharpness is measured, and always blurred (see sharpness)


@dataclass(frozen=True)
class Limit:
    """Where a measured number begins to be bad, and where it is as bad as can be; the one may be above the other."""

    begin: float
    full: float

    def severity(self, measured: Float64Array) -> Float64Array:
        """0 to 1 [n] where it is bad, below 0 where not; NaN counts as not."""
        rise = (measured - self.begin) / (self.full - self.begin)
        return np.where(np.isnan(rise), -1.0, np.minimum(rise, 1.0))


LIMITS: dict[DoubtReason, Limit] = {
    "tiny": Limit(64.0, 16.0),  # displayed pixels, the longer side of the face
    # Degrees to a side as core.faces.portrait.turn_deg has them, which are less than they are; 90 without a mesh.
    "turned": Limit(25.0, 50.0),
    # The mesh network's presence logit: 43 to 50 for whole faces, 30 with a third covered, 15 with half; blur lowers it
    # too, so blurred faces are not judged.
    "occluded": Limit(36.0, 12.0),
    "blurred": Limit(0.008, 0.002),  # core.faces.sharpness: a sigma of 2 and of 5 % of the face's height
    "lost": Limit(0.0, 6.0),  # frames since the detector had it
    "cut off": Limit(0.1, 0.5),  # part of the mesh, or of the box, that is outside the picture
}


def scan_faces(
    tables: Iterable[FaceTable], index: MediaIndex, people: Sequence[Person] = (), *, detect_every: int = 1
) -> tuple[Doubt, ...]:
    """The runs of frames in which a face is doubtful, by their first frames.

    `tables` are of the whole film in order, with tracks (core.faces.follow); rows of no track are not looked at, and
    with `people` only those of their tracks. `detect_every` is that of the analysis. Memory does not grow with the
    film, but with what is found.
    """
    person = {track: one.id for one in people for track in one.tracks}
    scan = _Scan(index, detect_every)
    found: list[Doubt] = []
    for table in tables:
        owned = [int(track) in person if people else int(track) >= 0 for track in table.track]
        rows = table.take(np.array(owned, bool))
        if len(rows):
            found += scan.look(rows)
    found += scan.end()
    told = [
        replace(doubt, person=person.get(doubt.track, ""))
        for doubt in found
        if doubt.end - doubt.first >= SHORT_FRAMES or doubt.severity >= SHORT_SEVERITY
    ]
    return tuple(sorted(told, key=lambda one: (one.first, one.track, one.reason)))


class _Scan:
    """The runs that are still open, by track and reason."""

    def __init__(self, index: MediaIndex, detect_every: int) -> None:
        video = index.video
        self._shown = display_from_coded(video.width, video.height, video.sample_aspect_ratio, video.rotation)[0]
        self._size = (video.width, video.height)
        self._detect_every = detect_every
        self._open: dict[tuple[int, DoubtReason], Doubt] = {}
        self._missed: dict[int, int] = {}  # frames since each track was found

    def look(self, rows: FaceTable) -> Iterator[Doubt]:
        """Take the next rows; the runs that are over by then."""
        measured = {**self._measures(rows), "lost": self._lost(rows)}
        for reason, limit in LIMITS.items():
            severity = limit.severity(measured[reason])
            for row in np.flatnonzero(severity > 0).tolist():
                yield from self._note(rows, row, reason, float(severity[row]), float(measured[reason][row]))
        last = int(rows.frame[-1])
        for key in [key for key, doubt in self._open.items() if doubt.end + JOIN_FRAMES < last]:
            yield self._open.pop(key)
        here = {int(track) for track in rows.track}
        self._missed = {track: count for track, count in self._missed.items() if track in here}

    def end(self) -> list[Doubt]:
        left, self._open = list(self._open.values()), {}
        return left

    def _note(
        self, rows: FaceTable, row: int, reason: DoubtReason, severity: float, measured: float
    ) -> Iterator[Doubt]:
        frame, track = int(rows.frame[row]), int(rows.track[row])
        run = self._open.get((track, reason))
        if run is not None and frame - run.end > JOIN_FRAMES:
            yield run
            run = None
        if run is None:
            run = Doubt(reason, "", track, frame, frame, frame, -1.0, measured)
        run = replace(run, end=frame + 1)
        if severity > run.severity:
            run = replace(run, worst_frame=frame, severity=severity, measured=measured)
        self._open[track, reason] = run

    def _lost(self, rows: FaceTable) -> Float64Array:
        """Frames since the detector had each row's face, beyond those in which it was not asked."""
        lost = np.zeros(len(rows))
        for row, (track, score) in enumerate(zip(rows.track.tolist(), rows.score.tolist(), strict=True)):
            self._missed[track] = self._missed.get(track, 0) + 1 if score <= 0 else 0
            lost[row] = max(self._missed[track] - (self._detect_every - 1), 0)
        return lost

    def _measures(self, rows: FaceTable) -> dict[DoubtReason, Float64Array]:
        """What LIMITS are about, [n] each."""
        meshed = np.isfinite(rows.mesh).all(axis=(1, 2))
        shown = apply(self._shown, rows.mesh)
        corners = apply(self._shown, rows.box.reshape(-1, 2, 2))
        size = np.where(meshed, level_extent(shown, *EYE_OUTER), np.abs(np.diff(corners, axis=1))[:, 0].max(axis=-1))
        turned = np.full(len(rows), 90.0)
        for row in np.flatnonzero(meshed):
            turned[row] = turn_deg(np.asarray(shown[row], np.float32))
        sharp = np.where(size < BLUR_JUDGED_PX, np.nan, rows.sharpness.astype(np.float64))
        blurred = sharp < LIMITS["blurred"].begin
        whole = meshed & ~blurred & (rows.presence > PRESENCE_MIN)
        return {
            "tiny": size,
            "turned": turned,
            "occluded": np.where(whole, rows.presence.astype(np.float64), np.nan),
            "blurred": sharp,
            "cut off": np.where(meshed, self._outside(rows.mesh), self._beyond(rows.box)),
        }

    def _outside(self, mesh: NDArray[np.floating]) -> Float64Array:
        """The part of each mesh [n,468,2] that is outside the picture; 0 where there is none."""
        with np.errstate(invalid="ignore"):
            out = ((mesh < -0.5) | (mesh > np.array(self._size) - 0.5)).any(axis=-1)
        return np.asarray(out.mean(axis=1), np.float64)

    def _beyond(self, box: NDArray[np.floating]) -> Float64Array:
        """The part of each box [n,4] that is outside the picture."""
        low, high = np.maximum(box[:, :2], -0.5), np.minimum(box[:, 2:], np.array(self._size) - 0.5)
        inside = np.prod(np.maximum(high - low, 0), axis=1)
        whole = np.prod(np.maximum(box[:, 2:] - box[:, :2], 1e-6), axis=1)
        return np.asarray(1 - np.clip(inside / whole, 0, 1), np.float64)
