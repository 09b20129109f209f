"""The page in a real browser: the whole story by hand and by keyboard, behind a path prefix, light and dark."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from core import codec
from core.faces.summary import summarise
from farm.api.app import secret_of
from farm.api.context import ApiSettings
from farm.client import given
from farm.quality.job import REPORT, default_folder
from farm.service import held, jobs, keys
from farm.service.database import open_database
from farm.service.places import ServicePlaces
from farm.service.records import Problem
from farm.service.resolving import cast_uploads
from farm.settings import Settings
from tests.faces_assets import astronaut, model_cache
from tests.farm.api.browsing import browser, looked_at, page_at, signed_in
from tests.farm.api.conftest import ALL, House, Server
from tests.farm.api.flows import asked, film_bytes, finished, sent, taken
from tests.farm.api.page_steps import (
    analysing,
    asked_for,
    cast_by_hand,
    compared,
    downloaded,
    erased,
    started,
    waiting_for_cast,
)
from tests.farm.quality.made import report, series
from tests.farm.service.running import Farm, wait_for
from tests.two_people import make_two_people, sources

PREFIX = "/farm"


def proxy(*, strips: bool) -> Callable[[ASGIApp], ASGIApp]:
    """What a proxy makes of addresses: nothing outside the prefix is the service's, and the prefix may be taken off."""

    def around(app: ASGIApp) -> ASGIApp:
        async def handle(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                if not scope["path"].startswith(f"{PREFIX}/"):
                    await PlainTextResponse("another site", 404)(scope, receive, send)
                    return
                if strips:
                    raw = scope["raw_path"][len(PREFIX) :]
                    scope = {**scope, "path": scope["path"][len(PREFIX) :], "raw_path": raw}
            await app(scope, receive, send)

        return handle

    return around


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as made:
        yield made


@pytest.fixture
def page(chromium: Browser, house: House) -> Iterator[Page]:
    """The page at the root, tall, with a key that is in."""
    with page_at(chromium, house.server.url, tall=True) as made:
        signed_in(made, house.secret)
        yield made


def house_at(folder: Path, server_proxy: Callable[[ASGIApp], ASGIApp] | None, prefix: str) -> Iterator[House]:
    """A service of this test alone."""
    folder.mkdir()
    with open_database(f"sqlite:///{folder}/farm.db") as db:
        places = ServicePlaces(folder / "data")
        places.make()
        settings = ApiSettings(prefix=prefix, secret=secret_of(places), poll_s=0.05, keep_alive_s=1.0)
        server = Server(db, places, settings, server_proxy)
        try:
            keys.make_tenant(db, "Studio", tenant_id="studio")
            yield House(server, "studio", keys.make_key(db, "studio", "test", ALL).secret)
        finally:
            server.stop()


@pytest.fixture(params=[pytest.param("stripped", marks=pytest.mark.heavy), "kept"])
def mounted(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[House]:
    """A service behind a proxy under /farm, which takes the prefix off or leaves it."""
    yield from house_at(tmp_path / "service", proxy(strips=request.param == "stripped"), PREFIX)


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Faces to put in: hers, and the man's."""
    her, _, man = sources(tmp_path)
    return [her, man]


def test_the_whole_story_behind_a_prefix(
    chromium: Browser, mounted: House, clips: Path, tmp_path: Path, pictures: list[Path]
) -> None:
    film = make_two_people(tmp_path / "two.mp4")
    made = film_bytes(clips)
    with page_at(chromium, f"{mounted.server.url}{PREFIX}", tall=True, theme="dark") as page:
        page.get_by_label("API key").fill("farm_nonsense")
        page.get_by_role("button", name="Go on").click()
        expect(page.get_by_role("alert")).to_contain_text("key")
        signed_in(page, mounted.secret)
        job = asked_for(page, film)
        mine = analysing(mounted, job)
        expect(page.get_by_text("4 segments: 1 done, 1 being worked on, 1 failed, 1 waiting")).to_be_visible()
        expect(page.locator(".facts")).to_contain_text("9 of 28")
        expect(page.locator(".facts")).to_contain_text("1:01 to 2:10")
        expect(page.locator(".facts")).to_contain_text("0.42 USD")
        waiting_for_cast(mounted, job, mine)
        cast_by_hand(page, pictures)
        started(page)
        wait_for(lambda: jobs.cast_of(mounted.db, mounted.name, job) is not None)
        cast = jobs.cast_of(mounted.db, mounted.name, job)
        assert cast is not None
        assert len(cast_uploads(cast)) == 2
        finished(mounted, job, made)
        compared(page)
        assert downloaded(page) == hashlib.sha256(made).hexdigest()
        erased(page)
        assert jobs.listed(mounted.db, mounted.name).items == ()


@pytest.mark.heavy
def test_every_view_is_usable_by_everybody(
    house: House, chromium: Browser, clips: Path, tmp_path: Path, pictures: list[Path]
) -> None:
    film = make_two_people(tmp_path / "two.mp4")
    with page_at(chromium, house.server.url, tall=True) as page:
        page.get_by_label("API key").wait_for()
        looked_at(page, "key")
        page.get_by_label("API key").fill("farm_nonsense")
        page.get_by_role("button", name="Go on").click()
        page.get_by_role("alert").wait_for()
        looked_at(page, "key-refused")
        signed_in(page, house.secret)
        page.get_by_text("No jobs yet.").wait_for()
        looked_at(page, "no-jobs")
        page.goto(f"{house.server.url}/#/else")
        page.get_by_role("heading", name="No such page").wait_for()
        looked_at(page, "no-such-page")
        page.goto(f"{house.server.url}/#/jobs/job_none")
        page.get_by_role("alert").wait_for()
        looked_at(page, "no-such-job")
        page.get_by_role("link", name="New job").first.click()
        page.get_by_text("More", exact=True).click()
        page.get_by_role("button", name="Send and start").click()
        expect(page.get_by_role("alert")).to_have_text("No film is chosen.")
        looked_at(page, "new-job")
        job = asked_for(page, film)
        mine = analysing(house, job)
        page.get_by_text("4 segments").wait_for()
        page.get_by_text("Log", exact=True).click()
        looked_at(page, "analysing")
        waiting_for_cast(house, job, mine)
        cast_by_hand(page, pictures)
        looked_at(page, "casting")
        started(page)
        wait_for(lambda: jobs.cast_of(house.db, house.name, job) is not None)
        problem = Problem("InputError", "no face in astronaut.png", "", "send another picture", 2)
        held.wait_for_cast(house.db, taken(house, job), problem)
        expect(page.get_by_role("alert")).to_contain_text("What to do: send another picture")
        expect(page.locator(".people > li >> nth=0").locator(".becomes")).to_have_text("becomes astronaut.png")
        looked_at(page, "cast-refused")
        started(page)
        expect(page.locator(".facts")).to_contain_text("queued")
        finished(house, job, film_bytes(clips))
        compared(page)
        page.get_by_text("All checks").click()
        looked_at(page, "succeeded")
        with house.http() as http:
            other = asked(http, sent(http, "target", "a film with a name.mp4", film_bytes(clips))["id"])["id"]
            asked(http, sent(http, "target", "waits.mp4", film_bytes(clips))["id"], title="It waits")
        held.fail(house.db, taken(house, other), Problem("InputError", "the film is damaged", "", "send another", 2))
        page.goto(f"{house.server.url}/#/jobs/{other}")
        expect(page.get_by_role("alert")).to_contain_text("What to do: send another")
        looked_at(page, "failed")
        page.get_by_role("link", name="Jobs", exact=True).click()
        page.get_by_text("It waits").wait_for()
        looked_at(page, "jobs")


@pytest.mark.heavy
def test_a_real_job(chromium: Browser, tmp_path: Path, pictures: list[Path]) -> None:
    film = make_two_people(tmp_path / "two.mp4")
    house = next(service := house_at(tmp_path / "service", None, ""))
    farm = Farm(house.db, house.server.places, Settings(cores=2, model_cache=model_cache()))
    with farm.working(), page_at(chromium, house.server.url, tall=True) as page:
        signed_in(page, house.secret)
        job = asked_for(page, film, quality=True)
        cast_by_hand(page, pictures)
        looked_at(page, "real-casting")
        started(page)
        compared(page)
        row = farm.row(job, house.name)
        assert row.result is not None
        expect(page.locator("figure")).not_to_have_count(0)
        expect(page.get_by_text("yes: the file says that it holds faces made by a computer")).to_be_visible()
        looked_at(page, "real-succeeded")
        assert downloaded(page) == row.result.sha256
        erased(page)
    service.close()


def test_the_theme_is_chosen_and_kept(page: Page) -> None:
    def paper() -> str:
        return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))

    light = paper()
    page.get_by_role("button", name="Light or dark").click()
    dark = paper()
    assert dark != light
    page.reload()
    page.get_by_role("heading", name="Jobs").wait_for()
    assert paper() == dark
    page.emulate_media(color_scheme="dark")
    page.get_by_role("button", name="Light or dark").click()
    assert paper() == light


