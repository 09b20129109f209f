"""The page and the client of a service below a path prefix that takes large files in parts into its folder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from farm.api.app import secret_of
from farm.api.context import ApiSettings
from farm.api.parting import PART_BYTES
from farm.client import Farm
from farm.service import keys, uploads
from farm.service.database import open_database
from farm.service.places import ServicePlaces
from tests.farm.api.browsing import browser, page_at, signed_in
from tests.farm.api.bucket_steps import long_film
from tests.farm.api.conftest import ALL, House, Server
from tests.farm.api.page_steps import job_of


@pytest.fixture
def below(tmp_path: Path) -> Iterator[House]:
    """A service at /farm."""
    with open_database(f"sqlite:///{tmp_path}/farm.db") as db:
        places = ServicePlaces(tmp_path / "data")
        places.make()
        server = Server(db, places, ApiSettings(secret=secret_of(places), prefix="/farm", poll_s=0.05, in_parts=True))
        keys.make_tenant(db, "Studio", tenant_id="studio")
        try:
            yield House(server, "studio", keys.make_key(db, "studio", "test", ALL).secret)
        finally:
            server.stop()


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
