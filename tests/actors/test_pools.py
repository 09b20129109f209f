"""One contract, two pools: threads of this process and actors on a real Ray.

- Every order comes back with a receipt, its file is in the store and has the receipt's hash.
- Both pools make the same bytes.
- An error that the work raises ends the batch with that error, unchanged, and without a retry.
- On Ray, a killed renderer costs a death and no segment; what it had published is not rendered again; a segment
  that kills every renderer is given up after three tries, with everything else of use kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import ray

from actors.dispatch import MAX_TRIES, Done, SlotDied
from actors.drive import Batch, Happening, Patience, Terms
from actors.local import LocalPool
from actors.loop import Loop
from actors.pool import ClusterSpec, RayPool
from actors.worker import WorkerSettings
from core.errors import InputError, WorkerLost
from core.records import SegmentReceipt
from farm.artifacts import DiskStore
from farm.ports import Pool
from tests.actors.films import Job, make_film, make_job
from tests.actors.stores import MortalStore
from tests.system.runs import farm, leftovers

WORKERS = 2
PATIENCE = Patience(hang_s=120, start_s=120)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_film(tmp_path_factory.mktemp("film") / "film.mp4")


@pytest.fixture
def job(tmp_path: Path, target: Path) -> Job:
    return make_job(MortalStore(str(tmp_path / "store")), target)


def worker_settings() -> WorkerSettings:
    return WorkerSettings(model_cache="unused", threads=2, model_threads=1)


@pytest.fixture(params=["local", "ray"])
def pool(request: pytest.FixtureRequest, job: Job) -> Iterator[Pool]:
    made: Pool
    if request.param == "local":
        made = LocalPool(worker_settings(), parallel=2)
    else:
        request.getfixturevalue("cluster")
        made = ray_pool()
    made.start()
    yield made
    made.close()


def ray_pool() -> RayPool:
    spec = ClusterSpec(address=None, workers=WORKERS, cpu_workers=WORKERS, cores=WORKERS, patience=PATIENCE)
    return RayPool(worker_settings(), spec)


def run(pool: Pool, job: Job, terms: Terms = Terms()) -> tuple[Batch, list[Happening]]:  # noqa: B008 - frozen
    heard: list[Happening] = []
    batch = pool.run(job.orders, lambda what, _: heard.append(what), store=job.store, stop_on_damage=True, terms=terms)
    return batch, heard


def digests(job: Job, batch: Batch) -> list[str]:
    """sha256 of each segment's file, in order of the film; checks them against the receipts."""
    found = []
    for order in job.orders:
        receipt = batch.receipts[order.id]
        digest = hashlib.sha256(job.store.path(receipt.file).read_bytes()).hexdigest()
        assert digest == receipt.sha256
        assert receipt.frames == order.segment.frames
        found.append(digest)
    return found


def test_every_order_comes_back_published(pool: Pool, job: Job) -> None:
    batch, heard = run(pool, job)
    assert batch.error is None
    assert batch.deaths == 0
    assert len(set(digests(job, batch))) == len(job.orders) == 6
    assert {event.task for event in heard if isinstance(event, Done)} == {order.id for order in job.orders}
    assert all(job.store.receipt(SegmentReceipt, "segments", order.id) for order in job.orders)
    assert not list(job.store.path("tmp").iterdir())


def test_an_error_of_the_work_ends_the_batch_with_itself(pool: Pool, job: Job, tmp_path: Path) -> None:
    job.orders[2] = replace(job.orders[2], target=str(tmp_path / "gone.mp4"))
    batch, _ = run(pool, job)
    assert isinstance(batch.error, InputError)
    assert "gone.mp4" in str(batch.error)
    assert batch.deaths == 0
    assert all(job.store.receipt(SegmentReceipt, "segments", order_id) for order_id in batch.receipts)


