"""A renderer publishes nothing of a film that changes under it, and trusts no record that says more than there is."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from actors.worker import Worker, WorkerSettings
from core import codec
from core.errors import InputError, ModelError, PlanError
from core.faces.table import write_table
from core.inference.providers import CUDA, try_provider
from core.media.encode import resolve_encoder
from core.media.planes import plane_views
from core.records import EncodeSpec, FaceTable, Role, SegmentReceipt, SourceIdentity, WorkOrder
from farm.artifacts import DiskStore
from tests.actors.films import Job, make_film, make_job
from tests.faces_assets import made_up_faces, model_cache


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return make_job(DiskStore(str(tmp_path / "store")), make_film(tmp_path / "film.mp4", seconds=2))


@pytest.fixture
def worker(job: Job) -> Worker:
    return Worker(WorkerSettings("unused", 2, 1))


def finished(job: Job) -> list[str]:
    folder = job.store.path("segments")
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def quiet(frames: int) -> None:
    assert frames >= 0


def test_a_film_that_changes_during_an_order(job: Job, worker: Worker) -> None:
    film, order = job.film.path, job.orders[0]

    def change(frames: int) -> None:
        if frames:
            os.utime(film, ns=(1, frames))

    with pytest.raises(InputError, match="the film changed while it was rendered"):
        worker.work(order, 1, change, job.store)
    assert finished(job) == []
    with pytest.raises(InputError, match="the film changed while it was rendered"):
        worker.work(order, 1, quiet, job.store)
    status = film.stat()
    os.utime(film, ns=(status.st_atime_ns, job.film.stamp.mtime_ns))
    assert isinstance(worker.work(order, 1, quiet, job.store), SegmentReceipt)


def test_a_film_that_is_torn_during_an_order_is_said_to_have_changed(job: Job, worker: Worker) -> None:
    """Not that it is damaged, nor what else its decoder says of the rest."""
    film = job.film.path

    def tear(frames: int) -> None:
        os.truncate(film, 5000)

    with pytest.raises(InputError, match="the film changed while it was rendered"):
        worker.work(job.orders[1], 1, tear, job.store)
    assert finished(job) == []


def test_a_record_whose_file_is_gone_or_that_is_torn_is_done_again(job: Job, worker: Worker) -> None:
    order = job.orders[0]
    first = worker.work(order, 1, quiet, job.store)
    assert worker.work(order, 2, quiet, job.store) == first
    job.store.path(first.file).unlink()
    second = worker.work(order, 3, quiet, job.store)
    assert (second.attempt, second.sha256) == (3, first.sha256)
    job.store.path(f"segments/{order.id}/DONE.json").write_bytes(b'{"order')
    third = worker.work(order, 4, quiet, job.store)
    assert third.attempt == 4
    assert codec.decode(job.store.read(f"segments/{order.id}/DONE.json"), SegmentReceipt) == third


def test_a_table_of_another_film_is_refused(job: Job, worker: Worker) -> None:
    with pytest.raises(PlanError, match="not of the film that the order names"):
        worker.work(replace(job.orders[0], target_sha256="0" * 64), 1, quiet, job.store)


def face_of(name: str, seed: int) -> SourceIdentity:
    """Somebody with a skin of spots."""
    mesh = made_up_faces(range(1), np.array([[32.0, 32.0]]), 28).mesh[0]
    spots = np.random.default_rng(seed).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    return SourceIdentity(name, "0" * 64, 1, np.kron(spots, np.ones((8, 8, 1), np.uint8)), mesh, np.ones(4, np.float32))


def with_two_people(job: Job, seeds: tuple[int, int]) -> WorkOrder:
    """The job's first order with a face of the first role on each frame, and one of the second on every other."""
    roles = []
    for name, seed in zip("ab", seeds, strict=True):
        data = codec.encode(face_of(name, seed))
        sha256 = hashlib.sha256(data).hexdigest()
        job.store.write(f"identity/{sha256}.json", data)
        roles.append(Role(f"identity/{sha256}.json", sha256, "mesh"))
    frames = range(job.orders[0].segment.first, job.orders[0].segment.end)
    tables = [
        replace(made_up_faces(some, np.tile(centre, (len(some), 1)), 20.0), role=np.full(len(some), role, np.int32))
        for role, (some, centre) in enumerate(((frames, (35.0, 60.0)), (frames[::2], (90.0, 40.0))))
    ]
    table = FaceTable.concat(tables)
    scratch = job.store.scratch(".parquet")
    write_table(table.take(np.argsort(table.frame, kind="stable")), scratch)
    sha256 = hashlib.sha256(scratch.read_bytes()).hexdigest()
    job.store.adopt(scratch, f"cast/{sha256}.parquet")
    named = {"faces": f"cast/{sha256}.parquet", "faces_sha256": sha256, "face_count": len(table)}
    order = replace(lossless(job), roles=tuple(roles), **named)
    return replace(order, id=codec.digest(replace(order, id="")))


