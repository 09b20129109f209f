"""People: the tracks of a film that are taken for one person each."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from core.faces.metric import Metric
from core.records import Person, TrackTable


def group_people(tracks: TrackTable, metric: Metric) -> tuple[Person, ...]:
    """The people of a film: every track belongs to one. p1 is the one seen longest."""
    del metric
    return _numbered([(track,) for track in range(len(tracks))], tracks)


def _numbered(groups: Iterable[tuple[int, ...]], tracks: TrackTable) -> tuple[Person, ...]:
    """People with ids by screen time; of equals the one seen first."""
    frames = np.asarray(tracks.end - tracks.first)
    ordered = sorted(groups, key=lambda group: (-int(frames[list(group)].sum()), group))
    return tuple(Person(f"p{number}", group) for number, group in enumerate(ordered, 1))
