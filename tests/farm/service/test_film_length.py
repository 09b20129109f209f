"""A film that is longer than its tenant's films may be: refused at the submission where that is known, else when it is
indexed, wherever it lies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from farm.service import jobs, keys, uploads
from farm.service.database import open_database
from farm.service.errors import TooLong
from farm.service.places import ServicePlaces
from farm.service.records import TenantQuota
from farm.service.states import JobState
from farm.settings import Settings
from tests.farm.service.farmhouse import ACME, tenants
from tests.farm.service.running import Farm, order_of
from tests.media_clips import make_clip


@pytest.fixture
def farm(tmp_path: Path) -> Iterator[Farm]:
    """A service whose tenants' films have two seconds at most."""
    with open_database(f"sqlite:///{tmp_path}/farm.db") as db:
        tenants(db, TenantQuota(film_s=2))
        places = ServicePlaces(tmp_path / "farm")
        places.make()
        yield Farm(db, places, Settings(cores=2, model_cache=tmp_path / "none"))


def test_what_the_header_says_is_refused_at_once(farm: Farm) -> None:
    row = uploads.begin(farm.db, ACME, purpose="target", name="a", size_bytes=1, place=lambda one: f"/none/{one}")
    uploads.finish(farm.db, ACME, row.id, size_bytes=1, sha256="0", media={"kind": "film", "seconds": 2.5})
    with pytest.raises(TooLong, match=r"the film has 2\.5 s, and 2 are allowed"):
        farm.submit(order_of(row.id))


@pytest.mark.heavy
def test_what_no_header_said_is_refused_when_it_is_indexed(farm: Farm, clips: Path, s3: str) -> None:
    film = make_clip("h264_m4v", clips)  # three seconds
    client = boto3.session.Session().client("s3")
    client.create_bucket(Bucket="theirs")
    client.upload_file(str(film), "theirs", "film.m4v")
    with farm.working():
        near = farm.submit(order_of(farm.upload(film)))
        far = farm.submit(order_of("x", target="s3://theirs/film.m4v"))
        for job in (near, far):
            row = farm.ended(job)
            assert row.state is JobState.refused
            assert row.problem is not None
            assert row.problem.what == "the film has 3.0 s, and 2 are allowed"
            assert "rendering" not in farm.states(job)
        keys.set_quota(farm.db, ACME, TenantQuota())
        jobs.retry(farm.db, ACME, far)
        assert farm.ended(far).state is JobState.succeeded
