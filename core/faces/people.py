"""People: the tracks of a film that are taken for one person each.

Two people made one get each other's faces; one person made two is a line more in the cast, which its reader joins with
`same_as`. So tracks are put together only where that is sure: by the mean distance over all pairs of their vectors,
never where a frame shows both, more strictly where strangers who are seen together look alike (children, relatives),
and not at all where the vectors say little. Tracks that are short, small, turned away or unsteady join the people that
the others make, where one of these is much nearer than the next.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from core.faces.groups import Groups, nearest_in_sight
from core.faces.metric import Metric
from core.records import BoolArray, Person, TrackTable

# What a track must have to make people (of the others see UNSURE). Measured with the embedded models on the astronaut
# and carphone faces, plain, mirrored, blurred, noisy, turned and lit in other ways: from 40 px a side (root of the
# box's area) on, the distances of the two are at least 0.65 at any size; at 28 px 0.61, at 24 px 0.53, at 16 px 0.47,
# which is less than one face has to itself.
SURE_PX = 40.0
SURE_VECTORS = 2
SURE_FRONTAL = 0.5
SURE_SCORE = 0.5
SURE_SPREAD = 0.6  # of the distance of one person's two pictures; two people in one track are about 0.7 of it apart
LEAST_PX = 24.0  # of tracks whose vectors say anything
UNSURE = 0.8  # of the distance at which sure tracks are put together; for those that are not sure
CLEARLY = 0.85  # an unsure track's nearest person must be nearer than so much of the distance to the next
# People in one frame are two. Nobody is taken for the same who is not much nearer than these are to each other...
STRANGERS = 0.8
# ... unless they are nearer than two pictures of one person mostly are: a mirror, a screen, a face found twice.
MIRRORED = 0.4  # of the distance of one person's two pictures


def group_people(tracks: TrackTable, metric: Metric) -> tuple[Person, ...]:
    """The people of a film: every track belongs to one. p1 is the one seen longest.

    `metric` is of the recogniser that made the vectors. The result depends on the table alone: not on threads, and
    not on the last bits of float arithmetic. Memory is a quarter of a byte a pair of tracks.
    """
    told = np.asarray((tracks.vectors > 0) & (tracks.area_px >= LEAST_PX**2))
    told &= np.isfinite(tracks.vector).all(axis=1) & np.asarray(tracks.vector.any(axis=1))
    known, unsure = _split(told, _sure(tracks, metric))
    groups: list[tuple[int, ...]] = [(int(row),) for row in np.flatnonzero(~told)]
    if len(known) + len(unsure):
        groups += _grouped(tracks, metric, known, unsure)
    return _numbered(groups, tracks)


def _split(told: BoolArray, sure: BoolArray) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    return np.flatnonzero(told & sure), np.flatnonzero(told & ~sure)


def _sure(tracks: TrackTable, metric: Metric) -> BoolArray:
    steady = ~(tracks.spread > SURE_SPREAD * metric.same_person)
    seen = (tracks.area_px >= SURE_PX**2) & (tracks.frontal >= SURE_FRONTAL) & (tracks.score >= SURE_SCORE)
    return np.asarray(seen & steady & (tracks.vectors >= SURE_VECTORS), np.bool_)


def _grouped(
    tracks: TrackTable, metric: Metric, known: NDArray[np.intp], unsure: NDArray[np.intp]
) -> list[tuple[int, ...]]:
    """Groups of the tracks `known`, joined by those of `unsure` that belong to one of them or to each other."""
    rows = np.concatenate([known, unsure])
    points = metric.points(tracks.vector[rows])
    span = np.asarray(tracks.first[rows]), np.asarray(tracks.end[rows])
    sure = np.arange(len(rows)) < len(known)
    mirrored = float(metric.square_of(MIRRORED * metric.same_person))
    in_sight = nearest_in_sight(points, *span, sure, mirrored)
    strangers = metric.square_of(STRANGERS * metric.distance_of(in_sight))
    groups = Groups.of(points, *span)
    # At first only what is sure is put together; a limit below 0 lets nobody near.
    nobody = np.full(len(rows), -1.0)
    limit = np.where(sure, np.minimum(metric.square_of(metric.together), strangers), nobody)
    groups = groups.joined(limit)
    people = np.zeros(len(groups), np.bool_)
    people[groups.member[sure]] = True
    others = np.flatnonzero(~people)
    nearest, next_one = groups.nearest_two(others, np.flatnonzero(people))
    doubtful = np.zeros(len(groups), np.bool_)
    doubtful[others] = ~(metric.distance_of(nearest) < CLEARLY * metric.distance_of(next_one))
    groups = groups.kept_apart(people, doubtful)
    near = np.full(len(rows), np.inf)
    np.minimum.at(near, groups.member, strangers)
    near = np.minimum(near[: len(groups)], metric.square_of(UNSURE * metric.together))
    groups = groups.joined(near)
    order = np.argsort(groups.member, kind="stable")
    ends = np.flatnonzero(np.diff(groups.member[order])) + 1
    return [tuple(rows[one].tolist()) for one in np.split(order, ends)]


def _numbered(groups: Iterable[Sequence[int]], tracks: TrackTable) -> tuple[Person, ...]:
    """People with ids by screen time; of equals the one seen first."""
    frames = np.asarray(tracks.end - tracks.first)
    ordered = sorted(
        (tuple(sorted(group)) for group in groups), key=lambda group: (-int(frames[list(group)].sum()), group)
    )
    return tuple(Person(f"p{number}", group) for number, group in enumerate(ordered, 1))
