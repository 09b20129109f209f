"""The service's application on a real Ray Serve: calls in a replica, the coordinator beside it, a job through both."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from farm.client import Farm
from tests.deploy.amazon import ROOT
from tests.media_clips import make_clip

WAIT_S = 240.0
# A process of its own: this one may hold another Ray. Its resources are those of a head that offers `service`, and of a
# node that renders.
SERVE = """
import sys, ray
from ray import serve
from farm.api.ingress import Args, app
folder, port = sys.argv[1], int(sys.argv[2])
ray.init(address="local", num_cpus=2, resources={"service": 10}, include_dashboard=False, object_store_memory=100 << 20)
serve.start(http_options={"host": "127.0.0.1", "port": port})
serve.run(app(Args(data=folder, database=f"sqlite:///{folder}/farm.db", replicas=1, max_workers=1)), name="farm")
print("up", flush=True)
sys.stdin.readline()
serve.shutdown()
ray.shutdown()
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Address and folder of a service on Serve."""
    port = free_port()
    log = (tmp_path / "serve.log").open("w")
    running = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(tmp_path / "data"), str(port)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        start_new_session=True,
    )
    try:
        assert running.stdout is not None
        told = next((line for line in iter(running.stdout.readline, "") if line.startswith("up")), "")
        assert told, (tmp_path / "serve.log").read_text()[-4000:]
        yield f"http://127.0.0.1:{port}", tmp_path / "data"
    finally:
        if running.poll() is None:
            running.communicate("\n", timeout=120)
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
        log.close()


@pytest.mark.heavy
def test_a_job_goes_through_calls_and_coordinator(served: tuple[str, Path], clips: Path, tmp_path: Path) -> None:
    url, folder = served
    assert httpx.get(f"{url}/readyz").status_code == 200
    assert httpx.get(f"{url}/v1/jobs").status_code == 401
    key = (folder / "first-key").read_text().strip()
    film = make_clip("h264_m4v", clips)
    with Farm(url, key) as farm:
        job = farm.submit(film, swapper="none")
        until = time.monotonic() + WAIT_S
        while (now := farm.job(job.id)).state not in {"succeeded", "failed"} and time.monotonic() < until:
            time.sleep(0.5)
        assert now.state == "succeeded", now
        out = farm.download(job.id, tmp_path / "out.m4v")
    assert out.stat().st_size > 0
    figures = httpx.get(f"{url}/metrics").text  # what any replica knows: of the table
    assert 'farm_service_jobs{state="succeeded"} 1.0' in figures
    assert "farm_service_coordinator_up 1.0" in figures
    assert "farm_service_requests_total" not in figures
