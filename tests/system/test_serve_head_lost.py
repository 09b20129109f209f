"""The head of the service's own Ray dies in the middle of a job: `farm serve` goes on answering, brings up another Ray,
and the job ends as if nothing had been."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path

import httpx
import psutil
import pytest

from farm.client import Farm
from farm.demo.service import ADDRESS
from tests.actors.films import make_film
from tests.system.runs import finish, start

UP_S, MOST_S, ASK_S, ANSWER_S = 180.0, 420.0, 0.5, 20.0
ENCODE = {"codec": "h264", "preset": "slower", "crf": 24}


def name_of(process: psutil.Process) -> str:
    """Of one that has ended, ""."""
    try:
        return process.name()
    except psutil.NoSuchProcess:
        return ""


@pytest.mark.heavy
def test_the_head_dies_below_the_service(tmp_path: Path) -> None:
    film = make_film(tmp_path / "film.mp4", seconds=60, size="640x480")
    data = tmp_path / "data"
    service = start("serve", "--data", data, "--port", "0", "--workers", "1")
    me = psutil.Process(service.pid)
    family: set[psutil.Process] = set()
    try:
        bound = threading.Timer(UP_S, service.kill)
        bound.start()
        assert service.stderr is not None
        url = next((line for line in service.stderr if ADDRESS in line), "").split(ADDRESS)[-1].strip()
        bound.cancel()
        assert url.startswith("http://"), url
        end_s = time.monotonic() + MOST_S
        killed = False
        with Farm(url, (data / "first-key").read_text().strip(), tries=1, timeout_s=ANSWER_S) as farm:
            job = farm.submit(film, swapper="none", segment_seconds="1", smart=False, encode=ENCODE)
            while not (now := farm.job(job.id)).finished:  # without a second try: every call has an answer
                assert httpx.get(url, timeout=ANSWER_S).status_code == 200
                assert time.monotonic() < end_s, now
                family |= set(me.children(recursive=True))
                if not killed and now.state == "rendering" and now.progress.segments_done >= 1:
                    next(child for child in family if name_of(child) == "gcs_server").kill()
                    killed = True
                time.sleep(ASK_S)
            assert killed
            assert (now.state, now.problem) == ("succeeded", None)
            assert now.attempt >= 2
        service.send_signal(signal.SIGINT)
        assert finish(service).code == 130
        _, alive = psutil.wait_procs(family, timeout=ANSWER_S)
        assert not alive
    finally:
        for process in (me, *family):
            if process.is_running() and (process is not me or service.poll() is None):
                process.kill()
