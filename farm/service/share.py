"""Whose job is next: OpenCue's idea, priority + 100 x (1 - running/guaranteed) + age in days."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

DAY_MS = 86_400_000


@dataclass(frozen=True)
class Waiting:
    """A job that could be begun. `age_ms` is how long ago it was submitted."""

    job: str
    tenant: str
    priority: int
    age_ms: int


@dataclass(frozen=True)
class Share:
    """What a tenant has and may have: segments that run, jobs that run, the segments it is guaranteed, and limits."""

    running: float
    jobs_running: int
    guaranteed: float
    most_segments: int | None = None
    most_jobs: int | None = None


def score(priority: int, running: float, guaranteed: float, age_ms: int) -> float:
    """The higher, the sooner. A tenant with nothing running has 100 more than one that has all it is guaranteed."""
    return priority + 100.0 * (1.0 - running / guaranteed) + age_ms / DAY_MS


def choose(waiting: Iterable[Waiting], shares: Mapping[str, Share], places: int) -> list[Waiting]:
    """Which `places` jobs to begin, in this order. Each that is begun counts as one running segment at once, so that
    one tenant's jobs do not take all places before any segment runs."""
    left = list(waiting)
    now = dict(shares)
    chosen: list[Waiting] = []
    while left and len(chosen) < places:
        may = [one for one in left if _may(now[one.tenant])]
        if not may:
            break
        best = max(may, key=lambda one: (_score(one, now[one.tenant]), one.age_ms, one.job))
        left.remove(best)
        chosen.append(best)
        had = now[best.tenant]
        now[best.tenant] = Share(
            had.running + 1, had.jobs_running + 1, had.guaranteed, had.most_segments, had.most_jobs
        )
    return chosen


def _score(one: Waiting, share: Share) -> float:
    return score(one.priority, share.running, share.guaranteed, one.age_ms)


def _may(share: Share) -> bool:
    return (share.most_segments is None or share.running < share.most_segments) and (
        share.most_jobs is None or share.jobs_running < share.most_jobs
    )
