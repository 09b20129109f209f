"""Many at once, on real connections: numbers without gaps, one coordinator a job, one job a key, no lost counts."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sql

from farm.service import audit, held, jobs, keys, leasing, tables
from farm.service.database import Database, open_database
from farm.service.errors import Conflict, LeaseLost, OverQuota
from farm.service.events import after, heads
from farm.service.moves import change, tell
from farm.service.records import Event, JobRow, Spent, TenantQuota
from farm.service.states import JobState
from tests.farm.service.farmhouse import ACME, FAILED, Hand, job_in, order, submit, take, tenants

THREADS = 8


def all_at_once(works: list[Callable[[], object]]) -> list[object]:
    """What each gives or raises, begun at one moment."""
    gate = threading.Barrier(len(works))

    def run(work: Callable[[], object]) -> object:
        gate.wait()
        try:
            return work()
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(run, works))


def test_readers_never_see_a_gap(db: Database, url: str, clock: Hand) -> None:
    """Writers of two jobs, some of whom hold their transaction open, roll back, or are another process's connections.
    A reader that goes on behind the newest number it saw misses nothing, and sees every number once."""
    tenants(db)
    names = [submit(db).id for _ in range(2)]
    epochs = {mine.job: mine for mine in take(db, places=2)}
    told = 15
    over = threading.Event()
    ready = threading.Event()

    def write(which: int, database: Database) -> None:
        mine = epochs[names[which % 2]]
        for number in range(told):
            if (which + number) % 5 == 4:
                with pytest.raises(ZeroDivisionError):
                    _broken_write(database, mine.job)
            events = [Event("note", {"by": which, "number": number, "part": part}) for part in range(1 + number % 3)]
            held.report(database, mine, events=events)

    def read(name: str) -> list[tuple[int, object]]:
        seen: list[tuple[int, object]] = []
        last = 0
        ready.wait()
        while True:
            ended = over.is_set()
            head = heads(db, [name])[name][1]
            rows = after(db, ACME, name, last, limit=7)
            assert [row.seq for row in rows] == list(range(last + 1, last + 1 + len(rows)))
            if head > last:
                assert rows, "the row tells of an event that cannot be read"
            seen += [(row.seq, row.data.get("by")) for row in rows]
            last += len(rows)
            if ended and not rows:
                return seen

    with open_database(url, clock=clock) as second, ThreadPoolExecutor(THREADS + 2) as pool:
        readers = [pool.submit(read, name) for name in names]
        ready.set()
        writers = [pool.submit(write, which, (db, second)[which // 2 % 2]) for which in range(THREADS)]
        for writer in writers:
            writer.result()
        over.set()
        for reader in readers:
            counts = Counter(by for _, by in reader.result())
            assert {by: count for by, count in counts.items() if by is not None} == {
                by: 2 * told for by in range(THREADS) if names[by % 2] == names[readers.index(reader)]
            }


def _broken_write(db: Database, name: str) -> None:
    with db.write() as connection:
        (row,) = change(connection, db.now_ms(connection), [tables.jobs.c.id == name], {})
        tell(connection, db.now_ms(connection), row, "note", {"rolled": "back"})
        raise ZeroDivisionError


def test_a_job_is_leased_once(db: Database) -> None:
    tenants(db)
    made = {submit(db).id for _ in range(20)}

    def run(holder: str) -> list[str]:
        return [mine.job for _ in range(6) for mine in take(db, holder, places=3)]

    got = all_at_once([lambda holder=f"c{number}": run(holder) for number in range(THREADS)])  # type: ignore[misc]
    leased = [name for some in got for name in some]  # type: ignore[attr-defined]
    leased += [mine.job for mine in take(db, "last", places=20)]  # what was passed over while others had it locked
    assert sorted(leased) == sorted(made)


def test_a_lapsed_job_is_taken_once(db: Database, clock: Hand) -> None:
    tenants(db)
    for _ in range(5):
        job, _ = job_in(db, JobState.rendering)
        clock.forward(16)
        got = all_at_once([lambda holder=f"c{number}": take(db, holder) for number in range(THREADS)])  # type: ignore[misc]
        got.append(take(db, "last"))
        assert sum(map(len, got)) == 1  # type: ignore[arg-type]
        jobs.cancel(db, ACME, job)
        clock.forward(16)
        assert take(db) == []


@pytest.mark.parametrize("before", ["SELECT idempotency", "SELECT jobs"])
def test_an_idempotency_key_whose_job_is_erased_meanwhile_makes_another(db: Database, url: str, before: str) -> None:
    """Erased after the key was seen to be taken, and after it was seen by which job; SQLite lets nobody in between."""
    tenants(db)
    first = jobs.submit(db, ACME, order(), idempotency="the key", request_sha256="a").job.id
    erased: list[str] = []

    def erase(_: object, __: object, statement: str, *___: object) -> None:
        if not erased and statement.startswith(before):
            erased.append(first)
            jobs.erase(db, ACME, first)

    if url.startswith("sqlite"):
        jobs.erase(db, ACME, first)
    else:
        sql.event.listen(sql.Engine, "before_cursor_execute", erase)
    try:
        again = [jobs.submit(db, ACME, order(), idempotency="the key", request_sha256="a") for _ in range(2)]
    finally:
        if not url.startswith("sqlite"):
            sql.event.remove(sql.Engine, "before_cursor_execute", erase)
    assert [one.new for one in again] == [True, False]
    assert {one.job.id for one in again} == {again[0].job.id} != {first}


def test_an_idempotency_key_makes_one_job(db: Database) -> None:
    tenants(db)

    def work(body: str) -> object:
        return jobs.submit(db, ACME, order(), idempotency="the key", request_sha256=body)

    got = all_at_once([lambda: work("a")] * THREADS)
    assert len({one.job.id for one in got}) == 1  # type: ignore[attr-defined]
    assert sum(one.new for one in got) == 1  # type: ignore[attr-defined]
    assert len(jobs.listed(db, ACME).items) == 1
    others = all_at_once([lambda: work("b")] * 2)
    assert [type(error).__name__ for error in others] == ["KeyReused"] * 2


def test_a_quota_holds_for_those_who_come_at_once(db: Database) -> None:
    tenants(db, TenantQuota(jobs_waiting=5))
    got = all_at_once([lambda: submit(db)] * THREADS)
    assert sum(isinstance(one, JobRow) for one in got) == 5
    assert sum(isinstance(one, OverQuota) for one in got) == THREADS - 5


def test_the_end_of_a_job_is_decided_once(db: Database) -> None:
    """A coordinator that ends it, one that gives it back, and an owner who cancels: one of them comes first."""
    tenants(db)
    for _ in range(8):
        job, mine = job_in(db, JobState.rendering)
        assert mine is not None
        got = all_at_once(
            [
                lambda mine=mine: held.fail(db, mine, FAILED),  # type: ignore[misc]
                lambda mine=mine: held.give_back(db, mine),  # type: ignore[misc]
                lambda job=job: jobs.cancel(db, ACME, job),  # type: ignore[misc]
            ]
        )
        row = jobs.get(db, ACME, job)
        events = [str(event.data.get("state", "")) for event in after(db, ACME, job, 0)]
        assert [event.seq for event in after(db, ACME, job, 0)] == list(range(1, row.last_seq + 1))
        ends = [state for state in events if state in {"failed", "cancelled"}]
        assert len(ends) <= 1
        assert row.state in {JobState.failed, JobState.cancelled}
        assert sum(isinstance(one, LeaseLost) for one in got[:2]) == 1
        assert isinstance(got[2], JobRow | Conflict)


def test_time_used_is_counted_once(db: Database) -> None:
    """Reports are absolute: told twice, late, or by two threads, what counts is the largest."""
    tenants(db)
    job, mine = job_in(db, JobState.rendering)
    assert mine is not None
    all_at_once(
        [lambda ms=ms: held.report(db, mine, spent=Spent(ms, 2 * ms)) for ms in (100, 900, 300, 900, 500)]  # type: ignore[misc]
    )
    held.report(db, mine, spent=Spent(900, 1800))
    assert jobs.get(db, ACME, job).spent == Spent(900, 1800)
    assert keys.use_of(db, ACME).gpu_ms == 900
    held.give_back(db, mine)
    (again,) = take(db)
    held.report(db, again, spent=Spent(50, 60))
    assert jobs.get(db, ACME, job).spent == Spent(950, 1860)
    assert keys.use_of(db, ACME).gpu_ms == 950


def test_an_office_has_one_holder(db: Database, clock: Hand) -> None:
    got = all_at_once([lambda holder=f"c{number}": leasing.lead(db, "webhooks", holder) for number in range(THREADS)])  # type: ignore[misc]
    assert sorted(got, key=str) == [1] + [None] * (THREADS - 1)
    first = f"c{got.index(1)}"
    assert leasing.lead(db, "webhooks", first) == 1
    clock.forward(16)
    assert leasing.lead(db, "webhooks", "another") == 2
    assert leasing.lead(db, "webhooks", first) is None
    leasing.resign(db, "webhooks", "another")
    assert leasing.lead(db, "webhooks", first) == 3


def test_the_audit_is_one_chain(db: Database) -> None:
    tenants(db)
    names = [row.id for row in all_at_once([lambda: submit(db)] * THREADS)]
    all_at_once([lambda name=name: jobs.cancel(db, ACME, name) for name in names])  # type: ignore[misc]
    assert audit.check(db) == 2 + 3 * THREADS, "of each job: asked for, cancelled, ended"
    with db.write() as connection:
        line = tables.audit.c
        connection.execute(sql.update(tables.audit).where(line.seq == 5).values(object="job_other"))
    with pytest.raises(Exception, match="the audit was edited at line 5"):
        audit.check(db)
