"""/metrics of the service: what calls, jobs and tables tell Prometheus, without a tenant's name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from farm.api.app import make_app, secret_of
from farm.api.context import ApiSettings
from farm.api.counting import counts_here
from farm.service.database import Database, open_database
from farm.service.figures import OF_DATABASE, OF_PROCESS, OfDatabase
from farm.service.leasing import OFFICE, lead
from farm.service.places import ServicePlaces
from farm.watching.figures import FIGURES
from tests.farm.api.conftest import House, Server
from tests.farm.api.flows import asked, film_bytes, finished, sent
from tests.farm.api.test_calls import is_problem
from tests.farm.watching.scrapes import ROOT

Told = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Server]:
    """A service whose figures are of this test alone."""
    with open_database(f"sqlite:///{tmp_path}/farm.db") as db:
        places = ServicePlaces(tmp_path / "data")
        places.make()
        server = Server(db, places, ApiSettings(secret=secret_of(places), poll_s=0.05, keep_alive_s=0.3))
        try:
            yield server
        finally:
            server.stop()


def told(text: str) -> Told:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(figures: Told, name: str, **labels: str) -> float:
    return figures[name, tuple(sorted(labels.items()))]


def test_calls_files_and_jobs_are_counted(alone: Server, clips: Path) -> None:
    house = House(alone, "studio", "")
    house.secret = house.key("studio")
    film = film_bytes(clips)
    with house.http() as http:
        row = sent(http, "target", "film.mp4", film)
        finished(house, asked(http, row["id"])["id"], film)
        waiting = asked(http, row["id"])["id"]
        for name in (waiting, waiting, "job_none"):
            http.get(f"/v1/jobs/{name}")
        http.get("/v1/nothing-of-the-kind")
        with http.stream("GET", f"/v1/jobs/{waiting}/events") as events:
            pieces = events.iter_bytes()  # held: the stream ends with it
            next(pieces)
            figures = told(http.get("/metrics").text)
    requests = "farm_service_requests_total"
    assert value(figures, requests, route="/v1/jobs/{job_id}", method="GET", status="200") == 2
    assert value(figures, requests, route="/v1/jobs/{job_id}", method="GET", status="404") == 1
    assert value(figures, requests, route="page", method="GET", status="404") == 1
    assert value(figures, requests, route="/v1/jobs", method="POST", status="202") == 2
    assert value(figures, "farm_service_request_seconds_count", route="/v1/jobs/{job_id}/events", method="GET") == 1
    assert value(figures, "farm_service_upload_bytes_total") == len(film)
    assert value(figures, "farm_service_watchers") == 1
    assert value(figures, "farm_service_jobs", state="queued") == 1
    assert value(figures, "farm_service_jobs", state="succeeded") == 1
    assert value(figures, "farm_service_queue_age_seconds") >= 0
    assert value(figures, "farm_service_stored_bytes", kind="results") == len(film)
    assert value(figures, "farm_service_uploads", state="ready") == 1
    assert value(figures, "farm_service_coordinator_up") == 0
    known = [text for labels in figures for pair in labels[1] for text in pair]
    assert not [text for text in known if text.startswith(("job_", "upl_", "studio")) and text != "job_id"]


def test_a_coordinator_that_works_is_seen(alone: Server) -> None:
    lead(alone.db, OFFICE, "somebody")
    assert value(told(httpx.get(f"{alone.url}/metrics").text), "farm_service_coordinator_up") == 1


def test_without_a_database_that_is_told(alone: Server) -> None:
    """Here one that lacks a table."""
    broken = open_database(f"sqlite:///{alone.places.root}/other.db")
    try:
        with broken.write() as connection:
            connection.exec_driver_sql("DROP TABLE leases")
        (family,) = OfDatabase(broken).collect()
        assert (family.name, [sample.value for sample in family.samples]) == ("farm_service_database_up", [0.0])
    finally:
        broken.close()


def test_the_tables_are_counted_every_few_seconds_at_most(alone: Server) -> None:
    now = [0.0]
    tables = OfDatabase(alone.db, 5.0, lambda: now[0])

    def coordinator() -> float:
        (family,) = (one for one in tables.collect() if one.name == "farm_service_coordinator_up")
        return float(family.samples[0].value)

    assert coordinator() == 0
    lead(alone.db, OFFICE, "somebody")
    now[0] = 4.9
    assert coordinator() == 0
    now[0] = 5.0
    with tables._reading:  # another call reads: nobody waits for it
        assert coordinator() == 0
    assert coordinator() == 1


def test_the_operator_may_keep_them_elsewhere(alone: Server) -> None:
    from farm.api.ingress import Args, settings_of  # noqa: PLC0415 - loads Ray Serve

    assert settings_of(Args(data=str(alone.places.root)), alone.places).metrics
    cluster = settings_of(Args(data=str(alone.places.root), metrics=False), alone.places)
    for settings in (ApiSettings(metrics=False), cluster):
        hidden = Server(alone.db, alone.places, settings)
        try:
            is_problem(httpx.get(f"{hidden.url}/metrics"), 404, "elsewhere")
        finally:
            hidden.stop()


def test_every_figure_is_told_and_documented(alone: Server) -> None:
    db: Database = alone.db
    counts, instruments = counts_here(db)
    make_app(db, alone.places, ApiSettings(), counts)
    names = {family.name for family in instruments.registry.collect()}
    text = (ROOT / "docs" / "watching.md").read_text()
    for figure in (*OF_DATABASE, *OF_PROCESS):
        assert figure.name.removesuffix("_total") in names
        labels = ", ".join(f"`{label}`" for label in figure.labels)
        assert f"| `{figure.name}` | {labels} | {figure.help} |" in text
    assert {figure.name.removesuffix("_total") for figure in FIGURES} <= names
