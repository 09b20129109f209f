"""How jobs and uploads end: once, with what belongs to that end, and with a line in the audit."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Connection

from actors.local import LocalPool
from farm.cost.prices import load_prices
from farm.desk import worker_settings
from farm.service import audit, clearing, jobs, leasing, runner, uploads
from farm.service.database import Database
from farm.service.errors import Unreachable
from farm.service.places import ServicePlaces
from farm.service.records import TenantQuota
from farm.service.states import JobState
from farm.settings import RunOptions, Settings
from tests.farm.service.farmhouse import ACME, COORDINATOR, Hand, begin, finish, job_in, order, report, submit, tenants


class Restarting(Database):
    """The database of `db`, which does not answer to one write: the one after `whole` others."""

    def __init__(self, db: Database, whole: int, meanwhile: Callable[[], None]) -> None:
        super().__init__(db._engine, db.where, db._clock)
        self._whole, self._meanwhile = whole, meanwhile

    @contextmanager
    def write(self) -> Iterator[Connection]:
        self._whole -= 1
        if self._whole == -1:
            self._meanwhile()
            raise Unreachable("the database does not answer", where=self.where, hint="try again")
        with super().write() as connection:
            yield connection


def test_no_job_succeeds_without_its_film(db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no room for the film, the database restarts, and when it answers there is room."""
    monkeypatch.setattr(runner, "RETRY_S", 0.0)
    tenants(db, TenantQuota(stored_bytes=100))
    name, other = begin(db, 30), begin(db, 30)
    finish(db, name, 30)
    finish(db, other, 30)
    submit(db, spec=replace(order().spec, target=f"upload:{name}"))
    (taken,) = leasing.take(db, COORDINATOR, 1)
    film = tmp_path / "out.mp4"
    film.write_bytes(bytes(50))
    made = replace(report(), output=str(film), output_bytes=50)
    there: list[bool] = []

    def meanwhile() -> None:
        there.append(film.exists())
        uploads.remove(db, ACME, other)

    settings, run = Settings(cores=1, model_cache=tmp_path), RunOptions(local=True)
    pool = LocalPool(worker_settings(run, settings), parallel=1)
    try:
        house = runner.House(Restarting(db, 1, meanwhile), pool, ServicePlaces(tmp_path), settings, run, load_prices())
        work = runner.Runner(house, taken, 1.0)
        work._write_down(lambda: work._succeed(made))
    finally:
        pool.close()
    row = jobs.get(db, ACME, taken.held.job)
    assert there == [True], "the film goes when the end is written"
    assert row.state is JobState.refused
    assert row.problem is not None
    assert "for which there is no room" in row.problem.what
    assert row.result is None
    assert not film.exists()


def test_what_a_job_went_on_with_goes_when_it_has_succeeded(db: Database, tmp_path: Path) -> None:
    """Nothing goes on with it; of a job that failed it stays for a retry. What people look at stays too."""
    tenants(db)
    places = ServicePlaces(tmp_path)
    kept = ["cast/cast.toml", "cast/people/p1.jpg", "out/out.mp4"]
    made = {state: job_in(db, state)[0] for state in (JobState.succeeded, JobState.failed, JobState.casting)}
    for one in made.values():
        for name in ("store/plan.json", "store/segments/a/DONE.json", "cast/store/film.json", *kept):
            file = places.job(one) / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(b"x")
    rows = {one: jobs.get(db, ACME, one) for one in made.values()}
    for _ in range(2):
        clearing.clear(db, places)
        for state, one in made.items():
            left = {file.relative_to(places.job(one)).as_posix() for file in places.job(one).rglob("*")}
            assert set(kept) <= left
            assert ({"store", "cast/store"} & left == set()) == (state is JobState.succeeded)
            assert jobs.get(db, ACME, one) == rows[one]
    late = places.store(made[JobState.succeeded]) / "late.json"
    late.parent.mkdir()
    late.write_bytes(b"x")
    clearing.clear(db, places)
    assert late.exists(), "it is looked at once"
    jobs.erase(db, ACME, made[JobState.succeeded])
    clearing.clear(db, places)
    assert not places.job(made[JobState.succeeded]).exists()


def test_a_store_that_cannot_be_removed_is_tried_again(db: Database, tmp_path: Path) -> None:
    tenants(db)
    places = ServicePlaces(tmp_path)
    one, _ = job_in(db, JobState.succeeded)
    file = places.store(one)
    file.parent.mkdir(parents=True)
    file.write_bytes(b"a file where a folder is to be")
    clearing.clear(db, places)
    assert file.exists()
    file.unlink()
    file.mkdir()
    clearing.clear(db, places)
    assert not file.exists()


def test_every_end_has_its_line(db: Database, clock: Hand) -> None:
    """Of jobs that no coordinator had, or whose coordinator died, and of uploads that nobody finished."""
    tenants(db)
    queued, erased = submit(db).id, submit(db).id
    jobs.cancel(db, ACME, queued, actor="key1")
    jobs.cancel(db, ACME, queued, actor="key1")
    jobs.erase(db, ACME, erased, actor="key2")
    left, gone = submit(db).id, submit(db).id
    assert len(leasing.take(db, COORDINATOR, 2)) == 2
    jobs.cancel(db, ACME, left)
    jobs.erase(db, ACME, gone)
    clock.forward(leasing.LEASE_MS / 1000 + 1)
    assert leasing.take(db, "coordinator-2", 2) == []
    ends = [(one.actor, one.object, one.decision) for one in audit.listed(db).items if one.action == "job.end"]
    assert sorted(ends) == sorted(
        [
            ("key1", queued, "cancelled"),
            ("key2", erased, "cancelled"),
            ("coordinator", left, "cancelled"),
            ("coordinator", gone, "cancelled"),
        ]
    )
    stale = [begin(db) for _ in range(3)]
    clock.forward(clearing.UPLOAD_MS / 1000 + 1)
    fresh = begin(db)
    clearing.clear(db, ServicePlaces(Path("/nowhere")))
    removed = [one for one in audit.listed(db).items if one.action == "upload.remove"]
    assert sorted(one.object for one in removed) == sorted(stale)
    assert {one.actor for one in removed} == {clearing.ACTOR}
    assert uploads.get(db, ACME, fresh).state == "open"
    audit.check(db)


@pytest.mark.parametrize("tries", [1, 100])
def test_a_file_that_goes_meanwhile_takes_nothing_with_it_that_stays(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tries: int
) -> None:
    """As the temporary files of a renderer do that stops: what is marked as gone is gone."""
    places = ServicePlaces(tmp_path)
    tenants(db)
    made, _ = job_in(db, JobState.failed)
    store = places.store(made)
    store.mkdir(parents=True)
    for name in "abc":
        (store / name).write_bytes(b"a face")
    jobs.erase(db, ACME, made)
    plain, left = os.unlink, [tries]

    def unlink(path: str, *, dir_fd: int | None = None) -> None:
        if left[0]:
            left[0] -= 1
            plain(path, dir_fd=dir_fd)
            if tries > 1:  # and another one comes
                (store / path).write_bytes(b"a face")
                raise FileNotFoundError(path)
        plain(path, dir_fd=dir_fd)

    with monkeypatch.context() as patched:
        patched.setattr(os, "unlink", unlink)
        clearing.clear(db, places)
    assert places.job(made).exists() == (tries > 1)
    clearing.clear(db, places)
    assert not places.job(made).exists()
