"""`farm serve` as a person starts it, on a Ray of its own: jobs of the coordinator go to renderers that are actors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from farm.client import Farm
from farm.demo.service import service
from tests.farm.api.test_counting import told, value
from tests.farm.service.running import wait_for
from tests.media_clips import make_clip


@pytest.mark.heavy
def test_a_job_goes_through_renderers_of_ray(clips: Path, tmp_path: Path) -> None:
    film = make_clip("h264_m4v", clips)
    with service(tmp_path, local=False) as (url, key), Farm(url, key) as farm:
        job = farm.submit(film, swapper="none", segment_seconds="1")
        wait_for(lambda: farm.job(job.id).finished is not None)
        done = farm.job(job.id)
        assert done.state == "succeeded", done.problem
        assert farm.download(job.id, tmp_path / "out.m4v").stat().st_size > 0
        assert {segment.slot[:9] for segment in farm.segments(job.id)} == {"renderer-"}

        def figures() -> dict[Any, float]:
            return told(httpx.get(f"{url}/metrics").text)

        # the coordinator's process tells its figures a moment after its rows
        wait_for(lambda: value(figures(), "farm_jobs_ended_total", outcome="finished") == 1)
        assert value(figures(), "farm_service_jobs", state="succeeded") == 1
        assert sum(count for (name, _), count in figures().items() if name == "farm_frames_total") == 75
        farm.erase(job.id)
