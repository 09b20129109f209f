"""What is known of a film's faces when its segments are rendered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.records import AnalysisReceipt, CastPlan, Role, RoleSpec, Segment

if TYPE_CHECKING:
    from farm.casting import Followed


@dataclass(frozen=True, slots=True)
class SegmentCast:
    """The faces to replace in one segment: `file` names their FaceTable in the store, None where there are none.

    `roles` are the numbers that the roles of that table have in the whole job.
    """

    segment: int
    faces: int = 0
    file: str | None = None
    sha256: str | None = None
    roles: tuple[int, ...] = ()


@dataclass(frozen=True)
class Casting:
    """The segments with the faces to replace in each, the job's roles as kept and as asked for, and who has each.

    `receipts` are the analysis', `reused` how many of them were there before. `followed` are all faces of the film and
    `plan` says what becomes of them; None in a job that replaces nobody. `recogniser` and `detect_every` are the
    analysis'.
    """

    segments: tuple[Segment, ...]
    entries: tuple[SegmentCast, ...]
    roles: tuple[Role, ...] = ()
    specs: tuple[RoleSpec, ...] = ()
    people: tuple[tuple[str, ...], ...] = ()
    receipts: tuple[AnalysisReceipt, ...] = ()
    reused: int = 0
    notes: tuple[str, ...] = ()
    followed: Followed | None = None
    plan: CastPlan | None = None
    recogniser: str = ""
    detect_every: int = 1


def nobody(segments: tuple[Segment, ...]) -> Casting:
    """The casting of a job that replaces nobody."""
    return Casting(segments, tuple(SegmentCast(segment.index) for segment in segments))
