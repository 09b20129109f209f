"""The page of a service whose files are in a bucket: the browser puts the film there, and fetches the result there."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from playwright.sync_api import expect

from farm.api.parting import PART_BYTES
from farm.paths import place
from farm.service import uploads
from tests.farm.api.browsing import browser, page_at, signed_in
from tests.farm.api.bucket_steps import long_film
from tests.farm.api.conftest import House, studio
from tests.farm.api.flows import film_bytes, finished
from tests.farm.api.page_steps import job_of

BUCKET, ROOT = "pages", "s3://pages/state"


@pytest.fixture
def far(s3: str, tmp_path: Path) -> Iterator[House]:
    """A service whose root is in a bucket that takes parts from its page and from no other."""
    client: Any = boto3.session.Session().client("s3")
    client.create_bucket(Bucket=BUCKET)
    with studio(place(ROOT), tmp_path, keep_alive_s=1.0) as house:
        rule = {"AllowedOrigins": [house.server.url], "AllowedMethods": ["PUT"], "AllowedHeaders": ["*"]}
        client.put_bucket_cors(Bucket=BUCKET, CORSConfiguration={"CORSRules": [rule]})
        yield house


@pytest.mark.heavy
def test_a_film_goes_from_the_browser_into_the_bucket_and_back(
    far: House, s3: str, clips: Path, tmp_path: Path
) -> None:
    film = tmp_path / "film.m4v"
    film.write_bytes(long_film(clips, PART_BYTES + 1000))
    with browser() as chromium, page_at(chromium, far.server.url, bucket=s3) as page:
        signed_in(page, far.secret)
        page.get_by_role("link", name="New job").first.click()
        page.set_input_files("#film", film)
        page.get_by_label("First look who is in the film").check()
        page.get_by_role("button", name="Send and start").click()
        job = job_of(page)
        (row,) = uploads.listed(far.db, "studio").items
        assert (row.state, row.sha256) == ("ready", hashlib.sha256(film.read_bytes()).hexdigest())
        made = film_bytes(clips)
        finished(far, job, made, "film.swapped.m4v")
        button = page.get_by_role("button", name="Download film.swapped.m4v")
        expect(button).to_be_visible()
        with page.expect_download() as fetched:
            button.click()
        assert fetched.value.url.startswith(s3)
        assert fetched.value.suggested_filename == "film.swapped.m4v"
        assert Path(fetched.value.path()).read_bytes() == made
        expect(page.get_by_role("heading", name="Before and after")).to_be_visible()
