"""The dashboard against what a real run tells: every query is PromQL, of metrics that exist, with labels they have."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.dispatch import Assign, Done, NodeGone, NodeLeaves, SlotDied, SlotReady
from core.records import JobSpec
from farm.driver import run_job
from farm.listeners import Together
from farm.settings import RunOptions, load_settings
from farm.watching.figures import FIGURES
from farm.watching.instruments import Page, PrometheusInstruments
from farm.watching.metrics import Metrics
from tests.farm.watching.jobs import order
from tests.farm.watching.scrapes import ROOT, check_query, legends, overlaps, queries, scrape, used
from tests.media_clips import make_clip

Samples = dict[str, list[tuple[dict[str, str], float]]]


@pytest.fixture(scope="module")
def told(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Samples:
    """The page after a run in this process, and after what no run in one process meets: losses and money."""
    folder = tmp_path_factory.mktemp("dashboard")
    instruments = PrometheusInstruments()
    metrics = Metrics(instruments)
    film = make_clip("h264_mov", clips)
    spec = JobSpec(target=str(film), output=str(folder / "out.mp4"), swapper="none")
    run_job(spec, RunOptions(local=True), load_settings(), Together(), metrics=metrics)
    with metrics.job(lambda: (1.5, "USD")) as listener:
        orders = [order(0, 50, 4), order(1, 50, 4)]
        hear = listener.watch(orders, orders)
        hear(SlotReady("a", 2, "spot", "L4"), 0.0)
        hear(SlotReady("b", 2, "other", "A10G"), 0.0)
        for number, slot in enumerate("ab"):
            hear(Assign(slot, f"o{number}", 1), 1.0)
        hear(SlotDied("b", "killed"), 2.0)
        hear(NodeLeaves("spot", 60.0), 3.0)
        hear(NodeGone("other", "gone"), 4.0)
        hear(Done("a", "o0", 1), 5.0)
    page = Page("127.0.0.1", 0, instruments.registry)
    try:
        return scrape(page.address)
    finally:
        page.close()


@pytest.mark.parametrize(("panel", "query"), queries("farm"))
def test_every_query_is_of_metrics_that_are_told_with_those_labels(told: Samples, panel: str, query: str) -> None:
    check_query(told, panel, query)


def test_a_matched_value_is_one_that_is_told(told: Samples) -> None:
    values = {value for samples in told.values() for labels, _ in samples for value in labels.values()}
    assert {"busy", "render"} <= values


@pytest.mark.parametrize(("panel", "names", "query"), legends())
def test_a_legend_names_labels_that_the_query_leaves(panel: str, names: set[str], query: str) -> None:
    left = {
        label
        for _, labels in used(query.replace("${farm}", "farm").replace("$__rate_interval", "5m"))
        for label in labels
    }
    assert names <= left, panel


def test_ray_tells_the_same_under_its_own_names() -> None:
    assert [(panel, query.replace("ray_farm_", "farm_")) for panel, query in queries("ray_farm")] == queries("farm")


def test_every_figure_is_shown_and_told(told: Samples) -> None:
    shown = {name.removesuffix("_bucket") for _, query in queries("farm") for name, _ in used(query)}
    assert shown == {figure.name for figure in FIGURES}
    for figure in FIGURES:
        samples = told[figure.name if figure.kind != "histogram" else f"{figure.name}_count"]
        assert {frozenset(labels) for labels, _ in samples} == {frozenset(figure.labels)}


def test_no_label_names_a_job(told: Samples) -> None:
    for name, samples in told.items():
        if name.startswith("farm_"):
            for labels, _ in samples:
                assert not {"job", "film", "segment", "output", "task"} & set(labels)


def test_panels_do_not_lie_over_each_other_and_ids_are_their_own() -> None:
    assert overlaps() == []


def test_the_documentation_lists_every_figure() -> None:
    text = (ROOT / "docs" / "watching.md").read_text()
    for figure in FIGURES:
        labels = ", ".join(f"`{label}`" for label in figure.labels)
        assert f"| `{figure.name}` | {labels} | {figure.help} |" in text
