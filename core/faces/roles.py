"""Who becomes whom in each frame: a cast's plan applied to the faces, row by row.

What a face becomes depends on its frame's rows, its track and the plan alone, so it does not matter how the film is
cut. The ways to choose faces without a cast - the largest, all, the person of a picture - are plans like any other.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from core.errors import InputError
from core.faces.metric import Metric
from core.faces.people import LEAST_PX
from core.geometry import Float64Array, apply, display_from_coded
from core.records import (
    NOBODY,
    CastPlan,
    FaceTable,
    Float32Array,
    Int32Array,
    MediaIndex,
    Person,
    PersonPlan,
    Select,
    TrackTable,
)

EVERYBODY = "everybody"


def assign(table: FaceTable, tracks: TrackTable, plan: CastPlan, index: MediaIndex) -> FaceTable:
    """`table` with the role of every row: an index into the job's roles, or NOBODY. Other columns stay.

    Rows without a track, and those of tracks that nobody in the plan has, stay as they are. In this order: the role of
    the row's person in this frame; the largest of the frame's tracks alone, where the plan says so, whether it has a
    role or not; nobody who is too small or in a banned place; and of the people of a frame who would get one source,
    the first in the plan.
    """
    person = _people_of(plan, len(tracks))[table.track]  # that of track -1 is the last one: nobody
    role = _roles_in_time(table, person, plan)
    if plan.only == "largest":
        role[~_largest(table, tracks)] = NOBODY
    if plan.least_px > 0 and len(tracks):
        role[np.sqrt(tracks.area_px)[table.track] < plan.least_px] = NOBODY
    for banned in _banned(table, plan, index):
        role[banned] = NOBODY
    if not plan.share:
        role[_second(table, person, role, plan)] = NOBODY
    columns = {name: getattr(table, name) for name in FaceTable.__dataclass_fields__}
    return FaceTable(**(columns | {"role": role}))


def _people_of(plan: CastPlan, tracks: int) -> NDArray[np.intp]:
    """The number in the plan of each track's person; -1 for tracks of nobody, and one more -1 at the end."""
    person = np.full(tracks + 1, -1, np.intp)
    for number, one in enumerate(plan.people):
        person[np.fromiter(one.tracks, np.intp, len(one.tracks))] = number
    person[tracks] = -1
    return person


def _roles_in_time(table: FaceTable, person: NDArray[np.intp], plan: CastPlan) -> Int32Array:
    roles = np.array([*(one.role for one in plan.people), NOBODY], np.int32)
    role = np.array(roles[person])
    for number in np.unique(person[person >= 0]).tolist():
        for span in plan.people[number].spans:
            role[(person == number) & (table.frame >= span.first) & (table.frame < span.end)] = span.role
    return role


def _largest(table: FaceTable, tracks: TrackTable) -> NDArray[np.bool_]:
    """The row of each frame whose track is the largest over its life; of equals the older track."""
    chosen = np.zeros(len(table), np.bool_)
    rows = np.flatnonzero(table.track >= 0)
    track = table.track[rows]
    best = rows[np.lexsort((track, -tracks.area_px[track], table.frame[rows]))]
    chosen[best[np.diff(table.frame[best], prepend=-1) > 0]] = True
    return chosen


def _banned(table: FaceTable, plan: CastPlan, index: MediaIndex) -> list[NDArray[np.bool_]]:
    """For each ban the rows that it holds."""
    if not plan.bans or not len(table):
        return []
    video = index.video
    shown, wide, high = display_from_coded(video.width, video.height, video.sample_aspect_ratio, video.rotation)
    centre = (table.box[:, :2].astype(np.float64) + table.box[:, 2:]) / 2
    place = (apply(shown, centre) + 0.5) / (wide, high)
    rows = []
    for ban in plan.bans:
        left, top, right, bottom = ban.box or (-np.inf, -np.inf, np.inf, np.inf)
        inside = (place >= (left, top)).all(axis=1) & (place <= (right, bottom)).all(axis=1)
        rows.append(inside & (table.frame >= ban.first) & (table.frame < ban.end))
    return rows


