"""Jobs from the table to the film: real films, a real pool, both databases."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sql

from farm.driver import run_job
from farm.progress import StderrProgress
from farm.service import jobs, keys, segments, tables, uploads
from farm.service.database import open_database
from farm.service.errors import NotFound
from farm.service.events import after
from farm.service.places import ServicePlaces
from farm.service.records import TenantQuota
from farm.service.states import JobState, Wish
from farm.settings import Settings
from tests.actors.films import make_film
from tests.farm.service.farmhouse import ACME, OTHER, tenants
from tests.farm.service.running import FAST, RUN, Farm, order_of, wait_for

S = JobState
SQLITE = pytest.mark.parametrize("url", ["sqlite"], indirect=True)  # what does not depend on the database
THROUGH = ["queued", "indexing", "rendering", "assembling", "verifying", "succeeded"]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_film(tmp_path_factory.mktemp("film") / "film.mp4", seconds=3)


@pytest.fixture(scope="module")
def long_film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_film(tmp_path_factory.mktemp("film") / "long.mp4", seconds=12)


@pytest.fixture
def farm(url: str, tmp_path: Path) -> Iterator[Farm]:
    with open_database(url) as db:
        tenants(db)
        places = ServicePlaces(tmp_path / "farm")
        places.make()
        yield Farm(db, places, Settings(cores=2, model_cache=tmp_path / "none"))


def test_jobs_of_two_tenants_become_films(farm: Farm, film: Path, tmp_path: Path) -> None:
    """The film is the one that the command line makes, and the row, the events and the segments tell of it."""
    spec = order_of("x").spec
    alone = tmp_path / "alone.mp4"
    expected = run_job(
        replace(spec, target=str(film), output=str(alone)), RUN, farm.settings, StderrProgress(io.StringIO())
    )
    with farm.working():
        mine = [farm.submit(order_of(farm.upload(film))) for _ in range(2)]
        other = farm.submit(order_of(farm.upload(film, tenant=OTHER)), OTHER)
        for job, tenant in [*((one, ACME) for one in mine), (other, OTHER)]:
            row = farm.ended(job, tenant)
            assert (row.state, row.problem) == (S.succeeded, None)
            assert row.result is not None
            assert row.result.sha256 == expected.output_sha256
            assert hashlib.sha256(Path(row.result.place).read_bytes()).hexdigest() == row.result.sha256
            assert farm.states(job, tenant) == THROUGH
            assert jobs.report_of(farm.db, tenant, job).segments_rendered == 3
            listed = segments.listed(farm.db, tenant, job, stage="render").items
            assert [(one.index, one.state, one.frames, one.frames_done) for one in listed] == [
                (index, "done", 25, 25) for index in range(3)
            ]
            assert all(one.attempt == 1 and one.slot for one in listed)
            assert (row.progress.segments_done, row.progress.frames_done, row.progress.frames_total) == (3, 75, 75)
            assert row.spent.gpu_ms == 0
            assert row.spent.core_ms > 0
    assert keys.use_of(farm.db, OTHER).stored_bytes == len(film.read_bytes()) + expected.output_bytes


@SQLITE
@pytest.mark.parametrize(
    "broken",
    [
        '{"spec":{"output":"o.mp4","select":7,"target":"a"}}',
        '{"spec":{"output":"o.mp4","segment_s":"1/0","target":"a"}}',
        '{"spec":' + '{"x":' * 100_000,
        "no JSON",
    ],
    ids=["a wrong type", "no number", "too deep", "no JSON"],
)
def test_an_order_that_cannot_be_read_fails_its_job_and_no_other(farm: Farm, film: Path, broken: str) -> None:
    bad, good = (farm.submit(order_of(farm.upload(film))) for _ in range(2))
    with farm.db.write() as connection:
        connection.execute(sql.update(tables.jobs).where(tables.jobs.c.id == bad).values(job_order=broken))
    assert {row.id for row in jobs.listed(farm.db, ACME).items} == {bad, good}
    with farm.working():
        row = farm.ended(bad)
        assert (row.state, row.attempt, row.epoch) == (S.failed, 1, 1)
        assert row.problem is not None
        assert "cannot be read by this version" in row.problem.what
        assert farm.ended(good).state is S.succeeded
        jobs.retry(farm.db, ACME, bad)
        again = farm.ended(bad)
        assert again.state is S.failed
        assert again.epoch > row.epoch
        jobs.erase(farm.db, ACME, bad)
        with pytest.raises(NotFound):
            farm.row(bad)


@SQLITE
@pytest.mark.heavy
def test_cancel_pause_and_resume_of_a_job_that_runs(farm: Farm, long_film: Path) -> None:
    upload = farm.upload(long_film)
    with farm.working(parallel=1):
        job = farm.submit(order_of(upload))
        wait_for(lambda: farm.row(job).progress.segments_done >= 2)
        assert jobs.pause(farm.db, ACME, job).wish is Wish.pause
        row = farm.until(job, {S.paused})
        assert row.wish is Wish.run
        done = row.progress.segments_done
        assert done >= 2
        jobs.resume(farm.db, ACME, job)
        wait_for(lambda: farm.row(job).progress.segments_done > done)
        jobs.cancel(farm.db, ACME, job)
        assert farm.until(job, {S.cancelled}).finished_ms is not None
        jobs.retry(farm.db, ACME, job)
        row = farm.ended(job)
    assert row.state is S.succeeded
    report = jobs.report_of(farm.db, ACME, job)
    assert report.segments_reused >= done
    assert farm.states(job)[-1] == "succeeded"


def test_another_coordinator_goes_on(farm: Farm, long_film: Path) -> None:
    """One that is closed gives its jobs back; nothing that it finished is rendered again."""
    job = farm.submit(order_of(farm.upload(long_film)))
    with farm.working(parallel=1):
        wait_for(lambda: farm.row(job).progress.segments_done >= 2)
    row = farm.row(job)
    assert (row.state, row.wish) == (S.queued, Wish.run)
    store = farm.places.store(job)
    finished = {file.parent.name: file.stat().st_mtime_ns for file in store.glob("segments/*/DONE.json")}
    assert len(finished) >= 2
    with farm.working(replace(FAST, clear_s=3600.0)):  # so that what it went on with stays to be looked at
        assert farm.ended(job).state is S.succeeded
    report = jobs.report_of(farm.db, ACME, job)
    assert (report.segments_reused, report.segments_rendered) == (len(finished), 12 - len(finished))
    now = {file.parent.name: file.stat().st_mtime_ns for file in store.glob("segments/*/DONE.json")}
    assert {name: now[name] for name in finished} == finished


@SQLITE
def test_what_cannot_be_rendered_fails_in_one_line(farm: Farm, film: Path, tmp_path: Path) -> None:
    broken = tmp_path / "text.mp4"
    broken.write_text("no film")
    with farm.working():
        job = farm.submit(order_of(farm.upload(broken)))
        row = farm.ended(job)
        assert (row.state, row.result) == (S.failed, None)
        assert row.problem is not None
        assert (row.problem.kind, row.problem.exit_code) == ("InputError", 2)
        assert str(farm.places.root) not in repr(row.problem)
        model = farm.submit(order_of(farm.upload(film), swapper="nobody_knows", source=None))
        failed = farm.ended(model)
        assert failed.state is S.failed
    with pytest.raises(NotFound):
        jobs.report_of(farm.db, ACME, job)


@SQLITE
@pytest.mark.heavy
def test_a_tenant_has_no_more_segments_at_once_than_it_may(farm: Farm, film: Path) -> None:
    keys.set_quota(farm.db, ACME, TenantQuota(segments=1))
    upload = farm.upload(film)
    with farm.working():
        made = [farm.submit(order_of(upload)) for _ in range(2)]
        assert {farm.ended(job).state for job in made} == {S.succeeded}
    for job in made:
        working: set[object] = set()
        for event in after(farm.db, ACME, job, 0):
            changed = event.data.get("changed", [])
            assert isinstance(changed, list)
            for index, state, _ in changed:
                (working.add if state == "working" else working.discard)(index)
            assert len(working) <= 1


@SQLITE
@pytest.mark.heavy
def test_an_erased_job_leaves_no_file(farm: Farm, long_film: Path) -> None:
    """Erased while it runs, and after its end; a file that another job uses stays."""
    shared, alone = farm.upload(long_film), farm.upload(long_film)
    with farm.working(parallel=1):
        first, second = farm.submit(order_of(shared)), farm.submit(order_of(alone))
        third = farm.submit(order_of(shared))
        wait_for(lambda: farm.row(second).progress.segments_done >= 1)
        places = [uploads.get(farm.db, ACME, one).place for one in (shared, alone)]
        for job in (first, second):
            jobs.erase(farm.db, ACME, job)
            with pytest.raises(NotFound):
                jobs.get(farm.db, ACME, job)
            with pytest.raises(NotFound):
                after(farm.db, ACME, job, 0)
        wait_for(lambda: not farm.places.job(second).exists() and not farm.places.job(first).exists())
        wait_for(lambda: not Path(places[1]).exists())
        assert farm.ended(third).state is S.succeeded
    assert Path(places[0]).exists()
    assert {one.id for one in jobs.listed(farm.db, ACME).items} == {third}
    leftover = [file for file in farm.places.root.rglob("*") if file.is_file() and third not in str(file)]
    assert leftover == [Path(places[0])]


@SQLITE
@pytest.mark.heavy
def test_a_tenant_whose_time_is_used_up_is_stopped(farm: Farm, long_film: Path) -> None:
    """GPU time here is none, so a quota of none is used up at once: new jobs are refused, and what runs is stopped."""
    job = farm.submit(order_of(farm.upload(long_film)))
    with farm.working(parallel=1):
        wait_for(lambda: farm.row(job).progress.segments_done >= 1)
        keys.set_quota(farm.db, ACME, TenantQuota(gpu_ms=0))
        row = farm.ended(job)
        assert row.state is S.refused
        assert row.problem is not None
        assert "GPU minutes are used up" in row.problem.what
        keys.set_quota(farm.db, ACME, TenantQuota())
        jobs.retry(farm.db, ACME, job)
        assert farm.ended(job).state is S.succeeded
    assert jobs.report_of(farm.db, ACME, job).segments_reused >= 1


@SQLITE
@pytest.mark.heavy
def test_a_film_without_room_is_not_kept_and_not_rendered_again(farm: Farm, film: Path) -> None:
    job = farm.submit(order_of(farm.upload(film)))
    keys.set_quota(farm.db, ACME, TenantQuota(stored_bytes=len(film.read_bytes()) + 1))
    with farm.working():
        row = farm.ended(job)
        assert (row.state, row.result) == (S.refused, None)
        assert row.problem is not None
        assert "for which there is no room" in row.problem.what
        assert not farm.places.result(job, "out.mp4").exists()
        keys.set_quota(farm.db, ACME, TenantQuota())
        jobs.retry(farm.db, ACME, job)
        row = farm.ended(job)
    assert row.state is S.succeeded
    assert farm.places.result(job, "out.mp4").stat().st_size == keys.use_of(farm.db, ACME).stored_bytes - len(
        film.read_bytes()
    )
    assert jobs.report_of(farm.db, ACME, job).segments_rendered == 0