def test_an_order_that_names_other_content_is_refused(pool: Pool, job: Job) -> None:
    job.orders[0] = replace(job.orders[0], index="index/none.json")
    batch, _ = run(pool, job)
    assert batch.error is not None
    assert "none.json" in str(batch.error)


def test_a_pool_that_may_begin_once_says_why_it_ended(job: Job) -> None:
    class Broken(LocalPool):
        loops = 0

        def _drive(self, _loop: Loop) -> None:
            self.loops += 1
            raise WorkerLost("the head is gone")

    pool = Broken(worker_settings(), parallel=1)
    pool.stay_ended()
    for _ in range(2):  # a second stage, before anybody looked
        with pytest.raises(WorkerLost, match="the head is gone"):
            run(pool, job)
    with pytest.raises(WorkerLost, match="the head is gone"):
        pool.start()
    assert pool.loops == 1
    assert pool.ended is not None
    pool.close()


def test_both_pools_make_the_same_bytes(cluster: None, job: Job, target: Path, tmp_path: Path) -> None:
    other = make_job(DiskStore(str(tmp_path / "other")), target)
    local, actors = LocalPool(worker_settings(), parallel=2), ray_pool()
    actors.start()
    try:
        assert digests(other, run(local, other)[0]) == digests(job, run(actors, job)[0])
    finally:
        actors.close()


def test_a_killed_renderer_costs_a_death_and_no_segment(cluster: None, job: Job) -> None:
    store = job.store
    assert isinstance(store, MortalStore)
    store.plant("before", job.orders[1].id, 1)
    store.plant("after", job.orders[4].id, 1)
    actors = ray_pool()
    actors.start()
    try:
        batch, heard = run(actors, job)
    finally:
        actors.close()
    assert batch.error is None
    assert batch.deaths == 2
    assert sum(isinstance(event, SlotDied) for event in heard) == 2
    assert len(digests(job, batch)) == len(job.orders)
    # What was published before the death is taken as it is by the attempt after it: no second file beside it. Which
    # attempt published is open, because the order may also have been in the hands of the renderer that died first.
    told = {event.task: event.attempt for event in heard if isinstance(event, Done)}
    published = job.orders[4].id
    assert batch.receipts[published].attempt == told[published] - 1
    assert len(list(store.path(f"segments/{published}").glob("*.mp4"))) == 1
    assert batch.receipts[job.orders[1].id].attempt >= 2


def test_a_poisonous_segment_is_given_up_and_the_rest_is_kept(cluster: None, job: Job) -> None:
    store = job.store
    assert isinstance(store, MortalStore)
    poisoned = job.orders[-1]
    store.plant("before", poisoned.id, 9)
    actors = ray_pool()
    actors.start()
    try:
        batch, _ = run(actors, job)
    finally:
        actors.close()
    assert isinstance(batch.error, WorkerLost)
    assert f"segment {poisoned.segment.index}" in str(batch.error)
    # One more where the first attempt was moved to another renderer just before it died: that is not counted.
    assert batch.deaths in {MAX_TRIES, MAX_TRIES + 1}
    assert len(list(store.path("deaths").iterdir())) == 9 - batch.deaths
    assert poisoned.id not in batch.receipts
    assert batch.receipts
    assert all(store.receipt(SegmentReceipt, "segments", order_id) for order_id in batch.receipts)


def test_the_command_joins_a_running_cluster(cluster: None, target: Path, tmp_path: Path) -> None:
    address = str(ray.get_runtime_context().gcs_address)
    command = ("render", target, "-o", tmp_path / "out.mp4", "--swapper", "none", "--segment-seconds", "1")
    ran = farm(*command, "--preset", "ultrafast", "--address", address, "--workers", "1", "--json")
    assert ran.report.segments_rendered == ran.report.segments > 1
    assert ran.report.workers == 1
    assert ray.is_initialized(), "the cluster outlives the job"
    assert leftovers(tmp_path, ["out.mp4"]) == []
