"""Who becomes whom where nobody wrote a cast: all faces, or in each frame the largest, get the one source."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from core.faces.follow import follow_film
from core.faces.table import read_table
from core.records import NOBODY, FaceTable, Float32Array, Int32Array, MediaIndex, Segment


def cast_faces(
    index: MediaIndex,
    parts: Callable[[], Iterable[FaceTable]],
    segments: Sequence[Segment],
    select: Literal["largest", "all"],
    scratch: Callable[[str], Path],
) -> Iterator[FaceTable]:
    """For each of `segments`, which cover the film in order, the table of its rows: follow_film's, with roles.

    Role is 0 where a face is replaced. With "largest", of the tracks in a frame the one that is largest over its life
    (median area) is replaced, so that the choice does not flicker. The film is taken for a single shot.
    """
    followed = follow_film(index, parts, np.zeros(0, np.int64), segments, scratch)
    try:
        for file in followed.files:
            table = read_table(file)
            yield replace(table, role=_choose(table, select, followed.tracks.area_px))
    finally:
        for file in followed.files:
            file.unlink(missing_ok=True)


def _choose(table: FaceTable, select: Literal["largest", "all"], size: Float32Array) -> Int32Array:
    """The role of each row: 0 for rows to replace, -1 for others. `size` is of the tracks, by their numbers."""
    if select == "all":
        return np.where(table.track >= 0, 0, NOBODY).astype(np.int32)
    role = np.full(len(table), NOBODY, np.int32)
    rows = np.flatnonzero(table.track >= 0)
    # Per frame the row of the track with the greatest size; equal sizes go to the older track.
    best = rows[np.lexsort((table.track[rows], -size[table.track[rows]], table.frame[rows]))]
    role[best[np.diff(table.frame[best], prepend=-1) > 0]] = 0
    return role
