"""`ray up` and `ray submit` with the repository's own cluster file and script, through a real SSH server.

The head is this machine under a home of its own (tests.launch.sshd); what is typed, what travels and what starts is
what an operator has.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from core import codec
from core.records import JobReport
from tests.actors.films import make_film
from tests.launch.cluster import Cluster, alone, done
from tests.launch.sshd import ssh_host
from tests.system.runs import DEADLINE_S, farm, farm_here, finished_segments, leftovers, wait_for

OPTIONS = ("--swapper", "none", "--segment-seconds", "1", "--preset", "slower", "--crf", "24")
SEGMENTS = 10


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with ssh_host() as host:
        made = alone(host)
        told = made.up()
        assert "Ray runtime started." in told
        yield made


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_film(tmp_path_factory.mktemp("film") / "film.mp4", seconds=SEGMENTS, size="384x288")


@pytest.fixture(scope="module")
def plain(target: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The hash of the film that one process makes."""
    output = tmp_path_factory.mktemp("plain") / "plain.mp4"
    return farm("render", target, "-o", output, "--local", "--json", *OPTIONS).report.output_sha256


def report(told: str) -> JobReport:
    """The report among what the terminal of the far side showed; lines of its log (--log-json) begin with the time."""
    (line,) = [line for line in told.splitlines() if line.startswith('{"') and not line.startswith('{"time"')]
    return codec.decode(line.encode(), JobReport)


def drivers(cluster: Cluster) -> list[psutil.Process]:
    """Who runs the script on the head."""
    home = str(cluster.host.home / "render.py")
    return [process for process in cluster.host.processes() if home in process.cmdline()]


def test_a_job_in_a_file_whose_names_no_shell_would_leave_alone(
    cluster: Cluster, target: Path, plain: str, tmp_path: Path
) -> None:
    film = tmp_path / 'it\'s a $HOME; "film" & more (1).mp4'
    film.symlink_to(target)
    output = tmp_path / "the new film *.mp4"
    file = tmp_path / "job.json"
    assert farm_here("render", film, "-o", output, "--address", "auto", "--write-job", file, *OPTIONS).code == 0
    cluster.rsync_up(file, "~/job.json")
    made = report(done(cluster.submit("--job", "~/job.json", "--json")))
    assert (made.output, made.output_sha256) == (str(output), plain)
    assert made.segments_rendered == SEGMENTS
    assert leftovers(tmp_path, [film.name, output.name, file.name]) == []


@pytest.mark.heavy
def test_a_dropped_session_ends_the_driver_and_the_same_command_goes_on(
    cluster: Cluster, target: Path, plain: str, tmp_path: Path
) -> None:
    output, store = tmp_path / "out.mp4", tmp_path / "out.mp4.farm"
    command = (target, "-o", output, "--address", "auto", "--json", *OPTIONS)
    first = cluster.submit(*command)
    wait_for(lambda: len(finished_segments(store)) >= 2, first)
    running = drivers(cluster)
    assert running
    cluster.host.drop_connections()
    told, _ = first.communicate(timeout=DEADLINE_S)
    assert first.returncode != 0
    assert "closed" in told
    _, alive = psutil.wait_procs(running, timeout=30)
    assert not alive, "nobody is there who would read what it says"
    kept = finished_segments(store)
    assert 2 <= len(kept) < SEGMENTS
    assert not output.exists()
    assert not (store / "tmp").exists(), "it ended as after Ctrl-C"

    made = report(done(cluster.submit(*command)))
    assert made.segments_reused == len(kept)
    assert made.segments_rendered == SEGMENTS - len(kept)
    assert made.output_sha256 == plain
    assert leftovers(tmp_path, [output.name]) == []


@pytest.mark.heavy
def test_what_is_wrong_is_told_where_the_command_was_typed(cluster: Cluster, tmp_path: Path) -> None:
    process = cluster.submit(tmp_path / "none.mp4", "-o", tmp_path / "out.mp4", "--address", "auto", *OPTIONS)
    told, _ = process.communicate(timeout=DEADLINE_S)
    assert process.returncode != 0
    assert f"farm: {tmp_path / 'none.mp4'}: no such file" in told
