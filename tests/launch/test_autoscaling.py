"""A job on a head without workers: Ray's autoscaler brings up nodes for it, as many as it is worth, and they go again.

The nodes have GPUs by name alone, so Ray sets one aside for each renderer while the sessions run on processors.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.actors.films import make_film
from tests.launch.autoscaling import Growing, growing
from tests.system.runs import ROOT, Ran, farm, finish, finished_segments, leftovers, start

pytestmark = pytest.mark.heavy

MOST = 3
IDLE_S = 6.0
TYPES = {"gpu": {"resources": {"CPU": 1, "GPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": MOST}}
OPTIONS = ("--swapper", "none", "--segment-seconds", "1", "--preset", "slower", "--crf", "24", "--json")
SEGMENTS = 30
COME_S = 240.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[Growing]:
    with growing(TYPES, idle_s=IDLE_S) as made:
        yield made


def render(cluster: Growing, *words: str | Path) -> subprocess.Popen[str]:
    address = ("--address", cluster.address, "--device", "cpu")
    return start("render", *words, *address, *OPTIONS, cwd=ROOT, env=dict(cluster.environment))


def nodes(cluster: Growing) -> int:
    """Nodes beside the head: each is a raylet, which a process of this machine is."""
    names = []
    for process in cluster.processes():
        try:
            names.append(process.name())
        except psutil.Error:
            continue
    return names.count("raylet") - 1


def await_end(cluster: Growing, process: subprocess.Popen[str]) -> tuple[Ran, int]:
    """The command's end, and the most nodes that were there before."""
    most, end_s = 0, time.monotonic() + COME_S
    while process.poll() is None:
        most = max(most, nodes(cluster))
        assert time.monotonic() < end_s, "it did not end in time"
        time.sleep(0.5)
    return finish(process), most


def until(condition: Callable[[], bool]) -> None:
    end_s = time.monotonic() + COME_S
    while not condition():
        assert time.monotonic() < end_s, "it did not happen in time"
        time.sleep(0.5)


def test_a_small_job_gets_one_node(cluster: Growing, tmp_path: Path) -> None:
    target = make_film(tmp_path / "film.mp4", seconds=1)
    assert nodes(cluster) == 0
    ran, most = await_end(cluster, render(cluster, target, "-o", tmp_path / "out.mp4"))
    assert ran.report.segments == 1
    assert most == 1
    until(lambda: nodes(cluster) == 0)


def test_nodes_come_for_a_backlog_go_with_a_killed_driver_and_come_again(cluster: Growing, tmp_path: Path) -> None:
    target = make_film(tmp_path / "film.mp4", seconds=SEGMENTS, size="384x288")
    plain = farm("render", target, "-o", tmp_path / "plain.mp4", "--local", *OPTIONS).report
    output, store = tmp_path / "out.mp4", tmp_path / "out.mp4.farm"
    command = (target, "-o", output)

    first = render(cluster, *command)
    until(lambda: nodes(cluster) == MOST or first.poll() is not None)
    until(lambda: len(finished_segments(store)) >= 2 or first.poll() is not None)
    os.kill(first.pid, signal.SIGKILL)
    assert finish(first).code == -signal.SIGKILL
    kept = finished_segments(store)
    assert 2 <= len(kept) < SEGMENTS
    until(lambda: nodes(cluster) == 0)

    ran, most = await_end(cluster, render(cluster, *command))
    assert ran.report.output_sha256 == plain.output_sha256
    assert ran.report.segments_reused == len(kept)
    assert ran.report.workers_lost == 0
    assert 1 <= most <= MOST
    assert leftovers(tmp_path, ["film.mp4", "plain.mp4", "out.mp4"]) == []
    until(lambda: nodes(cluster) == 0)