def test_a_files_name_is_counted_in_letters(page: Page) -> None:
    names = ["𝒳" * 150 + ".mp4", "𝒳" * 300 + ".mp4", "x" * 250 + ".𝒳𝒳", "a/b\n.mp4"]
    told = page.evaluate("async (names) => names.map((await import('./api.js')).plainName)", names)
    assert told == [given.plain_name(Path(name.replace("/", "_"))) for name in names]
    assert told[0] == names[0]


def test_the_key_is_forgotten(page: Page, house: House) -> None:
    page.get_by_role("button", name="Forget the key").click()
    page.get_by_label("API key").wait_for()
    expect(page.get_by_role("button", name="Forget the key")).to_be_hidden()
    assert house.secret not in page.evaluate("JSON.stringify([{...sessionStorage}, {...localStorage}])")
    page.reload()
    page.get_by_label("API key").wait_for()


def test_names_are_text_and_not_html(page: Page, house: House, clips: Path) -> None:
    trick = "<img src=x onerror=document.title='bad'>"
    with house.http() as http:
        job = asked(http, sent(http, "target", "film.mp4", film_bytes(clips))["id"], title=trick)["id"]
    page.goto(f"{house.server.url}/#/jobs/{job}")
    expect(page.get_by_role("heading", level=1)).to_have_text(trick)
    assert page.title() == f"{trick} – Face farm"


