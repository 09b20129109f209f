"""`farm analyse` as a person meets it: once, whole, in one folder, whatever happens."""

from __future__ import annotations

import os
import resource
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from core.records import AnalysisReceipt
from farm.analysis import folder_store, load_analysis
from farm.castdir import open_folder
from tests.actors.films import make_film
from tests.faces_assets import slow_carphone
from tests.media_damage import make_damaged
from tests.system.runs import Ran, farm, farm_here, finish, leftovers, start, wait_for


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return slow_carphone(tmp_path_factory.mktemp("film") / "film.mp4", seconds=30)


@pytest.fixture(scope="module")
def plain(target: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The film's analysis in a folder, made without disturbance."""
    folder = tmp_path_factory.mktemp("plain") / "film.cast"
    report = analysed("analyse", target, "-o", folder, "--local")
    assert (report["segments"], report["segments_reused"], report["faces"]) == (5, 0, 120)
    return folder


def analysed(*command: str | Path) -> Any:
    """The report of a run that succeeds."""
    ran = farm_here(*command, "--json")
    assert ran.code == 0, ran.err
    return ran.json


def refused(ran: Ran, word: str, code: int = 2) -> None:
    assert ran.code == code, ran.err
    assert word in ran.error_line
    assert ran.out == ""


def finished(folder: Path) -> dict[str, int]:
    """Order id -> inode of its record, of every segment that was analysed."""
    return {done.parent.name: done.stat().st_ino for done in folder.glob("store/analysis/*/DONE.json")}


def files_in(folder: Path) -> list[Path]:
    """All but the lists of what a job uses."""
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and "jobs" not in path.parts)


def hashes(folder: Path, report: Any) -> list[tuple[str, str]]:
    return [(one.sha256, one.shots_sha256) for one in load_analysis(folder, report["film_sha256"]).receipts]


