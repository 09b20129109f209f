"""Who is in the film, and who becomes whom."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from core.records.arrays import Float32Array, Int64Array, freeze
from core.records.film import Segment
from core.records.job import SourceSpec, SwapOptions
from core.records.work import AnalysisReceipt

NOBODY = -1


@dataclass(frozen=True)
class Analysis:
    """Where the faces of a whole film are: what `farm analyse` leaves behind, and what a cast is made of."""

    film_sha256: str
    frames: int
    detector: str
    recogniser: str  # of the tables' vectors
    detect_every: int
    segments: tuple[Segment, ...]
    receipts: tuple[AnalysisReceipt, ...]  # one a segment, in order


@dataclass(frozen=True)
class TrackTable:
    """Tracks, one row a track in order of first appearance: one face followed inside one shot. All arrays are [n].

    The row is the track's number in FaceTable.track. A track covers the frames `[first, end)` without holes; `found`
    of them are a detector's, the others were filled in. `area_px` is the median area of its boxes and `reach_px` the
    greatest extent of its face (FaceTable), both in displayed pixels. `score` is the median of the detector's scores.
    `vector` [n,D] is the mean embedding as the recogniser means it, NaN where none was taken, `vectors` of how many,
    and `spread` their mean distance to the mean. `best_frame` and `best_box` [n,4] (coded pixels) show the face best;
    `frontal` is how much it faces the camera there, 0 in profile to 1.
    """

    first: Int64Array
    end: Int64Array
    found: Int64Array
    area_px: Float32Array
    reach_px: Float32Array
    score: Float32Array
    vector: Float32Array
    vectors: Int64Array
    spread: Float32Array
    best_frame: Int64Array
    best_box: Float32Array
    frontal: Float32Array

    def __post_init__(self) -> None:
        freeze(self, "first", np.int64, (None,))
        n = len(self.first)
        for name in ("end", "found", "vectors", "best_frame"):
            freeze(self, name, np.int64, (n,))
        for name in ("area_px", "reach_px", "score", "spread", "frontal"):
            freeze(self, name, np.float32, (n,))
        freeze(self, "vector", np.float32, (n, None))
        freeze(self, "best_box", np.float32, (n, 4))

    def __len__(self) -> int:
        return len(self.first)


@dataclass(frozen=True)
class Person:
    """Tracks that are taken for one person; ids are p1, p2, ... by screen time."""

    id: str
    tracks: tuple[int, ...]


@dataclass(frozen=True)
class RoleSpec:
    """What becomes of a person, as asked for: whose face is put in, and how."""

    source: SourceSpec
    swapper: str
    options: SwapOptions = field(default_factory=SwapOptions)


@dataclass(frozen=True)
class Span:
    """In the frames `[first, end)` a person has another role; NOBODY leaves the face as it is."""

    first: int
    end: int
    role: int


@dataclass(frozen=True)
class PersonPlan:
    """One person's tracks, role (NOBODY for none), and the frames in which it is another. `spans` do not overlap."""

    id: str
    tracks: tuple[int, ...]
    role: int = NOBODY
    spans: tuple[Span, ...] = ()


@dataclass(frozen=True)
class Ban:
    """In the frames `[first, end)` no face is replaced whose box has its centre in `box`, of anybody.

    `box` is left, top, right, bottom in parts of the upright picture; None is all of it.
    """

    first: int
    end: int
    box: tuple[float, float, float, float] | None = None


@dataclass(frozen=True)
class CastPlan:
    """Who becomes whom, with all rules; roles are indices into the job's list of RoleSpecs.

    `only`: "largest" replaces of each frame's faces the one that is largest over its track's life. `share`: one
    source may go to several people of one frame; otherwise to the best match alone. `least_px` is the least side of a
    face (the root of its track's median area, displayed pixels). Of people with the same source in one frame the first
    in `people` has it. `sources` [roles] numbers the faces put in: roles with the same number put in the same face; ()
    stands for another face each.
    """

    people: tuple[PersonPlan, ...]
    bans: tuple[Ban, ...] = ()
    only: Literal["all", "largest"] = "all"
    share: bool = False
    least_px: float = 0.0
    sources: tuple[int, ...] = ()