def test_filters_and_pages_of_jobs(page: Page, house: House, clips: Path) -> None:
    with house.http() as http:
        upload = sent(http, "target", "film.mp4", film_bytes(clips))["id"]
        made = [asked(http, upload, title=f"job {number}")["id"] for number in range(27)]
        http.post(f"/v1/jobs/{made[3]}/cancel")
    page.reload()
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(25)
    page.get_by_role("button", name="Older").click()
    expect(rows).to_have_count(2)
    page.get_by_role("button", name="Newer").click()
    expect(rows).to_have_count(25)
    page.get_by_label("Show").select_option("Came to nothing")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("cancelled")
    rows.get_by_role("link").press("Enter")
    page.get_by_role("button", name="Retry").click()
    expect(page.locator(".facts")).to_contain_text("queued")
    page.get_by_role("button", name="Pause").click()
    expect(page.locator(".facts")).to_contain_text("paused")
    page.get_by_role("button", name="Resume").click()
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".facts")).to_contain_text("cancelled")


def test_a_pause_that_is_not_obeyed_yet_is_told_and_can_be_taken_back(page: Page, house: House, clips: Path) -> None:
    with house.http() as http:
        job = asked(http, sent(http, "target", "film.mp4", film_bytes(clips))["id"])["id"]
    taken(house, job)
    page.goto(f"{house.server.url}/#/jobs/{job}")
    page.get_by_role("button", name="Pause").click()
    expect(page.locator(".facts")).to_contain_text("a pause, as soon as it can stop")
    page.get_by_role("button", name="Resume").click()
    expect(page.locator(".facts")).not_to_contain_text("a pause")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".facts")).to_contain_text("its end, as soon as it can stop")
    expect(page.get_by_role("button", name="Pause")).to_have_count(0)


def test_a_result_is_as_long_as_its_film_and_has_its_gaps(page: Page, house: House, clips: Path) -> None:
    """The slider is as long as the film, lines are broken where nothing was measured, and a file that is dropped beside
    the places for files does not take the page away."""
    with house.http() as http:
        job = asked(http, sent(http, "target", "film.mp4", film_bytes(clips))["id"])["id"]
    folder = default_folder(house.server.places.result(job, "film.swapped.mp4"))
    folder.mkdir(parents=True)
    found = series(200)
    found = replace(found, to_source=np.where((found.frame < 40) | (found.frame // 8 == 15), found.to_source, np.nan))
    measured = summarise("p1", found, name="", sources=(), planned=False, same_person=0.6, moving=0.01)
    (folder / REPORT).write_bytes(codec.encode(report((measured,), 200)))
    finished(house, job, film_bytes(clips), film_seconds=8.0)
    page.goto(f"{house.server.url}/#/jobs/{job}")
    expect(page.get_by_label("Time in the film")).to_have_attribute("max", "7.96")
    figure = page.locator("figure").filter(has_text="distance to the face put in")
    drawn = [str(one.get_attribute("d")) for one in figure.locator("path").all()]
    assert ["".join(filter(str.isalpha, one)) for one in drawn] == ["MLLLL", "Mh", "ML"]
    assert drawn[1].startswith("M62,")
    prevented = """() => ["dragover", "drop"].map((what) => {
        const dataTransfer = new DataTransfer();
        dataTransfer.items.add(new File(["x"], "film.mp4"));
        const event = new DragEvent(what, { bubbles: true, cancelable: true, dataTransfer });
        return !document.querySelector("h1").dispatchEvent(event);
    })"""
    assert page.evaluate(prevented) == [True, True]


def test_what_is_no_film_is_told_on_the_page(page: Page, tmp_path: Path) -> None:
    picture = tmp_path / "her.png"
    Image.fromarray(astronaut()).save(picture)
    page.get_by_role("link", name="New job").first.click()
    page.set_input_files("#film", picture)
    page.set_input_files("#faces", picture)
    page.get_by_role("button", name="Send and start").click()
    expect(page.get_by_role("alert")).to_contain_text("is not a film")