def _second(table: FaceTable, person: NDArray[np.intp], role: Int32Array, plan: CastPlan) -> NDArray[np.intp]:
    """The rows that would get a source which somebody before them in the plan gets in the same frame."""
    rows = np.flatnonzero(role >= 0)
    if not len(rows):
        return rows
    source = np.asarray(plan.sources or range(int(role.max()) + 1), np.int64)[role[rows]]
    order = np.lexsort((person[rows], source, table.frame[rows]))
    rows, source = rows[order], source[order]
    starts = (np.diff(table.frame[rows], prepend=-1) != 0) | (np.diff(source, prepend=-1) != 0)
    first = person[rows][np.flatnonzero(starts)][np.cumsum(starts) - 1]
    return np.asarray(rows[person[rows] != first], np.intp)


def plan_for_select(
    select: Select,
    tracks: TrackTable,
    people: Sequence[Person],
    metric: Metric,
    *,
    reference: Float32Array | None = None,
    where: str = "",
    least_px: float = 0.0,
) -> CastPlan:
    """The plan with the one role 0 for a job without a cast.

    "largest" and "all" take all tracks and need no `people`. "reference" takes the people alike to the vector
    `reference` [D] of the film's recogniser: the nearest, and others that may be the same person, seen apart from him.
    Of those in one frame the nearer one is taken. `InputError` naming `where` and the nearest distance when nobody is
    alike.
    """
    if select != "reference":
        everybody = PersonPlan(EVERYBODY, tuple(range(len(tracks))), 0)
        return CastPlan((everybody,), only=select, share=True, least_px=least_px)
    if reference is None:
        raise ValueError("plan_for_select: no reference vector")
    chosen = _alike(tracks, people, metric, reference, where)
    return CastPlan(tuple(PersonPlan(one.id, one.tracks, 0) for one in chosen), least_px=least_px)


def _alike(
    tracks: TrackTable, people: Sequence[Person], metric: Metric, reference: Float32Array, where: str
) -> list[Person]:
    """The people who may be the reference's person, nearest first."""
    known = [(one, vector) for one in people if (vector := person_vector(tracks, one.tracks, metric)) is not None]
    hint = "give another picture of the person, or make a cast with `farm cast`"
    if not known:
        raise InputError("no face in the film can be compared with the reference image", where=where, hint=hint)
    vectors = np.stack([vector for _, vector in known])
    distance = metric.distances(vectors, reference[None])[:, 0]
    order = np.argsort(distance, kind="stable").tolist()
    nearest = order[0]
    if distance[nearest] > metric.same_person:
        told = f"nobody in the film is alike to the face of the reference image: the nearest, {known[nearest][0].id},"
        told += f" is at distance {distance[nearest]:.2f}, one person at most at {metric.same_person:.2f}"
        raise InputError(told, where=where, hint=hint)
    # Another look of the same person is near to both, to the one in the same film nearer.
    alike = (distance <= metric.same_person) & (
        metric.distances(vectors, vectors[nearest][None])[:, 0] <= metric.together
    )
    chosen = [known[nearest][0]]
    for row in order[1:]:
        one = known[row][0]
        if alike[row] and not any(seen_together(tracks, one, other) for other in chosen):
            chosen.append(one)
    return chosen


def person_vector(tracks: TrackTable, rows: Sequence[int], metric: Metric) -> Float64Array | None:
    """The mean vector [D] of a person's tracks by how many vectors each is of; None where there is none.

    Faces too small to be told apart do not count.
    """
    row = np.array(rows, np.intp)
    row = row[(tracks.vectors[row] > 0) & (tracks.area_px[row] >= LEAST_PX**2)]
    row = row[np.isfinite(tracks.vector[row]).all(axis=1)]
    if not len(row):
        return None
    return np.asarray(np.average(metric.points(tracks.vector[row]), axis=0, weights=tracks.vectors[row]), np.float64)


def seen_together(tracks: TrackTable, one: Person, other: Person) -> bool:
    """Whether a frame shows both people."""
    spans = [
        (int(tracks.first[row]), int(tracks.end[row]), who) for who, p in enumerate((one, other)) for row in p.tracks
    ]
    ends = [0, 0]
    for first, end, who in sorted(spans):
        if first < ends[1 - who]:
            return True
        ends[who] = max(ends[who], end)
    return False
