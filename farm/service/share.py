"""Whose job is next, and whose place is given back.

First come tenants of which nothing runs, that whose last turn is longest ago before the others; so nobody's priority
and nobody's backlog shuts out another tenant. All else goes by OpenCue's idea: priority + 100 x (1 -
running/guaranteed) + age in days. While all places are taken and a tenant has none, one is given back (`displaced`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

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
    """What a tenant has and may have: segments that run, jobs that run, the segments it is guaranteed, and limits.
    `turn` grows with each job that is begun, of whomever: the tenant's last; 0 is none that is known of."""

    running: float
    jobs_running: int
    guaranteed: float
    most_segments: int | None = None
    most_jobs: int | None = None
    turn: int = 0


@dataclass(frozen=True)
class Running:
    """A job that has a place and could give it back; `held_ms` is for how long it has it."""

    job: str
    tenant: str
    priority: int
    held_ms: int


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
        best = max(may, key=lambda one: _rank(one, now[one.tenant]))
        left.remove(best)
        chosen.append(best)
        had = now[best.tenant]
        now[best.tenant] = replace(had, running=had.running + 1, jobs_running=had.jobs_running + 1)
    return chosen


def displaced(
    waiting: Iterable[Waiting], running: Iterable[Running], shares: Mapping[str, Share], turn_ms: int
) -> str | None:
    """The job to give back, so that a tenant of which nothing runs has a place; None where nobody is to.

    Of the tenants that have several places, the one that is furthest above what it is guaranteed gives back the job
    that it began last, of its lowest priority. Where nobody has several, there are more tenants than places: the job
    that has its place longest gives it back, after `turn_ms`, and those who wait have their turns before its tenant.
    """
    if not any(shares[one.tenant].jobs_running == 0 and _may(shares[one.tenant]) for one in waiting):
        return None
    held = list(running)
    several = [one for one in held if shares[one.tenant].jobs_running > 1]
    if several:
        return min(several, key=lambda one: (-_part(shares[one.tenant]), one.tenant, one.priority, one.held_ms)).job
    longest = max(held, key=lambda one: one.held_ms, default=None)
    return longest.job if longest is not None and longest.held_ms >= turn_ms else None


def _rank(one: Waiting, share: Share) -> tuple[bool, int, float, int, str]:
    """The greater, the sooner."""
    none = share.jobs_running == 0
    return none, -share.turn if none else 0, _score(one, share), one.age_ms, one.job


def _part(share: Share) -> float:
    return share.running / share.guaranteed


def _score(one: Waiting, share: Share) -> float:
    return score(one.priority, share.running, share.guaranteed, one.age_ms)


def _may(share: Share) -> bool:
    return (share.most_segments is None or share.running < share.most_segments) and (
        share.most_jobs is None or share.jobs_running < share.most_jobs
    )
