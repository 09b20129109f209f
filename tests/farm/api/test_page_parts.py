"""The page and the client of a service below a path prefix that takes large files in parts into its folder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from farm.api.parting import PART_BYTES
from farm.client import Farm
from farm.service import uploads
from tests.farm.api.browsing import browser, page_at, signed_in
from tests.farm.api.bucket_steps import long_film
from tests.farm.api.conftest import House, studio
from tests.farm.api.page_steps import job_of


@pytest.fixture
def below(tmp_path: Path) -> Iterator[House]:
    """A service at /farm."""
    with studio(tmp_path / "data", tmp_path, prefix="/farm", in_parts=True) as house:
        yield house


@pytest.mark.heavy
def test_a_film_goes_in_parts_from_the_browser_and_from_the_client(below: House, clips: Path, tmp_path: Path) -> None:
    film = tmp_path / "film.m4v"
    film.write_bytes(long_film(clips, 2 * PART_BYTES + 1000))
    sha256 = hashlib.sha256(film.read_bytes()).hexdigest()
    asked: list[str] = []
    with browser() as chromium, page_at(chromium, f"{below.server.url}/farm") as page:
        page.on("request", lambda request: asked.append(f"{request.method} {request.url.rpartition('/uploads/')[2]}"))
        signed_in(page, below.secret)
        page.get_by_role("link", name="New job").first.click()
        page.set_input_files("#film", film)
        page.get_by_label("First look who is in the film").check()
        page.get_by_role("button", name="Send and start").click()
        job_of(page)
    (row,) = uploads.listed(below.db, "studio").items
    assert (row.state, row.sha256) == ("ready", sha256)
    assert [call for call in asked if call.startswith("PUT ")] == [
        f"PUT {row.id}/{call}" for call in ("head", "parts/1", "parts/2", "parts/3")
    ]
    with Farm(f"{below.server.url}/farm", below.secret) as farm:
        assert farm.upload(film).sha256 == sha256


def spoilt(page: Page, house: House, film: bytes, most: int) -> list[str]:
    """Before the page ends an upload, `most` times, a second copy of part 2 comes and breaks off. The calls that put a
    part, and those that end the upload."""
    calls: list[str] = []

    def at_the_end(route: Route) -> None:
        calls.append("finish")
        if calls.count("finish") <= most:
            with house.http() as http:
                short = http.put(f"{route.request.url.removesuffix('/finish')}/parts/2", content=film[: 2 << 20])
                assert short.status_code == 422, short.text
        route.continue_()

    def noted(route: Route) -> None:
        calls.append(route.request.url.rpartition("/parts/")[2])
        route.continue_()

    page.route("**/finish", at_the_end)
    page.route("**/parts/*", noted)
    return calls


@pytest.mark.heavy
def test_what_is_missing_at_the_end_is_sent_again_and_told_in_the_end(
    below: House, clips: Path, tmp_path: Path
) -> None:
    film = tmp_path / "film.m4v"
    data = long_film(clips, 2 * PART_BYTES + 1000)
    film.write_bytes(data)
    with browser() as chromium:
        for most, again in ((1, 1), (100, 3)):
            with page_at(chromium, f"{below.server.url}/farm") as page:
                calls = spoilt(page, below, data, most)
                signed_in(page, below.secret)
                page.get_by_role("link", name="New job").first.click()
                page.set_input_files("#film", film)
                page.get_by_label("First look who is in the film").check()
                page.get_by_role("button", name="Send and start").click()
                if most > again:
                    expect(page.get_by_text("1 of 3 parts are not there")).to_be_visible()
                else:
                    job_of(page)
                assert calls == ["1", "2", "3", "finish", *["2", "finish"] * again]
