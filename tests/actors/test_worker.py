"""A renderer publishes nothing of a film that changes under it, and trusts no record that says more than there is."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from actors.worker import Worker, WorkerSettings
from core import codec
from core.errors import InputError, PlanError
from core.records import SegmentReceipt
from farm.artifacts import DiskStore
from tests.actors.films import Job, make_film, make_job


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return make_job(DiskStore(str(tmp_path / "store")), make_film(tmp_path / "film.mp4", seconds=2))


@pytest.fixture
def worker(job: Job) -> Worker:
    return Worker(WorkerSettings(job.store, "unused", 2, 1))


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
        worker.work(order, 1, change)
    assert finished(job) == []
    with pytest.raises(InputError, match="the film changed while it was rendered"):
        worker.work(order, 1, quiet)
    status = film.stat()
    os.utime(film, ns=(status.st_atime_ns, job.film.stamp.mtime_ns))
    assert isinstance(worker.work(order, 1, quiet), SegmentReceipt)


def test_a_film_that_is_torn_during_an_order_is_said_to_have_changed(job: Job, worker: Worker) -> None:
    """Not that it is damaged, nor what else its decoder says of the rest."""
    film = job.film.path

    def tear(frames: int) -> None:
        os.truncate(film, 5000)

    with pytest.raises(InputError, match="the film changed while it was rendered"):
        worker.work(job.orders[1], 1, tear)
    assert finished(job) == []


def test_a_record_whose_file_is_gone_or_that_is_torn_is_done_again(job: Job, worker: Worker) -> None:
    order = job.orders[0]
    first = worker.work(order, 1, quiet)
    assert worker.work(order, 2, quiet) == first
    job.store.path(first.file).unlink()
    second = worker.work(order, 3, quiet)
    assert (second.attempt, second.sha256) == (3, first.sha256)
    job.store.path(f"segments/{order.id}/DONE.json").write_bytes(b'{"order')
    third = worker.work(order, 4, quiet)
    assert third.attempt == 4
    assert codec.decode(job.store.read(f"segments/{order.id}/DONE.json"), SegmentReceipt) == third


def test_a_table_of_another_film_is_refused(job: Job, worker: Worker) -> None:
    with pytest.raises(PlanError, match="not of the film that the order names"):
        worker.work(replace(job.orders[0], target_sha256="0" * 64), 1, quiet)
