"""The service's dashboard against what the service tells: every query is PromQL, of its metrics, with their labels."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from prometheus_client import generate_latest

from farm.api.app import make_app
from farm.api.context import ApiSettings
from farm.api.counting import counts_here
from farm.service.database import open_database
from farm.service.figures import DELIVERY_STATES, OF_DATABASE, OF_PROCESS, TRIES, UPLOAD_STATES
from farm.service.places import ServicePlaces
from farm.service.states import JobState
from tests.farm.watching.scrapes import ROOT, check_query, legends, overlaps, queries, samples, used

NAME = "service"
Samples = dict[str, list[tuple[dict[str, str], float]]]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    """What a service tells that was asked for something, and had its webhooks called."""
    folder = tmp_path_factory.mktemp("told")
    with open_database(f"sqlite:///{folder}/farm.db") as db:
        counts, instruments = counts_here(db)
        counts.answered("/v1/jobs", "POST", 202, 0.1)
        counts.bytes_came(10)
        counts.watchers(1)
        instruments.add(TRIES, 1, "taken")
        return samples(generate_latest(instruments.registry).decode())


@pytest.fixture(scope="module")
def routes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[set[str]]:
    folder = tmp_path_factory.mktemp("routes")
    with open_database(f"sqlite:///{folder}/farm.db") as db:
        yield set(make_app(db, ServicePlaces(folder), ApiSettings()).openapi()["paths"])


@pytest.mark.parametrize(("panel", "query"), queries("farm", NAME))
def test_every_query_is_of_metrics_that_are_told_with_those_labels(told: Samples, panel: str, query: str) -> None:
    check_query(told, panel, query)


def test_what_processes_count_has_rays_names_on_ray_and_what_the_tables_say_has_not() -> None:
    of_process = {figure.name for figure in OF_PROCESS}
    for _, query in queries("ray_farm", NAME):
        for name, _ in used(query):
            plain = name.removeprefix("ray_").removesuffix("_bucket")
            assert name.startswith("ray_") == (plain in of_process), name


def test_every_figure_is_shown() -> None:
    shown = {name.removesuffix("_bucket") for _, query in queries("farm", NAME) for name, _ in used(query)}
    assert shown == {figure.name for figure in (*OF_DATABASE, *OF_PROCESS)}


def test_values_that_are_matched_are_ones_that_there_are(routes: set[str]) -> None:
    known = {*JobState, *UPLOAD_STATES, *DELIVERY_STATES}
    for panel, query in queries("farm", NAME):
        assert set(re.findall(r'state="(\w+)"', query)) <= known, panel
        assert set(re.findall(r'route="([^"]+)"', query)) <= routes, panel
        for pattern in re.findall(r'route[!=]~"([^"]+)"', query):
            assert any(re.fullmatch(pattern, route) for route in routes), panel


@pytest.mark.parametrize(("panel", "names", "query"), legends(NAME))
def test_a_legend_names_labels_that_the_query_leaves(panel: str, names: set[str], query: str) -> None:
    plain = query.replace("${farm}", "farm").replace("$__rate_interval", "5m")
    assert names <= {label for _, labels in used(plain) for label in labels}, panel


def test_panels_do_not_lie_over_each_other_and_the_documentation_names_the_dashboard() -> None:
    assert overlaps(NAME) == []
    assert f"deploy/grafana/{NAME}.json" in (ROOT / "docs" / "watching.md").read_text()
