"""How jobs and uploads end: once, with what belongs to that end, and with a line in the audit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Connection

from actors.local import LocalPool
from farm.cost.prices import load_prices
from farm.desk import worker_settings
from farm.service import jobs, leasing, runner, uploads
from farm.service.database import Database
from farm.service.errors import Unreachable
from farm.service.places import ServicePlaces
from farm.service.records import TenantQuota
from farm.service.states import JobState
from farm.settings import RunOptions, Settings
from tests.farm.service.farmhouse import ACME, COORDINATOR, order, report, submit, tenants
from tests.farm.service.test_tenants import begin, finish


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
