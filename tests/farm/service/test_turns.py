"""Who has a place when there are not enough of them, and what the coordinator does beside: clearing up."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import sqlalchemy as sql
from hypothesis import given
from hypothesis import strategies as st

from actors.local import LocalPool
from farm.desk import worker_settings
from farm.service import clearing, held, jobs, keys, leasing, tables
from farm.service.coordinator import Coordinator, Rhythm
from farm.service.database import Database, open_database
from farm.service.places import ServicePlaces
from farm.service.records import Problem, SegmentRow
from farm.service.share import Running, Share, Waiting, choose, displaced
from farm.service.states import JobState
from farm.settings import Settings
from tests.actors.films import make_film
from tests.farm.service.farmhouse import ACME, OTHER, Hand, submit, take, tenants
from tests.farm.service.running import FAST, RUN, Farm, order_of, wait_for

TURN_MS = 900_000
LOST = Problem("WorkerLost", "every renderer was lost")


# ------------------------------------------------------------ who has a place


@dataclass
class World:
    """Jobs that never end, and places for them."""

    waiting: list[Waiting]
    places: int
    running: dict[str, tuple[Waiting, int]] = field(default_factory=dict)
    turns: dict[str, int] = field(default_factory=dict)
    now_ms: int = 0

    def shares(self) -> dict[str, Share]:
        held = [one.tenant for one, _ in self.running.values()]
        everybody = {one.tenant for one in self.waiting} | set(held)
        return {name: Share(held.count(name), held.count(name), 1, turn=self.turns.get(name, 0)) for name in everybody}

    def round(self) -> None:
        for one in choose(self.waiting, self.shares(), self.places - len(self.running)):
            self.waiting.remove(one)
            self.running[one.job] = one, self.now_ms
            self.turns[one.tenant] = 1 + max(self.turns.values(), default=0)
        held = [Running(one.job, one.tenant, one.priority, self.now_ms - at) for one, at in self.running.values()]
        name = displaced(self.waiting, held, self.shares(), TURN_MS)
        if name is not None:
            self.waiting.append(self.running.pop(name)[0])


@given(
    counts=st.lists(st.integers(1, 6), min_size=1, max_size=5),
    places=st.integers(1, 4),
    priorities=st.lists(st.integers(-100, 100), min_size=5, max_size=5),
)
def test_each_tenant_has_its_turn(counts: list[int], places: int, priorities: list[int]) -> None:
    """Whatever the priorities and backlogs of others: where there are places for all, each has one soon, and keeps it;
    where there are not, nobody waits longer than the others' turns. Nothing is given back for nothing."""
    world = World(
        [
            Waiting(f"{who}.{number}", str(who), priorities[who], 1000 * (100 - who))
            for who, count in enumerate(counts)
            for number in range(count)
        ],
        places,
    )
    without = dict.fromkeys(map(str, range(len(counts))), 0)
    for _ in range(4 * len(counts)):
        for _ in range(places + len(counts)):
            world.round()
        now = {one.tenant for one, _ in world.running.values()}
        without = {who: 0 if who in now else rounds + 1 for who, rounds in without.items()}
        assert len(now) == min(places, len(counts))
        assert max(without.values()) <= len(counts)
        if len(counts) <= places:
            before = set(world.running)
            world.round()
            assert set(world.running) == before
        world.now_ms += TURN_MS


def test_who_gives_back_what() -> None:
    waits = [Waiting("c1", "c", -100, 0)]
    have = {"a": Share(8, 3, 4), "b": Share(2, 2, 4), "c": Share(0, 0, 4)}
    held = [Running(f"a{n}", "a", priority, ms) for n, (priority, ms) in enumerate([(5, 10), (0, 30), (0, 20)])]
    held += [Running("b0", "b", -9, 1), Running("b1", "b", -9, 2)]
    assert displaced(waits, held, have, TURN_MS) == "a2"
    assert displaced([], held, have, TURN_MS) is None
    assert displaced([Waiting("b2", "b", 100, 0)], held, have, TURN_MS) is None, "it has places"
    full = have | {"c": Share(0, 0, 4, most_jobs=0)}
    assert displaced(waits, held, full, TURN_MS) is None, "it may not begin one"
    one_each = [Running("a0", "a", 0, TURN_MS - 1), Running("b0", "b", 0, TURN_MS)]
    each = have | {"a": Share(9, 1, 4), "b": Share(1, 1, 4)}
    assert displaced(waits, one_each, each, TURN_MS) == "b0"
    assert displaced(waits, one_each[:1], each, TURN_MS) is None


def test_a_tenant_that_came_later_has_a_place(db: Database, clock: Hand) -> None:
    """All places are one tenant's, with a backlog of the highest priority: one job is given back, and what it wrote
    stays; the other tenant's begins."""
    tenants(db)
    for _ in range(8):
        submit(db, priority=100)
    mine = {one.job: one for one in take(db, places=4)}
    turns = {ACME: 4}
    held_ms = dict.fromkeys(mine, 1000)
    assert leasing.to_displace(db, held_ms, slots=4, turns=turns, turn_ms=TURN_MS) is None
    other = submit(db, OTHER).id
    clock.forward(1)
    name = leasing.to_displace(db, held_ms, slots=4, turns=turns, turn_ms=TURN_MS)
    assert name in mine
    held.report(db, mine[name], segments=[SegmentRow("render", 0, "done", 10)])
    held.give_back(db, mine[name])
    assert jobs.get(db, ACME, name).state is JobState.queued
    (begun,) = leasing.take(db, "coordinator-1", 1, slots=4, turns=turns)
    assert begun.held.job == other
    left = {job: 1000 for job in [*mine, other] if job != name}
    assert leasing.to_displace(db, left, slots=4, turns=turns | {OTHER: 5}, turn_ms=TURN_MS) is None
    for job in set(mine) - {name}:
        held.stage(db, mine[job], JobState.assembling)
    keys.make_tenant(db, "Third", tenant_id="third")
    third = submit(db, "third")
    assert leasing.to_displace(db, left, slots=4, turns=turns, turn_ms=0) == other, "the others end soon"
    assert third.state is JobState.queued


