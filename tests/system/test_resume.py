"""Law 4, on a real Ray: any process may be killed at any instant, and the same command goes on.

The driver is killed with SIGKILL after two segments; the same command then reuses what was finished. While it runs,
one of its renderers is killed with SIGKILL. The film is, byte for byte, the one that an undisturbed run in one
process makes, and nothing of the first run is rendered again.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
import pytest

from tests.actors.films import make_film
from tests.system.runs import farm, finish, finished_segments, leftovers, start, wait_for

FILM_S = 11  # and so many segments
OPTIONS = ("--swapper", "none", "--segment-seconds", "1", "--preset", "slower", "--crf", "24", "--json")


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_film(tmp_path_factory.mktemp("film") / "film.mp4", seconds=FILM_S, size="384x288")


def renderers(driver: int) -> list[psutil.Process]:
    """The renderer actors of the Ray that `driver` started."""
    return [
        child for child in psutil.Process(driver).children(recursive=True) if child.name().startswith("ray::Renderer")
    ]


@pytest.mark.heavy
def test_kill_the_driver_then_a_renderer(target: Path, tmp_path: Path) -> None:
    plain = farm("render", target, "-o", tmp_path / "plain.mp4", "--local", *OPTIONS).report
    assert plain.segments == FILM_S

    output = tmp_path / "out.mp4"
    store = tmp_path / "out.mp4.farm"
    command = ("render", target, "-o", output, "--workers", "2", *OPTIONS)
    first = start(*command)
    wait_for(lambda: len(finished_segments(store)) >= 2, first)
    family = psutil.Process(first.pid).children(recursive=True)
    os.kill(first.pid, signal.SIGKILL)
    assert finish(first).code == -signal.SIGKILL
    assert not output.exists()
    # What renders dies with its driver. (Two idle agents of Ray stay a minute longer; see actors.pool.)
    workers = [child for child in family if child.is_running() and "Agent" not in name(child)]
    _, alive = psutil.wait_procs(workers, timeout=30)
    assert not alive
    kept = finished_segments(store)
    assert 2 <= len(kept) < FILM_S

    second = start(*command)
    wait_for(lambda: len(finished_segments(store)) > len(kept), second)
    renderers(second.pid)[0].kill()
    after = {}

    def ended() -> bool:
        after.update(finished_segments(store))
        return second.poll() is not None

    wait_for(ended, second)
    report = finish(second).report
    assert report.segments_reused == len(kept)
    assert report.segments_rendered == FILM_S - len(kept)
    assert report.workers_lost == 1
    assert report.workers == 2
    assert {order: after[order] for order in kept} == kept, "a finished segment was rendered again"
    assert report.output_sha256 == plain.output_sha256
    assert output.read_bytes() == (tmp_path / "plain.mp4").read_bytes()
    assert leftovers(tmp_path, ["plain.mp4", "out.mp4"]) == []


def name(process: psutil.Process) -> str:
    try:
        return str(process.name())
    except psutil.NoSuchProcess:
        return "Agent"


def test_ctrl_c_ends_a_local_run_in_one_line_and_the_next_goes_on(target: Path, tmp_path: Path) -> None:
    output, store = tmp_path / "out.mp4", tmp_path / "out.mp4.farm"
    command = ("render", target, "-o", output, "--local", *OPTIONS)
    first = start(*command)
    wait_for(lambda: len(finished_segments(store)) >= 2, first)
    os.kill(first.pid, signal.SIGINT)
    stopped = finish(first)
    assert stopped.code == 130
    assert stopped.error_line == "farm: stopped by SIGINT; run the same command again to resume"
    assert leftovers(tmp_path, ["out.mp4.farm"]) == []
    assert not (store / "tmp").exists()
    kept = len(finished_segments(store))
    report = farm(*command).report
    assert report.segments_reused == kept
    assert leftovers(tmp_path, ["out.mp4"]) == []


@pytest.mark.heavy
def test_a_signal_ends_a_run_on_ray_in_one_line_with_no_process_left(target: Path, tmp_path: Path) -> None:
    first = start("render", target, "-o", tmp_path / "out.mp4", "--workers", "3", *OPTIONS)
    wait_for(lambda: len(finished_segments(tmp_path / "out.mp4.farm")) >= 1, first)
    family = psutil.Process(first.pid).children(recursive=True)
    assert sum(child.name().startswith("ray::Renderer") for child in family) == 3
    os.kill(first.pid, signal.SIGTERM)
    stopped = finish(first)
    assert stopped.code == 130
    assert stopped.error_line == "farm: stopped by SIGTERM; run the same command again to resume"
    _, alive = psutil.wait_procs(family, timeout=20)
    assert not alive
    assert leftovers(tmp_path, ["out.mp4.farm"]) == []
