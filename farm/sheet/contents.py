"""What the sheet tells of each person: when, how long, and how many frames are doubtful."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from core.records import Doubt, MediaIndex, Person, TrackTable
from farm.casttoml import frame_timecode

NEAR_S = 0.5  # appearances that lie no further apart are one bar


@dataclass(frozen=True)
class PersonEntry:
    """One person of the cast sheet.

    `shown` are the times in seconds from the film's start in which the person is seen, first and end, in order.
    `doubts` are frames by reason (core.records.Doubt), `picture` the thumbnail's path from the cast's folder.
    """

    id: str
    name: str
    picture: str
    frames: int
    screen_time_s: float
    first: str
    last: str
    first_s: float
    tracks: tuple[int, ...]
    shown: tuple[tuple[float, float], ...]
    doubts: dict[str, int]


def entries(
    people: Sequence[Person],
    tracks: TrackTable,
    index: MediaIndex,
    doubts: Sequence[Doubt],
    pictures: Mapping[str, str],
    names: Mapping[str, str],
) -> tuple[PersonEntry, ...]:
    """The entries of all people, in their order."""
    frames: dict[str, Counter[str]] = {}
    for doubt in doubts:
        frames.setdefault(doubt.person, Counter())[doubt.reason] += doubt.end - doubt.first
    start = int(index.pts[0])
    pts = np.append(np.asarray(index.pts), index.end_pts) - start
    step_s = float(index.time_base)
    made = []
    for person in people:
        rows = np.array(sorted(person.tracks, key=lambda row: int(tracks.first[row])), np.intp)
        spans = [(float(pts[tracks.first[row]] * step_s), float(pts[tracks.end[row]] * step_s)) for row in rows]
        made.append(
            PersonEntry(
                id=person.id,
                name=names.get(person.id, ""),
                picture=pictures.get(person.id, ""),
                frames=int((tracks.end[rows] - tracks.first[rows]).sum()),
                screen_time_s=round(sum(end - first for first, end in spans), 3),
                first=frame_timecode(index, int(tracks.first[rows].min())),
                last=frame_timecode(index, int(tracks.end[rows].max()) - 1),
                first_s=spans[0][0],
                tracks=tuple(int(row) for row in person.tracks),
                shown=tuple(_joined(spans)),
                doubts=dict(sorted(frames.get(person.id, Counter()).items())),
            )
        )
    return tuple(made)


def _joined(spans: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Times in order, those that are near each other as one."""
    joined: list[tuple[float, float]] = []
    for first, end in spans:
        if joined and first - joined[-1][1] <= NEAR_S:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((first, end))
    return joined