def test_runs_that_were_lost_are_counted_and_not_leases(db: Database, clock: Hand) -> None:
    """Pauses and restarts are no losses; getting on forgets them."""
    tenants(db)
    job = submit(db).id

    def lose() -> JobState:
        (mine,) = take(db)
        held.lose(db, mine, LOST, most=3, wait_ms=10_000)
        clock.forward(11)
        return jobs.get(db, ACME, job).state

    for _ in range(5):
        (mine,) = take(db)
        held.give_back(db, mine)
    assert [lose(), lose()] == [JobState.queued] * 2
    assert jobs.get(db, ACME, job).losses == 2
    (mine,) = take(db)
    held.report(db, mine, segments=[SegmentRow("render", 0, "done", 10)])
    held.give_back(db, mine)
    assert [lose(), lose(), lose()] == [JobState.queued, JobState.queued, JobState.failed]
    assert jobs.get(db, ACME, job).problem == LOST
    jobs.retry(db, ACME, job)
    assert jobs.get(db, ACME, job).losses == 0


# ------------------------------------------------------------ the coordinator


@pytest.fixture
def here(tmp_path: Path) -> Farm:
    db = open_database(f"sqlite:///{tmp_path}/here.db")
    tenants(db)
    places = Slow(tmp_path / "farm")
    places.make()
    return Farm(db, places, Settings(cores=2, model_cache=tmp_path / "none"))


class Slow(ServicePlaces):
    """Removing takes as long as the test says."""

    begun = threading.Event()
    may_end = threading.Event()

    def remove_job(self, job_id: str) -> None:
        self.begun.set()
        assert self.may_end.wait(60)
        super().remove_job(job_id)


def test_leases_are_renewed_while_something_is_removed(here: Farm) -> None:
    Slow.begun.clear()
    Slow.may_end.clear()
    job = submit(here.db).id
    jobs.erase(here.db, ACME, job)

    def until_ms() -> int:
        with here.db.read() as connection:
            return int(connection.execute(sql.select(tables.leases.c.until_ms)).scalar_one())

    try:
        with here.working(parallel=1):
            assert Slow.begun.wait(60)
            before = until_ms()
            wait_for(lambda: until_ms() > before)
            assert leasing.lead(here.db, leasing.OFFICE, "another") is None
            Slow.may_end.set()

            def gone() -> bool:
                with here.db.read() as connection:
                    return connection.execute(sql.select(tables.jobs.c.files_gone_ms)).scalar_one() is not None

            wait_for(gone)
    finally:
        Slow.may_end.set()
        here.db.close()


def test_clearing_stops_between_two_files(db: Database, tmp_path: Path) -> None:
    """As soon as the office is lost nothing more is removed."""
    tenants(db)
    places = ServicePlaces(tmp_path / "farm")
    places.make()
    for _ in range(3):
        job = submit(db).id
        (places.job(job) / "store").mkdir(parents=True)
        jobs.erase(db, ACME, job)
    asked = iter([True, True, False, False, False])
    clearing.clear(db, places, go_on=lambda: next(asked))
    assert len(list((places.root / "jobs").iterdir())) == 1
    clearing.clear(db, places)
    assert list((places.root / "jobs").iterdir()) == []


@pytest.mark.heavy
def test_a_running_job_gives_its_place_and_keeps_its_segments(here: Farm, tmp_path: Path) -> None:
    Slow.may_end.set()
    film = make_film(tmp_path / "long.mp4", seconds=12)
    short = make_film(tmp_path / "short.mp4", seconds=2)
    rhythm = Rhythm(FAST.tick_s, FAST.tell_s, FAST.quota_s, FAST.clear_s, displace_s=0.05, turn_s=3600)
    upload = here.upload(film)
    made = [here.submit(order_of(upload)) for _ in range(2)]
    pool = LocalPool(worker_settings(RUN, here.settings), parallel=1)
    coordinator = Coordinator(here.db, pool, here.places, here.settings, RUN, most_jobs=2, rhythm=rhythm)
    coordinator.start()
    try:
        for job in made:
            wait_for(lambda job=job: here.row(job).progress.segments_done >= 1)  # type: ignore[misc]
        other = here.submit(order_of(here.upload(short, tenant=OTHER)), OTHER)
        assert here.ended(other, OTHER).state is JobState.succeeded
        rows = [here.ended(job) for job in made]
    finally:
        coordinator.close()
        pool.close()
    assert {row.state for row in rows} == {JobState.succeeded}
    given = [row for row in rows if row.attempt > 1]
    assert len(given) == 1
    assert here.states(given[0].id).count("queued") == 2
    report = jobs.report_of(here.db, ACME, given[0].id)
    assert report.segments_reused >= 1
    assert report.segments_reused + report.segments_rendered == 12
    here.db.close()
