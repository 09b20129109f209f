"""Whose letters are sent when there are many, and what becomes of webhooks and letters that nobody waits for."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import sqlalchemy as sql

from farm.service import clearing, held, jobs, keys, moves, tables, webhooks
from farm.service.database import Database
from farm.service.errors import Conflict
from farm.service.places import ServicePlaces
from farm.service.posting import A_TENANT, Answer, claim, settle
from farm.service.states import JobState
from tests.farm.service.farmhouse import ACME, DONE, OTHER, Hand, job_in, report, submit, tenants

URL = "https://hooks.example.com/farm"


def test_a_letter_to_a_webhook_that_is_off_holds_nobody_up(db: Database, clock: Hand) -> None:
    """One that was written while its webhook was ended: nobody claims it, and clearing up ends it."""
    tenants(db)
    row, _ = webhooks.make(db, ACME, URL)
    submit(db)
    with db.write() as connection:
        connection.execute(sql.update(tables.webhooks).values(off_ms=clock.now_ms))
    webhooks.make(db, OTHER, URL)
    submit(db, OTHER)
    assert [letter.tenant for letter in claim(db, 1)] == [OTHER]
    clearing.clear(db, ServicePlaces(Path("/nowhere")))
    assert [one.state for one in webhooks.deliveries(db, ACME, webhook=row.id).items] == ["dead"]


def test_tenants_take_turns_and_have_so_many_letters_under_way(db: Database, clock: Hand) -> None:
    tenants(db)
    for tenant in (ACME, OTHER):
        webhooks.make(db, tenant, URL)
    for _ in range(30):
        submit(db)
    clock.forward(1)
    for _ in range(2):
        submit(db, OTHER)
    assert Counter(letter.tenant for letter in claim(db, 4)) == {ACME: 2, OTHER: 2}
    assert len(claim(db, under_way={ACME: 2, OTHER: 2})) == A_TENANT - 2
    assert claim(db, under_way={ACME: A_TENANT}) == []
    assert len(claim(db)) == A_TENANT


def test_webhooks_of_a_job_are_few_and_end_with_it(db: Database, clock: Hand) -> None:
    tenants(db)
    job, mine = job_in(db, JobState.rendering)
    assert mine is not None
    for _ in range(webhooks.MOST_OF_JOB):
        webhooks.make(db, ACME, URL, job=job)
    with pytest.raises(Conflict, match="of this job"):
        webhooks.make(db, ACME, URL, job=job)
    held.succeed(db, mine, DONE, report())
    nowhere = ServicePlaces(Path("/nowhere"))
    clearing.clear(db, nowhere)
    assert len(webhooks.listed(db, ACME)) == webhooks.MOST_OF_JOB, "it is still to be told"
    for letter in claim(db):
        settle(db, letter, Answer(200))
    clearing.clear(db, nowhere)
    assert webhooks.listed(db, ACME) == ()
    other = submit(db).id
    webhooks.make(db, ACME, URL, job=other)
    jobs.erase(db, ACME, other)
    with db.read() as connection:
        assert connection.execute(sql.select(tables.webhooks.c.id).where(tables.webhooks.c.job == other)).all() == []
        assert connection.execute(sql.select(tables.webhooks.c.url).distinct()).scalars().all() == [""]


def test_whose_letter_waits_longest_is_first_of_many_tenants(db: Database, clock: Hand) -> None:
    names = [f"t{number}" for number in range(6)]
    for name in names:
        keys.make_tenant(db, name, tenant_id=name)
        webhooks.make(db, name, URL)
    for name in reversed(names):
        clock.forward(1)
        for _ in range(2):
            submit(db, name)
    assert [letter.tenant for letter in claim(db, 4)] == names[:1:-1]
    full = dict.fromkeys(names[2:], A_TENANT)
    assert [letter.tenant for letter in claim(db, 2, under_way=full)] == ["t1", "t0"]


def test_letters_that_nobody_takes_are_so_many(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moves, "MOST_WAITING", 3)
    tenants(db)
    row, _ = webhooks.make(db, ACME, URL)
    for _ in range(5):
        submit(db)
    told = [(one.state, one.last_error) for one in webhooks.deliveries(db, ACME, webhook=row.id).items]
    assert told == [("dead", "3 letters wait for this webhook already")] * 2 + [("waiting", "")] * 3
    for letter in claim(db):
        settle(db, letter, Answer(200))
    submit(db)
    assert len(claim(db)) == 1
