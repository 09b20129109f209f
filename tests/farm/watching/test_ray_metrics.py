"""Figures through Ray: the same names behind Ray's own prefix, with the same labels, on the page of the node."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import ray

from actors.dispatch import Assign, Done, NodeLeaves, SlotDied, SlotReady
from actors.ray.joining import start_own_ray
from core.records import JobSpec
from farm.driver import run_job
from farm.listeners import Together
from farm.settings import RunOptions, load_settings
from farm.watching.figures import FIGURES
from farm.watching.instruments import RayInstruments
from farm.watching.metrics import Metrics
from tests.farm.watching.jobs import order
from tests.farm.watching.scrapes import queries, scrape, used
from tests.media_clips import make_clip
from tests.system.runs import farm

DEADLINE_S = 90.0
AFTER_THE_WORK = ("join", "verify", "publish")


@pytest.fixture(scope="module")
def page() -> Iterator[str]:
    """The address of the node's page."""
    ours = not ray.is_initialized()
    session = start_own_ray(2) if ours else None
    node = next(node for node in cast(Any, ray).nodes() if node["Alive"])
    yield f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    if session is not None:
        ray.shutdown()
        shutil.rmtree(session, ignore_errors=True)


@pytest.mark.heavy
def test_a_run_on_ray_tells_all_that_the_dashboard_asks_for(page: str, clips: Path, tmp_path: Path) -> None:
    film = make_clip("h264_mov", clips)
    spec = JobSpec(target=str(film), output=str(tmp_path / "out.mov"), swapper="none")
    metrics = Metrics(RayInstruments())
    report = run_job(spec, RunOptions(workers=1), load_settings(), Together(), metrics=metrics)
    seen: dict[str, set[frozenset[str]]] = {}
    frames = 0.0
    with metrics.job(lambda: (1.5, "USD")) as listener:
        orders = [order(0, 50, 4), order(1, 50, 4)]
        hear = listener.watch(orders, orders)
        hear(SlotReady("a", 2, "spot", "L4"), 0.0)
        hear(SlotReady("b", 2, "other", "L4"), 0.0)
        hear(Assign("a", "o0", 1), 1.0)
        hear(Assign("b", "o1", 1), 1.0)
        hear(SlotDied("b", "killed"), 2.0)
        hear(NodeLeaves("spot", 60.0), 3.0)
        hear(Done("a", "o0", 1), 5.0)
        end_s = time.monotonic() + DEADLINE_S
        wanted = {name for _, query in queries("ray_farm") for name, _ in used(query)}
        while not wanted <= seen.keys():
            assert time.monotonic() < end_s, wanted - seen.keys()
            listener.stage("render")  # gauges are told again, which Ray shows once
            for name, samples in scrape(page).items():
                if name.startswith("ray_farm_"):
                    seen.setdefault(name, set()).update(frozenset(labels) for labels, _ in samples)
                if name == "ray_farm_frames_total":
                    frames = sum(value for labels, value in samples if labels["kind"] != "L4")
            time.sleep(0.5)
    assert round(frames) == report.frames
    for panel, query in queries("ray_farm"):
        for name, labels in used(query):
            assert all(labels <= have for have in seen[name]), (panel, name)
    for figure in FIGURES:
        names = seen[f"ray_{figure.name}" if figure.kind != "histogram" else f"ray_{figure.name}_count"]
        assert all(set(figure.labels) <= have for have in names)


def ended(page: str) -> tuple[float, dict[str, float]]:
    """How many jobs finished, and the seconds of stages that no renderer works in."""
    samples = scrape(page)
    finished = sum(
        value for labels, value in samples.get("ray_farm_jobs_ended_total", ()) if labels["outcome"] == "finished"
    )
    seconds = dict.fromkeys(AFTER_THE_WORK, 0.0)
    for labels, value in samples.get("ray_farm_stage_seconds_total", ()):
        if labels["stage"] in seconds:
            seconds[labels["stage"]] += value
    return finished, seconds


@pytest.mark.heavy
def test_a_command_tells_the_cluster_what_came_after_its_renderers(page: str, clips: Path, tmp_path: Path) -> None:
    """Renderers are given back before the film is joined; the command ends right after its last figure."""
    film = make_clip("h264_mov", clips)
    before, seconds_before = ended(page)
    address = ray.get_runtime_context().gcs_address
    ran = farm(
        "render",
        film,
        "-o",
        tmp_path / "out.mov",
        "--swapper",
        "none",
        "--address",
        address,
        "--workers",
        "1",
        "--json",
    )
    spent = ran.report.seconds_by_stage
    end_s = time.monotonic() + DEADLINE_S
    while ended(page)[0] < before + 1:
        assert time.monotonic() < end_s, "the page never heard of the end"
        time.sleep(0.5)
    finished, seconds = ended(page)
    assert round(finished - before) == 1
    for stage in AFTER_THE_WORK:
        assert seconds[stage] - seconds_before[stage] == pytest.approx(spent[stage], abs=0.5)
        assert seconds[stage] > seconds_before[stage]
