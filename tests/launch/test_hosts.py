"""A farm of several hosts, by `ray up` and `ray submit` with the repository's cluster file as it is.

Each host has a network, processes and an SSH server of its own (tests.launch.hosts); one is cut off in the middle of a
job, another loses its power. What `ray job submit` runs is the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.actors.films import make_film
from tests.chaos.begins import begun_again
from tests.launch.cluster import Cluster, config_file, done
from tests.launch.hosts import Machine, Network, network
from tests.launch.test_submit import OPTIONS, report
from tests.system.runs import Ran, finished_segments, leftovers, start

pytestmark = pytest.mark.heavy

SEGMENTS = 60
COME_S = 300.0
RENDERERS = 5  # of six cores: some on every machine
JOB_S = 900.0  # machines that are gone are missed after a minute or so


@pytest.fixture(scope="module")
def net() -> Iterator[Network]:
    with network(3) as made:
        yield made


@pytest.fixture(scope="module")
def cluster(net: Network) -> Cluster:
    head, *workers = net.machines
    file = config_file(head.host, head.address, [machine.address for machine in workers], {})
    made = Cluster(head.host, file, net.client)
    made.up()
    until(lambda: all(names(machine, "raylet") for machine in workers), COME_S)
    return made


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_film(tmp_path_factory.mktemp("film") / "film.mp4", seconds=SEGMENTS, size="384x288")


@pytest.fixture(scope="module")
def plain(target: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The hash of the film that one process makes."""
    output = tmp_path_factory.mktemp("plain") / "plain.mp4"
    process = start("render", target, "-o", output, "--local", "--json", *OPTIONS)
    told, said = process.communicate(timeout=JOB_S)
    return Ran(process.returncode, told, said).report.output_sha256


def names(machine: Machine, prefix: str) -> list[psutil.Process]:
    """The processes of a machine whose name begins so."""
    return [process for process in machine.processes() if name(process).startswith(prefix)]


def name(process: psutil.Process) -> str:
    try:
        return str(process.name())
    except psutil.Error:
        return ""


def until(condition: Callable[[], bool], within_s: float) -> None:
    end_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end_s, "it did not happen in time"
        time.sleep(0.5)


def test_a_job_of_the_cluster_runs_once(cluster: Cluster, target: Path, plain: str, tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    words = ["python", "-m", "farm.cli.main", "render", target, "-o", output, "--address", "auto", "--json", *OPTIONS]
    command = f"ray job submit --submission-id tonight -- {' '.join(map(str, words))}"
    assert plain in done(cluster.ray("exec", cluster.file, command))
    before = output.stat()
    again = cluster.ray("exec", cluster.file, command)
    told, _ = again.communicate(timeout=JOB_S)
    assert again.returncode != 0
    assert "tonight already exists" in told
    assert output.stat() == before


def test_machines_that_go_cost_time_and_nothing_else(
    net: Network, cluster: Cluster, target: Path, plain: str, tmp_path: Path
) -> None:
    _, cut, dead = net.machines
    output, store = tmp_path / "out.mp4", tmp_path / "out.mp4.farm"
    process = cluster.submit(
        target,
        "-o",
        output,
        "--address",
        "auto",
        "--workers",
        str(RENDERERS),
        "--keep",
        "--json",
        "--log-json",
        *OPTIONS,
    )
    until(lambda: all(names(machine, "ray::Renderer") for machine in (cut, dead)) or process.poll() is not None, COME_S)
    until(lambda: len(finished_segments(store)) >= 2 or process.poll() is not None, COME_S)
    assert process.poll() is None, process.communicate()[0]
    before = finished_segments(store)
    seen = dict.fromkeys(before, time.time())
    cut.cut_off()
    until(lambda: len(finished_segments(store)) > len(before) + 1 or process.poll() is not None, COME_S)
    dead.off()
    told, _ = process.communicate(timeout=JOB_S)
    assert process.returncode == 0, told
    made = report(told)
    assert made.output_sha256 == plain
    assert made.segments_rendered == SEGMENTS
    after = finished_segments(store)
    assert {order: after[order] for order in before} == before
    # A machine that is cut off is missed after a minute, and by then copies may have ended the job: that something was
    # lost on both is seen by what was begun once more.
    assert told.count('"event": "begin"') >= SEGMENTS + 2, f"{made.workers_lost} renderers were lost"
    assert begun_again(told.replace("\r", ""), seen) == [], "a finished segment was given away again"
    assert leftovers(tmp_path, [output.name, store.name]) == []


def test_ray_down_ends_ray_on_the_head_and_the_others_follow(net: Network, cluster: Cluster) -> None:
    head, cut, _ = net.machines
    cut.plug_in()
    assert names(head, "gcs_server")
    cluster.down()
    assert not names(head, "raylet")
    until(lambda: not names(cut, "raylet"), COME_S)
