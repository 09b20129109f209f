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

DEADLINE_S = 90.0


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
