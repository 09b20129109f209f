"""Films made of the carphone clip by known changes, and what the meter says of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import numpy as np

from core.faces.analyse import FaceModels, analyse_segment
from core.faces.follow import Followed, follow_film
from core.faces.quality import Source
from core.faces.shots import find_cuts
from core.faces.table import read_table
from core.media.index import index_film
from core.records import NOBODY, FaceTable, MediaIndex, Person
from farm.quality.films import Cast
from tests.faces_assets import pieces_of_film
from tests.media_clips import ffmpeg

LOSSLESS = ("-an", "-c:v", "ffv1", "-g", "1")


@dataclass(frozen=True)
class Seen:
    """A film that was looked at."""

    path: Path
    index: MediaIndex
    followed: Followed

    @property
    def people(self) -> tuple[Person, ...]:
        """Every track for itself."""
        return tuple(Person(f"p{track + 1}", (track,)) for track in range(len(self.followed.tracks)))

    def tables(self, role: int = NOBODY) -> Callable[[], list[FaceTable]]:
        found = [read_table(file) for file in self.followed.files]
        return lambda: [replace(table, role=np.full(len(table), role, np.int32)) for table in found]

    def cast(self, source: Source | None = None, *, planned: bool = False) -> Cast:
        role = NOBODY if source is None else 0
        return Cast(self.tables(role), self.people, [source] if source else [], planned)


def seen(path: Path, models: FaceModels, folder: Path) -> Seen:
    """Look at a film, and follow its faces."""
    index = index_film(path)
    segment = pieces_of_film(index, [])
    found = analyse_segment(path, index, segment[0], models, heartbeat=lambda _: None)
    numbers = count()
    followed = follow_film(
        index,
        lambda: [found.faces],
        find_cuts(index, [found.shots]),
        segment,
        lambda ending: folder / f"{path.stem}-{next(numbers)}{ending}",
    )
    return Seen(path, index, followed)


def changed(film: Path, name: str, filters: str) -> Path:
    """`film` through ffmpeg's filters, without loss, beside it."""
    path = film.with_name(f"{film.stem}-{name}.mkv")
    if not path.exists():
        ffmpeg("-i", film, "-vf", filters, *LOSSLESS, path)
    return path
