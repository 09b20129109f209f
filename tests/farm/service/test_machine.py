"""Owners, coordinators, deaths and time in any order, against a model of what the table promises."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import sqlalchemy as sql
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from farm.service import audit, held, jobs, keys, leasing, tables
from farm.service.database import Database, open_database
from farm.service.errors import Conflict, LeaseLost, NotFound
from farm.service.events import after
from farm.service.records import Held, Progress, SegmentRow, Spent
from farm.service.states import ENDED, FROM, WORKING, JobState, Wish
from tests.farm.service import farmhouse
from tests.farm.service.farmhouse import ACME, DONE, FAILED, OTHER, Hand, report, submit
from tests.postgres import Postgres

HOLDERS = ("one", "two", "three")
SECONDS = st.sampled_from([1, 7, 16])


@dataclass
class Known:
    """What is known of a job beside its row: the newest lease, and how far its events were read."""

    tenant: str
    states: list[str] = field(default_factory=list)
    epochs: list[int] = field(default_factory=list)
    read: int = 0
    gpu_ms: int = 0


class Table(RuleBasedStateMachine):
    """`open` gives a new database; set by the test."""

    open: Callable[[Hand], Database]

    def __init__(self) -> None:
        super().__init__()
        self.clock = Hand()
        self.db = type(self).open(self.clock)
        self.known: dict[str, Known] = {}
        self.erased: set[str] = set()
        self.leases: list[tuple[str, Held]] = []  # all that were ever given: holder and what it believes to hold

    def teardown(self) -> None:
        self.db.close()

    @initialize()
    def begin(self) -> None:
        farmhouse.tenants(self.db)

    # ------------------------------------------------------------ owners

    @rule(tenant=st.sampled_from([ACME, OTHER]))
    def submit(self, tenant: str) -> None:
        self.known[submit(self.db, tenant, wait_for_cast=True).id] = Known(tenant)

    @precondition(lambda self: self.known)
    @rule(data=st.data(), what=st.sampled_from(["cancel", "pause", "resume", "retry", "cast", "erase", "foreign"]))
    def ask(self, data: st.DataObject, what: str) -> None:
        name = data.draw(st.sampled_from(sorted(self.known)))
        tenant = self.known[name].tenant
        if what == "foreign":
            with pytest.raises(NotFound):
                jobs.cancel(self.db, OTHER if tenant == ACME else ACME, name)
            return
        if what == "erase":
            jobs.erase(self.db, tenant, name)
            jobs.erase(self.db, tenant, name)
            self.erased.add(name)
            del self.known[name]
            return
        asks = {"cancel": jobs.cancel, "pause": jobs.pause, "resume": jobs.resume, "retry": jobs.retry}
        with contextlib.suppress(Conflict):
            if what == "cast":
                jobs.put_cast(self.db, tenant, name, "a = 1")
            else:
                asks[what](self.db, tenant, name)

    # ------------------------------------------------------------ coordinators

    @rule(holder=st.sampled_from(HOLDERS), places=st.integers(1, 3))
    def take(self, holder: str, places: int) -> None:
        before = {name: jobs.get(self.db, known.tenant, name) for name, known in self.known.items()}
        for taken in leasing.take(self.db, holder, places):
            name = taken.held.job
            old = before[name]
            assert old.state is JobState.queued or old.state in WORKING
            assert taken.held.epoch > max(self.known[name].epochs, default=0)
            self.known[name].epochs.append(taken.held.epoch)
            self.leases.append((holder, taken.held))

    @rule(holder=st.sampled_from(HOLDERS))
    def renew(self, holder: str) -> None:
        for name, (mine, _) in leasing.renew(self.db, holder).items():
            assert (holder, mine) in self.leases
            if name in self.known:
                assert mine.epoch == max(self.known[name].epochs)

    @precondition(lambda self: self.leases)
    @rule(
        data=st.data(),
        what=st.sampled_from(["stage", "report", "succeed", "fail", "refuse", "cast", "give back"]),
        to=st.sampled_from(WORKING),
        gpu_ms=st.integers(0, 1000),
    )
    def write(self, data: st.DataObject, what: str, to: JobState, gpu_ms: int) -> None:
        """One that holds the job, or believes so: only the newest lease of a job that is worked on changes anything."""
        _, mine = data.draw(st.sampled_from(self.leases))
        known = self.known.get(mine.job)
        before = jobs.get(self.db, known.tenant, mine.job) if known else None
        valid = before is not None and before.epoch == mine.epoch and before.state in WORKING
        writes: dict[str, Callable[[], object]] = {
            "stage": lambda: held.stage(self.db, mine, to),
            "report": lambda: held.report(
                self.db,
                mine,
                progress=Progress(segments_running=1),
                spent=Spent(gpu_ms),
                segments=[SegmentRow("render", 0, "working", 10, gpu_ms % 10)],
            ),
            "succeed": lambda: held.succeed(self.db, mine, DONE, report()),
            "fail": lambda: held.fail(self.db, mine, FAILED),
            "refuse": lambda: held.fail(self.db, mine, FAILED, refused=True),
            "cast": lambda: held.wait_for_cast(self.db, mine),
            "give back": lambda: held.give_back(self.db, mine),
        }
        if what == "cast" and before is not None and before.state not in FROM[JobState.casting]:
            return
        if not valid and mine.job not in self.erased:
            with pytest.raises(LeaseLost):
                writes[what]()
            if known is not None and before is not None:
                assert jobs.get(self.db, known.tenant, mine.job) == before
        else:
            with contextlib.suppress(LeaseLost):  # of an erased one nothing can be told from here
                writes[what]()
        if valid and known is not None and before is not None:
            row = jobs.get(self.db, known.tenant, mine.job)
            assert row.spent.gpu_ms >= before.spent.gpu_ms
            if what == "give back":
                to_state = {Wish.cancel: JobState.cancelled, Wish.pause: JobState.paused}
                assert row.state is to_state.get(before.wish, JobState.queued)

    @rule(seconds=SECONDS)
    def time_goes_on(self, seconds: int) -> None:
        self.clock.forward(seconds)

    # ------------------------------------------------------------ what always holds

    @invariant()
    def events_tell_the_whole_story(self) -> None:
        """Numbers without gaps; states only by the law; the row's state is the last that was told."""
        for name, known in self.known.items():
            new = after(self.db, known.tenant, name, known.read)
            assert [event.seq for event in new] == list(range(known.read + 1, known.read + 1 + len(new)))
            known.read += len(new)
            for event in new:
                if event.kind == "state":
                    state = str(event.data["state"])
                    if known.states:
                        assert known.states[-1] in FROM[JobState(state)], (known.states, state)
                    known.states.append(state)
            row = jobs.get(self.db, known.tenant, name)
            assert row.last_seq == known.read
            assert row.state.value == known.states[-1]
            assert row.ended == (row.finished_ms is not None)
            assert (row.problem is not None) <= (row.state in {JobState.failed, JobState.refused, JobState.casting})
            assert row.wish is Wish.run or row.state in WORKING

    @invariant()
    def nothing_of_an_erased_job_can_be_read(self) -> None:
        for name in self.erased:
            for tenant in (ACME, OTHER):
                with pytest.raises(NotFound):
                    jobs.get(self.db, tenant, name)

    @invariant()
    def lists_and_counts_agree_with_the_rows(self) -> None:
        for tenant in (ACME, OTHER):
            mine = {name for name, known in self.known.items() if known.tenant == tenant}
            assert {row.id for row in jobs.listed(self.db, tenant, limit=1000).items} == mine
            use = keys.use_of(self.db, tenant)
            rows = [jobs.get(self.db, tenant, name) for name in mine]
            assert use.jobs_running >= sum(row.state in WORKING for row in rows)
            assert use.gpu_ms >= sum(row.spent.gpu_ms for row in rows)

    @invariant()
    def the_audit_is_whole(self) -> None:
        audit.check(self.db)

    @invariant()
    def the_audit_knows_how_every_job_ended(self) -> None:
        line, job = tables.audit.c, tables.jobs.c
        with self.db.read() as connection:
            ends = sql.select(line.object, line.decision).where(line.action == "job.end").order_by(line.seq)
            told = {row.object: row.decision for row in connection.execute(ends)}
            ended = sql.select(job.id, job.state).where(job.state.in_(sorted(ENDED)))
            states = {row.id: row.state for row in connection.execute(ended)}
        assert {name: told.get(name) for name in states} == states


def test_the_table_on_sqlite() -> None:
    memory = Path("/dev/shm")  # where writing waits for no disk
    folder = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
    made = iter(range(1_000_000))

    class OnSqlite(Table):
        @staticmethod
        def open(clock: Hand) -> Database:
            return open_database(f"sqlite:///{folder}/{next(made)}.db", clock=clock)

    try:
        run_state_machine_as_test(OnSqlite, settings=settings(max_examples=14, stateful_step_count=25))
    finally:
        shutil.rmtree(folder)


@pytest.mark.heavy
def test_the_table_on_postgresql(postgres: Postgres, template: str) -> None:
    url = postgres.new_database(template)
    every = ", ".join(table.name for table in tables.metadata.sorted_tables)

    class OnPostgres(Table):
        @staticmethod
        def open(clock: Hand) -> Database:
            db = open_database(url, clock=clock)
            with db.write() as connection:
                connection.execute(sql.text(f"TRUNCATE {every}"))
            return db

    run_state_machine_as_test(OnPostgres, settings=settings(max_examples=7, stateful_step_count=25))