@pytest.mark.heavy
def test_killed_and_run_again_nothing_is_done_twice(target: Path, plain: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out.cast"
    command = ("analyse", target, "-o", folder, "--local", "--json")
    first = start(*command)
    wait_for(lambda: len(finished(folder)) >= 1, first)
    os.kill(first.pid, signal.SIGKILL)
    assert finish(first).code == -signal.SIGKILL
    kept = finished(folder)
    assert 1 <= len(kept) <= 5
    assert not (folder / "analysis.json").exists()
    ran = farm(*command)
    assert ran.code == 0, ran.err
    assert (ran.json["segments_reused"], ran.json["segments_analysed"]) == (len(kept), 5 - len(kept))
    assert {order: finished(folder)[order] for order in kept} == kept
    assert hashes(folder, ran.json) == hashes(plain, ran.json)
    assert leftovers(folder, ["analysis.json", "store"]) == []
    assert not (folder / "store" / "tmp").exists()
    again = analysed(*command[:-1])
    assert (again["segments_reused"], again["segments_analysed"]) == (5, 0)


@pytest.mark.heavy
def test_interrupted_it_says_so_and_keeps_what_is_finished(target: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out.cast"
    process = start("analyse", target, "-o", folder, "--local")
    wait_for(lambda: len(finished(folder)) >= 1, process)
    os.kill(process.pid, signal.SIGINT)
    ran = finish(process)
    kept = finished(folder)
    if (folder / "analysis.json").exists():  # the signal came after the last segment
        assert len(kept) == 5
    else:
        assert ran.code == 130, ran.err
        assert "run the same command again to resume" in ran.error_line
    assert set(kept) <= {path.name for path in (folder / "store" / "analysis").iterdir()}
    assert analysed("analyse", target, "-o", folder, "--local")["segments_reused"] == len(kept)


@pytest.mark.heavy
def test_two_workers_on_ray_find_the_same(target: Path, plain: Path, tmp_path: Path) -> None:
    ran = farm("analyse", target, "-o", tmp_path / "ray.cast", "--workers", "2", "--json")
    assert ran.code == 0, ran.err
    assert ran.json["workers"] == 2
    assert hashes(tmp_path / "ray.cast", ran.json) == hashes(plain, ran.json)


def test_the_folder_is_beside_the_film_unless_named(clips: Path, tmp_path: Path) -> None:
    film = shutil.copy(make_film(clips / "meadow.mp4", seconds=2), tmp_path / "film.v2.mp4")
    ran = farm_here("analyse", film, "--local")
    assert ran.code == 0, ran.err
    assert (tmp_path / "film.v2.cast" / "analysis.json").is_file()
    assert f"{tmp_path / 'film.v2.cast'}: 50 frames, 0 faces in 0 of them, 1 segments analysed" in ran.err
    assert ran.out == ""


def test_a_film_without_faces_is_an_analysis_too(clips: Path, tmp_path: Path) -> None:
    film = make_film(clips / "meadow.mp4", seconds=2)
    folder = tmp_path / "meadow.cast"
    report = analysed("analyse", film, "-o", folder, "--local")
    assert (report["faces"], report["frames_with_faces"], report["frames"]) == (0, 0, 50)
    assert report["notes"] == ["no face was found in the film"]
    (receipt,) = load_analysis(folder, report["film_sha256"]).receipts
    assert isinstance(receipt, AnalysisReceipt)
    assert folder_store(folder).exists(receipt.file)


def test_another_way_of_looking_goes_beside_the_first_one(target: Path, plain: Path, tmp_path: Path) -> None:
    folder = tmp_path / "film.cast"
    shutil.copytree(plain, folder)
    command = ("analyse", target, "-o", folder, "--local")
    rarely = analysed(*command, "--detect-every", "4")
    assert (rarely["segments_analysed"], rarely["detect_every"], rarely["faces"]) == (5, 4, 30)
    before = analysed(*command)
    assert (before["segments_reused"], before["detect_every"]) == (5, 1)
    assert hashes(folder, before) == hashes(plain, before)


def test_what_cannot_be_is_refused_in_one_line(target: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out.cast"
    (tmp_path / "notes.txt").write_text("not a film")
    where = ("-o", folder, "--local")
    refused(farm_here("analyse", target, *where, "--detector", "eyes"), "no detector called 'eyes'")
    refused(farm_here("analyse", target, *where, "--detector", "dlib_resnet"), "no detector called 'dlib_resnet'")
    refused(farm_here("analyse", target, *where, "--recogniser", "ears"), "no embedder called 'ears'")
    refused(farm_here("analyse", target, *where, "--recogniser", "w600k_r50"), "w600k_r50")
    for wrong in ("0", "-3", "31", "two"):
        refused(farm_here("analyse", target, *where, "--detect-every", wrong), "--detect-every")
    refused(farm_here("analyse", target, *where, "--workers", "2"), "--local")
    refused(farm_here("analyse", target, *where, "--device", "abacus"), "--device")
    refused(farm_here("analyse", tmp_path / "absent.mp4", *where), "absent.mp4")
    refused(farm_here("analyse", tmp_path / "notes.txt", *where), "notes.txt")
    refused(farm_here("analyse", tmp_path, *where), str(tmp_path))
    refused(farm_here("analyse", target, "-o", tmp_path / "notes.txt", "--local"), "is a file, not a folder")
    refused(farm_here("analyse", target, "-o", tmp_path, "--local"), "not the folder of a cast")
    refused(farm_here("analyse", target, "-o", tmp_path / "a" / "b", "--local"), "does not exist")
    refused(farm_here("analyse", target, "-o", target, "--local"), "is a file, not a folder")
    assert (tmp_path / "notes.txt").read_text() == "not a film"
    assert leftovers(tmp_path, ["notes.txt"]) == []


def test_the_folder_of_another_film_is_left_alone(plain: Path, clips: Path, tmp_path: Path) -> None:
    folder = tmp_path / "film.cast"
    shutil.copytree(plain, folder)
    before = files_in(folder)
    refused(
        farm_here("analyse", make_film(clips / "meadow.mp4", seconds=2), "-o", folder, "--local"),
        "this folder is the cast of another film; name another folder with -o",
    )
    assert files_in(folder) == before


def test_two_runs_never_work_in_one_folder(target: Path, plain: Path) -> None:
    with open_folder(plain):
        refused(farm_here("analyse", target, "-o", plain, "--local"), "another run works on this")
    assert analysed("analyse", target, "-o", plain, "--local")["segments_reused"] == 5


@pytest.mark.parametrize("name", ["cut_faststart_mp4", "cut_h264_ts"])
def test_a_damaged_film_fails_by_name_or_keeps_its_timeline(name: str, clips: Path, tmp_path: Path) -> None:
    film = make_damaged(name, clips)
    command = ("analyse", film, "-o", tmp_path / "out.cast", "--local")
    ran = farm_here(*command)
    refused(ran, "--on-damage keep")
    assert "frame " in ran.error_line
    kept = analysed(*command, "--on-damage", "keep")
    assert kept["damage"][0]["frame"] == int(ran.error_line.split("frame ")[1].split()[0])
    refused(farm_here(*command), "--on-damage keep")


@pytest.mark.heavy
def test_a_full_disk_is_exit_code_4_and_the_next_run_goes_on(target: Path, plain: Path, tmp_path: Path) -> None:
    largest = max(path.stat().st_size for path in plain.rglob("*.parquet"))

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest - 1, largest - 1))

    command = ("analyse", target, "-o", tmp_path / "out.cast", "--local", "--json")
    refused(farm(*command, preexec_fn=small_files), "disk is full", code=4)
    assert not (tmp_path / "out.cast" / "analysis.json").exists()
    kept = finished(tmp_path / "out.cast")
    ran = farm(*command)
    assert ran.code == 0, ran.err
    assert ran.json["segments_reused"] == len(kept)
    assert hashes(tmp_path / "out.cast", ran.json) == hashes(plain, ran.json)
