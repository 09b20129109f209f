"""The head of the cluster dies in the middle of a job: the command ends in one line in time, and the next one goes on.

Ray itself ends a process whose head was silent for a minute; the farm is done before.
"""

from __future__ import annotations

import time
from pathlib import Path

import psutil
import pytest

from tests.actors.films import make_film
from tests.system.runs import Ran, finish, finished_segments, leftovers, start, wait_for

OPTIONS = ("--swapper", "none", "--segment-seconds", "1", "--preset", "slower", "--crf", "24", "--json")
RAYS_MINUTE_S = 60.0
RESUME_S = 900.0


@pytest.mark.heavy
def test_the_head_dies(tmp_path: Path) -> None:
    target = make_film(tmp_path / "film.mp4", seconds=60, size="640x480")
    output, store = tmp_path / "out.mp4", tmp_path / "out.mp4.farm"
    command = ("render", target, "-o", output, "--workers", "2", *OPTIONS)
    first = start(*command)
    wait_for(lambda: len(finished_segments(store)) >= 1, first)
    family = psutil.Process(first.pid).children(recursive=True)
    next(child for child in family if child.name() == "gcs_server").kill()
    killed_s = time.monotonic()
    stopped = finish(first)
    assert stopped.code == 4, stopped.err
    assert time.monotonic() - killed_s < RAYS_MINUTE_S
    assert "the head of the cluster has not answered" in stopped.error_line
    assert leftovers(tmp_path, ["film.mp4", "out.mp4.farm"]) == []
    _, alive = psutil.wait_procs(family, timeout=RAYS_MINUTE_S)
    assert not [child for child in alive if child.name().startswith("ray::Renderer")]
    kept = len(finished_segments(store))
    second = start(*command)
    out, err = second.communicate(timeout=RESUME_S)
    report = Ran(second.returncode, out, err).report
    assert report.segments_reused == kept >= 1
    assert leftovers(tmp_path, ["film.mp4", "out.mp4"]) == []
