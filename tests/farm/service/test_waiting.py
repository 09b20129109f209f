"""Jobs that wait: which of a tenant's many are looked at, and what is said of how they got on."""

from __future__ import annotations

from farm.service import held, jobs
from farm.service.database import Database
from farm.service.records import Progress
from farm.service.states import JobState
from tests.farm.service.farmhouse import ACME, Hand, job_in, submit, take, tenants


def test_an_old_job_is_seen_behind_many_new_ones(db: Database, clock: Hand) -> None:
    tenants(db)
    old = submit(db)
    clock.forward(60 * 86_400)
    for _ in range(17):  # more than are looked at of a tenant
        submit(db, priority=1)
    assert [mine.job for mine in take(db)] == [old.id]


def test_how_fast_a_job_gets_on_is_said_while_it_does(db: Database) -> None:
    tenants(db)
    _, mine = job_in(db, JobState.rendering)
    assert mine is not None
    going = Progress("render", 30, 100, 3, 10, 2, 5, frames_per_s=12.5, eta_low_s=5.0, eta_high_s=9.0)
    held.report(db, mine, progress=going)
    assert jobs.get(db, ACME, mine.job).progress == going
    held.give_back(db, mine)
    assert jobs.get(db, ACME, mine.job).progress == Progress("render", 30, 100, 3, 10, 0, 5)