def lossless(job: Job) -> WorkOrder:
    """The job's first order with an encoder that keeps every pixel."""
    encoder = resolve_encoder(job.film.index, EncodeSpec("h264", 0, "ultrafast"), "mp4")
    return replace(job.orders[0], id="lossless", encoder=encoder)


def middles(job: Job, receipt: SegmentReceipt) -> NDArray[np.float64]:
    """Luma [n,2,20,20] where either face is, of each frame."""
    with av.open(str(job.store.path(receipt.file))) as container:
        pictures = [plane_views(frame)[0].astype(float) for frame in container.decode(video=0)]
    return np.array([(one[50:70, 25:45], one[30:50, 80:100]) for one in pictures])


def test_each_role_gets_its_own_face(job: Job, worker: Worker) -> None:
    order = with_two_people(job, (1, 2))
    receipt = worker.work(order, 1, quiet, job.store)
    assert isinstance(receipt, SegmentReceipt)
    frames = order.segment.frames
    assert receipt.faces_by_role == (frames, (frames + 1) // 2)
    assert (receipt.faces_replaced, receipt.frames_replaced) == (sum(receipt.faces_by_role), frames)
    turned = worker.work(with_two_people(job, (2, 1)), 1, quiet, job.store)
    plain = worker.work(lossless(job), 1, quiet, job.store)
    assert isinstance(turned, SegmentReceipt)
    assert isinstance(plain, SegmentReceipt)
    assert plain.faces_by_role == ()
    one, other, none = (middles(job, made) for made in (receipt, turned, plain))
    exchanged, replaced = (np.abs(a - b).mean(axis=(2, 3)) for a, b in ((one, other), (one, none)))
    for difference in (exchanged, replaced):
        assert difference[:, 0].min() > 0.5
        assert difference[::2, 1].min() > 0.5
        assert difference[1::2, 1].max() < 0.01, "in every other frame the second face is left as it is"


def test_a_role_whose_face_was_altered_is_refused(job: Job, worker: Worker) -> None:
    order = with_two_people(job, (1, 2))
    path = job.store.path(order.roles[1].identity)
    path.write_bytes(path.read_bytes().replace(b'"b"', b'"c"'))
    with pytest.raises(PlanError, match="the source face in the store is not the one the order names") as caught:
        worker.work(order, 1, quiet, job.store)
    assert order.roles[1].identity in str(caught.value)
    assert finished(job) == []


def test_a_machine_without_what_every_order_needs_says_so_before_the_first(tmp_path: Path) -> None:
    cache, named = model_cache(), ("centerface", "dlib_resnet")
    assert Worker(WorkerSettings(str(cache), 1, 1, models=named)).setup().pid == os.getpid()
    with pytest.raises(ModelError, match="model centerface is not in the cache; give every machine the same models"):
        Worker(WorkerSettings(str(tmp_path), 1, 1, models=named)).setup()
    with pytest.raises(ModelError, match="model a_model_of_tomorrow is not in the cache"):
        Worker(WorkerSettings(str(cache), 1, 1, models=("a_model_of_tomorrow",))).setup()
    (whole,) = cache.glob("centerface-*.onnx")
    (tmp_path / whole.name).write_bytes(whole.read_bytes()[:-1])
    with pytest.raises(ModelError, match="model centerface is altered"):
        Worker(WorkerSettings(str(tmp_path), 1, 1, models=named)).setup()


def test_a_device_that_was_insisted_on_works_or_is_refused() -> None:
    worker = Worker(WorkerSettings("unused", 1, 1, device="cuda"))
    reason = try_provider(CUDA)
    if reason is None:
        assert worker.setup().pid == os.getpid()
        return
    with pytest.raises(ModelError) as caught:
        worker.setup()
    assert f"cuda was asked for, and CUDAExecutionProvider does not work here: {reason}" in str(caught.value)
