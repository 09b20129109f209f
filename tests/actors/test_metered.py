"""The cost meter on a real Ray: renderers die, and what they cost is lost work, once, and nothing else is."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from actors.dispatch import Beat, SlotDied
from actors.drive import Happening, Patience
from actors.pool import ClusterSpec, RayPool
from actors.worker import WorkerSettings
from core.errors import BudgetSpent
from core.records import Spent
from farm.cost.listener import CostMeter
from farm.cost.meter import DIED
from farm.cost.prices import Price, Prices
from farm.cost.spending import machine_of
from tests.actors.films import Job, make_film, make_job
from tests.actors.stores import MortalStore

WORKERS = 2
CORES = 2
RACK = Price("rack", "", 7200.0, 7200.0, 7200.0, cores=CORES)  # two a second, for the machine whatever runs on it
PRICES = Prices("EUR", {"rack ": RACK}, {"cpu": "rack "}, "the test's prices")


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_film(tmp_path_factory.mktemp("film") / "film.mp4", seconds=8)


def ray_pool() -> RayPool:
    spec = ClusterSpec(None, WORKERS, cpu_workers=WORKERS, cores=CORES, patience=Patience(hang_s=120, start_s=120))
    return RayPool(WorkerSettings(model_cache="unused", threads=2, model_threads=1, device="cpu"), spec)


def metered(pool: RayPool, job: Job, meter: CostMeter) -> tuple[object, list[Happening], float]:
    """Run the job; its batch, what was heard, and the seconds from the call of the pool to its end."""
    heard: list[Happening] = []
    began_s = time.monotonic()
    meter.stage("start")
    pool.start()
    watch = meter.watch(job.orders, job.orders)

    def hear(happening: Happening, at_s: float) -> None:
        heard.append(happening)
        watch(happening, at_s)

    batch = pool.run(job.orders, hear, store=job.store, stop_on_damage=True)
    meter.close()
    return batch, heard, time.monotonic() - began_s


def test_deaths_are_lost_work_and_every_second_is_paid_once(cluster: None, tmp_path: Path, target: Path) -> None:
    job = make_job(MortalStore(str(tmp_path / "store")), target)
    assert isinstance(job.store, MortalStore)
    job.store.plant("before", job.orders[1].id, 1)
    job.store.plant("before", job.orders[5].id, 1)
    meter = CostMeter(PRICES, machine_of(CORES))
    pool = ray_pool()
    try:
        batch, heard, seconds = metered(pool, job, meter)
    finally:
        pool.close()
    assert getattr(batch, "error", "none") is None
    assert sum(isinstance(event, SlotDied) for event in heard) == 2
    report = meter.report()
    (machine,) = report.kinds
    assert (machine.kind, machine.per_hour) == ("cpu", 7200.0)
    assert machine.total.slot_s <= WORKERS * seconds
    assert machine.total.money <= 2 * seconds * (1 + 1e-9), "two renderers share the price of one machine"
    assert machine.running == Spent()
    assert machine.starting.slot_s > 0
    done = [one.segment for one in report.attempts if one.outcome == "done"]
    assert sorted(done) == list(range(len(job.orders)))
    lost = [one for one in report.attempts if one.outcome == DIED]
    assert {1, 5} <= {one.segment for one in lost}
    assert report.lost[DIED].slot_s == pytest.approx(sum(one.spent.slot_s for one in lost))
    # A slow machine may have had a copy made beside the deaths: that is lost too, and named otherwise.
    assert machine.lost.slot_s == pytest.approx(sum(spent.slot_s for spent in report.lost.values()))
    ended = sum(one.spent.slot_s for one in report.attempts if one.outcome != "done")
    assert machine.lost.slot_s == pytest.approx(ended)
    assert machine.lost.money > 0
    assert {one.node for one in report.attempts} == {report.attempts[0].node} != {""}


@pytest.mark.heavy
def test_a_budget_ends_a_job_on_ray_with_what_runs_finished(cluster: None, tmp_path: Path, target: Path) -> None:
    job = make_job(MortalStore(str(tmp_path / "store")), target)
    meter = CostMeter(PRICES, machine_of(CORES), budget=0.02)
    pool = ray_pool()
    try:
        batch, heard, _ = metered(pool, job, meter)
    finally:
        pool.close()
    assert isinstance(getattr(batch, "error", None), BudgetSpent)
    report = meter.report()
    done = [one for one in report.attempts if one.outcome == "done"]
    stopped = [one for one in report.attempts if one.outcome != "done"]
    assert {one.outcome for one in stopped} <= {"the job was stopped"}
    assert [one.spent.slot_s for one in stopped] == [0.0] * len(stopped), "what waited for its turn took nothing"
    waited = {(job.orders[one.segment].id, one.attempt) for one in stopped}
    begun = {(event.task, event.attempt) for event in heard if isinstance(event, Beat) and event.frames > 0}
    finished = {(job.orders[one.segment].id, one.attempt) for one in done}
    assert begun <= finished, "nothing that ran was thrown away"
    assert min(one.spent.slot_s for one in done) > 0
    assert {one.slot for one in stopped} <= {one.slot for one in done}, "what they waited for was finished"
    assert len(waited) <= WORKERS, "one on each slot"
    assert 1 <= len(done) < len(job.orders)
    assert len(job.store.done("segments")) == len(done)
