"""A job that waits for a cast: analysed once, cast by its owner with an uploaded picture, rendered."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

import PIL.Image
import pytest

from core.errors import InputError
from farm.castedit import PersonEdit, edit_people
from farm.service import jobs, segments, uploads
from farm.service.database import open_database
from farm.service.errors import Conflict, NotFound
from farm.service.places import ServicePlaces
from farm.service.records import JobOrder
from farm.service.resolving import cast_places, cast_uploads, resolve_cast, uploads_of_job
from farm.service.states import JobState
from farm.settings import Settings
from tests.faces_assets import astronaut, carphone_clip, model_cache
from tests.farm.service.farmhouse import ACME, tenants
from tests.farm.service.running import Farm, order_of, wait_for

S = JobState
UPLOAD = "upl_" + "0" * 26


@pytest.fixture
def farm(tmp_path: Path) -> Iterator[Farm]:
    with open_database(f"sqlite:///{tmp_path}/farm.db") as db:
        tenants(db)
        places = ServicePlaces(tmp_path / "farm")
        places.make()
        yield Farm(db, places, Settings(cores=2, model_cache=model_cache()))


@pytest.mark.heavy
def test_a_cast_is_waited_for(farm: Farm, clips: Path, tmp_path: Path) -> None:
    PIL.Image.fromarray(astronaut()).save(tmp_path / "her.png")
    film = farm.upload(carphone_clip(clips, frames=12))
    order = JobOrder(order_of(film, swapper="mesh").spec, wait_for_cast=True)
    with farm.working() as coordinator:
        job = farm.submit(order)
        row = farm.until(job, {S.casting, S.failed})
        assert (row.state, row.problem) == (S.casting, None)
        assert farm.states(job) == ["queued", "indexing", "analysing", "casting"]
        folder = farm.places.cast_folder(job)
        assert (folder / "index.html").is_file()
        sheet = (folder / "cast.toml").read_text()
        (person,) = tomllib.loads(sheet)["people"]
        assert (folder / person["thumbnail"]).is_file()

        her = farm.upload(tmp_path / "her.png", "source")
        wrong = edit_people(sheet, {person["id"]: PersonEdit((f"upload:{her}",), face=7)})
        jobs.put_cast(farm.db, ACME, job, wrong)
        row = farm.until(job, {S.casting, S.failed, S.succeeded})
        assert row.state is S.casting, row.problem
        assert row.problem is not None
        assert "face" in row.problem.what

        with pytest.raises(Conflict, match="a job uses this upload"):
            uploads.remove(farm.db, ACME, her)
        jobs.put_cast(farm.db, ACME, job, edit_people(sheet, {person["id"]: PersonEdit((f"upload:{her}",))}))
        row = farm.until(job, {S.succeeded, S.failed, S.casting})
        assert (row.state, row.problem) == (S.succeeded, None)
        wait_for(lambda: coordinator.running == ())
    report = jobs.report_of(farm.db, ACME, job)
    assert (report.faces, report.labelled) == (12, True)
    assert {one.stage for one in segments.listed(farm.db, ACME, job).items} == {"analyse", "render"}


@pytest.mark.parametrize(
    "source",
    ["/etc/passwd", "../../other/her.png", "her.png", "file:///etc/passwd", "upl_x", "C:\\\\x", " upload:x"],
)
def test_a_cast_that_names_a_file_is_refused(source: str) -> None:
    for toml in (
        f'[[people]]\nid = "P01"\nsource = "{source}"\n',
        f'[[people]]\nid = "P01"\nsource = ["upload:{UPLOAD}", "{source}"]\n',
        f'[[people]]\nid = "P01"\n[[people.ranges]]\nsource = "{source}"\n',
        f'source.source = "{source}"\n',
    ):
        with pytest.raises(InputError, match="neither an upload nor an address"):
            cast_places(toml)


def test_a_cast_of_uploads_and_addresses() -> None:
    toml = f'a = "x"\n[[p]]\nsource = ["upload:{UPLOAD}", "s3://b/k.png"]\n[[p]]\nsource = ""\n'
    assert cast_places(toml) == (f"upload:{UPLOAD}", "s3://b/k.png")
    assert cast_uploads(toml) == (UPLOAD,)
    resolved = resolve_cast(toml, {UPLOAD: '/farm/"odd\\name'})
    assert tomllib.loads(resolved)["p"][0]["source"] == ['/farm/"odd\\name', "s3://b/k.png"]
    with pytest.raises(NotFound):
        resolve_cast(toml, {})
    with pytest.raises(InputError, match="no TOML"):
        cast_places("[[")
    # written so that the text is not found by who resolves it: it stays what it is, and names no file
    hidden = f'[[p]]\nsource = "upl\\u006fad:{UPLOAD}"\n'
    assert resolve_cast(hidden, {UPLOAD: "/farm/her.png"}) == hidden


def test_an_upload_that_is_no_source_stays_a_word() -> None:
    word = f"upload:{UPLOAD}"
    toml = f'''
# "{word}" in a comment
source = "{word}"
[[people]]
name = "{word}"
label = """a "{word}" b"""
"{word}" = 1
source = [ "{word}", "s3://b/k.png" ]
ranges = [ {{ from = "{word}", source = '{word}' }} ]
'''
    data = tomllib.loads(resolve_cast(toml, {UPLOAD: "/farm/her.png"}))
    (person,) = data["people"]
    assert (data["source"], person["source"]) == ("/farm/her.png", ["/farm/her.png", "s3://b/k.png"])
    assert person["ranges"] == [{"from": word, "source": "/farm/her.png"}]
    assert (person["name"], person["label"], person[word]) == (word, f'a "{word}" b', 1)
    assert resolve_cast(toml, {UPLOAD: "/farm/her.png"}).count("/farm/her.png") == 3


def test_a_cast_names_uploads_of_its_tenant_alone(farm: Farm, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"x")
    theirs = farm.upload(tmp_path / "x.png", "source", tenant="other")
    job = farm.submit(JobOrder(order_of(farm.upload(tmp_path / "x.png")).spec, wait_for_cast=True))
    before = farm.row(job)
    with pytest.raises(NotFound, match="no such upload"):
        jobs.put_cast(farm.db, ACME, job, f'[[people]]\nsource = "upload:{theirs}"\n')
    assert farm.row(job) == before
    assert jobs.cast_of(farm.db, ACME, job) is None


def test_a_job_that_waits_for_no_cast_takes_none(farm: Farm, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"x")
    job = farm.submit(order_of(farm.upload(tmp_path / "x.png")))
    for _ in range(2):
        before = farm.row(job)
        with pytest.raises(Conflict, match="without wait_for_cast"):
            jobs.put_cast(farm.db, ACME, job, '[[people]]\nid = "P01"\n')
        assert farm.row(job) == before
        jobs.pause(farm.db, ACME, job)


def test_pictures_that_were_replaced_go_with_the_job(farm: Farm, tmp_path: Path) -> None:
    """But for one that another job uses; and one that is named again is needed again."""
    (tmp_path / "x.png").write_bytes(b"x")
    film, *pictures = (farm.upload(tmp_path / "x.png", kind) for kind in ("target", "source", "source", "source"))
    job, other = (farm.submit(JobOrder(order_of(film).spec, wait_for_cast=True)) for _ in range(2))
    casts = [f'[[people]]\nid = "P01"\nsource = "upload:{upload}"\n' for upload in pictures]
    for cast in (casts[0], casts[1], casts[0], casts[2]):
        jobs.put_cast(farm.db, ACME, job, cast)
    jobs.put_cast(farm.db, ACME, other, casts[1])
    jobs.erase(farm.db, ACME, job)
    assert {row.id for row in uploads.listed(farm.db, ACME).items} == {film, pictures[1]}
    jobs.put_cast(farm.db, ACME, other, casts[1])
    jobs.erase(farm.db, ACME, other)
    assert not uploads.listed(farm.db, ACME).items


def test_a_picture_that_is_replaced_is_the_jobs_no_longer(farm: Farm, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"x")
    film, first, second = (farm.upload(tmp_path / "x.png", kind) for kind in ("target", "source", "source"))
    job = farm.submit(JobOrder(order_of(film).spec, wait_for_cast=True))
    jobs.cancel(farm.db, ACME, job)
    for upload in (first, second):
        jobs.put_cast(farm.db, ACME, job, f'[[people]]\nid = "P01"\nsource = "upload:{upload}"\n')
    assert uploads_of_job(farm.db, job).keys() == {film, second}
    uploads.remove(farm.db, ACME, first)
    assert jobs.retry(farm.db, ACME, job).state is S.queued
    with pytest.raises(Conflict, match="a job uses this upload"):
        uploads.remove(farm.db, ACME, second)
