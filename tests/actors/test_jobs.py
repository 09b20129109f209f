"""Many jobs in one pool, on threads and on a real Ray: each is told of its own, and ends for its own reasons."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from actors.dispatch import Assign, Done, Finish, SlotReady
from actors.drive import Batch, Halt, Happening, Patience, Terms
from actors.local import LocalPool
from actors.loop import Loop
from actors.pool import ClusterSpec, RayPool
from actors.worker import WorkerSettings
from core.errors import InputError, Interrupted, PlanError, WorkerLost
from farm.artifacts import DiskStore
from farm.ports import Pool
from tests.actors.stand_ins import Clerk, begun, clerk_orders, seen

SETTINGS = WorkerSettings("unused", 1, 1)
DEADLINE_S = 120.0


def until(condition: Callable[[], bool]) -> None:
    end_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end_s, "it did not happen"
        time.sleep(0.01)


@pytest.fixture(params=["local", "ray"])
def pool(request: pytest.FixtureRequest) -> Iterator[Pool]:
    made: Pool
    if request.param == "local":
        made = LocalPool(SETTINGS, parallel=2, make=Clerk)
    else:
        request.getfixturevalue("cluster")
        patience = Patience(hang_s=DEADLINE_S, start_s=DEADLINE_S)
        made = RayPool(SETTINGS, ClusterSpec(None, workers=1, cpu_workers=1, cores=2, patience=patience), make=Clerk)
    made.start()
    yield made
    made.close()


@dataclass
class Ordered:
    """A job over `count` orders, and what it heard."""

    root: Path
    name: str = ""
    count: int = 4
    heard: list[Happening] = field(default_factory=list)
    done_s: list[float] = field(default_factory=list)
    threads: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.orders = clerk_orders(self.count)
        self.store = DiskStore(str(self.root))

    def mark(self, kind: str, *places: int) -> None:
        for place in places:
            self.store.write(f"{kind}/{self.orders[place].id}", b"")

    def release(self) -> None:
        for order in self.orders:
            self.store.discard(f"held/{order.id}")

    def hear(self, happening: Happening, at_s: float) -> None:
        assert at_s > 0
        self.heard.append(happening)
        if isinstance(happening, Done):
            self.done_s.append(at_s)
        self.threads.add(threading.get_ident())

    def run(self, pool: Pool, *, stop_on_damage: bool = True, priority: int = 0) -> Batch:
        terms = Terms(self.name, priority)
        return pool.run(self.orders, self.hear, store=self.store, stop_on_damage=stop_on_damage, terms=terms)

    @property
    def ids(self) -> set[str]:
        return {order.id for order in self.orders}

    @property
    def parts(self) -> list[Path]:
        return list((self.root / "tmp").glob("*"))


def test_jobs_with_the_same_orders_in_two_stores_at_once(pool: Pool, tmp_path: Path) -> None:
    jobs = [Ordered(tmp_path / name, name) for name in ("a", "b", "c")]
    jobs[1].mark("damaged", 1)
    jobs[2].mark("damaged", 1)
    with ThreadPoolExecutor() as threads:
        batches = [threads.submit(job.run, pool, stop_on_damage=job.name != "c") for job in jobs]
        done = [batch.result() for batch in batches]
    assert [batch.error for batch in done] == [None] * 3
    for job, batch in zip(jobs, done, strict=True):
        assert set(batch.receipts) == seen(job.root)
        assert {what.task for what in job.heard if isinstance(what, Done)} == set(batch.receipts)
        assert {what.task for what in job.heard if isinstance(what, Assign)} >= set(batch.receipts)
        assert [what for what in job.heard if isinstance(what, Finish)] == [Finish(None, job.name)]
        assert len(job.threads) == 1
        assert next(what for what in job.heard if isinstance(what, SlotReady)).kind
        assert not job.parts
    assert seen(jobs[0].root) == seen(jobs[2].root) == jobs[0].ids
    # The damage rule is a job's own: what lies before the damage is finished, what lies after it may be left out.
    assert seen(jobs[1].root) >= {order.id for order in jobs[1].orders[:2]}


def test_a_name_is_taken_while_its_job_runs(pool: Pool, tmp_path: Path) -> None:
    first, second = Ordered(tmp_path / "first", "film"), Ordered(tmp_path / "second", "film")
    first.mark("held", 0)
    with ThreadPoolExecutor() as threads:
        batch = threads.submit(first.run, pool)
        until(lambda: bool(begun(first.root)))
        with pytest.raises(PlanError, match="'film' runs already"):
            second.run(pool)
        first.release()
        assert batch.result().error is None
    assert second.run(pool).error is None
    assert seen(second.root) == second.ids


@pytest.mark.parametrize("finish", [False, True])
def test_stop_from_another_thread(pool: Pool, tmp_path: Path, finish: bool) -> None:
    job, other = Ordered(tmp_path / "job", "job"), Ordered(tmp_path / "other", "other")
    job.mark("held", 0, 1, 2, 3)
    with ThreadPoolExecutor() as threads:
        batch = threads.submit(job.run, pool)
        until(lambda: len(begun(job.root)) == 2)
        beside = threads.submit(other.run, pool)
        pool.stop("job", InputError("not wanted any more"), finish=finish)
        pool.stop("nobody", InputError("not there"))
        if finish:
            time.sleep(0.1)
            job.release()
        ended = batch.result()
        assert beside.result().error is None
    assert isinstance(ended.error, InputError)
    assert seen(job.root) == set(ended.receipts) == (begun(job.root) if finish else set())
    assert len(begun(job.root)) == 2
    assert not job.parts
    assert seen(other.root) == other.ids


@pytest.mark.parametrize("finish", [False, True])
def test_a_watch_halts_its_job(pool: Pool, tmp_path: Path, finish: bool) -> None:
    job = Ordered(tmp_path, count=6)
    job.mark("held", 1, 2, 3, 4, 5)

    def hear(happening: Happening, at_s: float) -> None:
        job.hear(happening, at_s)
        if isinstance(happening, Done):
            if finish:
                job.release()
            raise Halt(WorkerLost("enough"), finish=finish)

    batch = pool.run(job.orders, hear, store=job.store, stop_on_damage=True)
    assert str(batch.error) == "enough"
    assert job.orders[0].id in batch.receipts
    assert len(batch.receipts) < 6
    assert seen(job.root) == set(batch.receipts)
    assert not job.parts
    job.release()
    assert job.run(pool).error is None, "the pool goes on"


def test_what_a_watch_raises_ends_its_job_and_comes_out(pool: Pool, tmp_path: Path) -> None:
    job, other = Ordered(tmp_path / "job", "job"), Ordered(tmp_path / "other", "other")
    job.mark("held", 1, 2, 3)

    def hear(happening: Happening, at_s: float) -> None:
        job.hear(happening, at_s)
        if isinstance(happening, Done):
            raise ZeroDivisionError("a listener's fault")

    with pytest.raises(ZeroDivisionError):
        pool.run(job.orders, hear, store=job.store, stop_on_damage=True, terms=Terms("job"))
    assert seen(job.root) == {job.orders[0].id}
    assert not job.parts
    assert other.run(pool).error is None


def test_an_error_of_the_work_ends_its_job_alone(pool: Pool, tmp_path: Path) -> None:
    job, other = Ordered(tmp_path / "job", "job"), Ordered(tmp_path / "other", "other")
    job.mark("bad", 2)
    with ThreadPoolExecutor() as threads:
        batches = [threads.submit(each.run, pool) for each in (job, other)]
        bad, good = (batch.result() for batch in batches)
    assert isinstance(bad.error, InputError)
    assert bad.error.where == job.orders[2].id
    assert good.error is None
    assert seen(other.root) == other.ids


def test_a_signal_stops_the_job_of_the_thread_that_it_meets(pool: Pool, tmp_path: Path) -> None:
    job, other = Ordered(tmp_path / "job", "job"), Ordered(tmp_path / "other", "other", count=8)
    job.mark("held", 0, 1, 2, 3)

    def interrupt() -> None:
        until(lambda: len(begun(job.root)) >= 1)
        os.kill(os.getpid(), signal.SIGINT)

    with ThreadPoolExecutor() as threads:
        beside = threads.submit(other.run, pool)
        threads.submit(interrupt)
        with pytest.raises(KeyboardInterrupt):
            job.run(pool)
        assert seen(job.root) == set()
        assert not job.parts
        assert beside.result().error is None
    assert seen(other.root) == other.ids


def test_closing_ends_every_job_and_what_comes_later(pool: Pool, tmp_path: Path) -> None:
    jobs = [Ordered(tmp_path / name, name) for name in ("a", "b")]
    for job in jobs:
        job.mark("held", 0, 1, 2, 3)
    with ThreadPoolExecutor() as threads:
        batches = [threads.submit(job.run, pool) for job in jobs]
        until(lambda: bool(begun(jobs[0].root) or begun(jobs[1].root)))
        pool.close()
        for batch in batches:
            assert isinstance(batch.result().error, Interrupted)
    for job in jobs:
        assert not job.parts
        assert not seen(job.root)
    pool.close()
    with pytest.raises(Interrupted, match="closed"):
        jobs[0].run(pool)
    pool.stop("a", InputError("late"))


def test_a_pool_that_was_never_started_can_be_closed() -> None:
    local = LocalPool(SETTINGS, parallel=2, make=Clerk)
    local.stop("nobody", InputError("not there"))
    local.close()
    local.close()


class Broken(Clerk):
    def setup(self) -> None:
        raise OSError("no such device")


def test_a_renderer_that_cannot_be_set_up_ends_the_jobs_and_not_the_program(tmp_path: Path) -> None:
    local = LocalPool(SETTINGS, parallel=2, make=Broken)
    for name in ("first", "second"):
        job = Ordered(tmp_path / name)
        with pytest.raises(PlanError, match="OSError: no such device"):
            job.run(local)
    local.close()


def test_priorities_go_first(pool: Pool, tmp_path: Path) -> None:
    low, high = Ordered(tmp_path / "low", "low", count=8), Ordered(tmp_path / "high", "high", count=3)
    low.mark("held", *range(8))
    with ThreadPoolExecutor() as threads:
        first = threads.submit(low.run, pool)
        until(lambda: len(begun(low.root)) == 2)
        second = threads.submit(high.run, pool, priority=1)
        until(lambda: bool(high.heard))
        low.release()
        assert second.result().error is first.result().error is None
    assert seen(low.root) == low.ids
    # Two were under way; of the rest, all of the one job goes before any of the other.
    assert sorted(low.done_s)[2] > sorted(high.done_s)[1]


def test_a_pool_that_fails_as_a_job_begins_ends_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(loop: Loop, job: object) -> None:
        raise RuntimeError("the cluster is gone")

    monkeypatch.setattr(Loop, "add", fail)
    pool = LocalPool(SETTINGS, parallel=1, make=Clerk)
    pool.start()
    try:
        with ThreadPoolExecutor() as threads, pytest.raises(PlanError, match="the cluster is gone"):
            threads.submit(Ordered(tmp_path).run, pool).result(DEADLINE_S)
    finally:
        with suppress(Exception):
            pool.close()
