"""Bad input gets one clear line, the right exit code, and leaves nothing behind."""

from __future__ import annotations

import resource
import shutil
import socket
from pathlib import Path

import pytest
from PIL import Image

from tests.media_clips import make_clip
from tests.media_damage import HOSTILE, make_damaged
from tests.system.runs import Ran, farm, farm_here, leftovers

# One of each: cut or flipped, with and without an index at the front, with B-frames, with intra frames only.
KINDS = (
    "cut_faststart_mp4",
    "cut_h264_mkv",
    "cut_h264_ts",
    "flipped_cfr_mp4",
    "flipped_h264_mkv",
    "flipped_hevc_mp4",
    "flipped_prores_mov",
)
PLAIN = ("--swapper", "none", "--local", "--preset", "ultrafast")


@pytest.fixture
def target(clips: Path) -> Path:
    return make_clip("cfr_mp4", clips)


def refused(ran: Ran, folder: Path, *words: str, known: tuple[str, ...] = ()) -> None:
    """Exit code 2, one line with all `words`, no traceback, and only `known` in `folder`."""
    assert ran.code == 2, ran.err
    assert ran.out == ""
    line = ran.error_line
    for word in words:
        assert word in line, line
    assert leftovers(folder, known) == []


@pytest.mark.parametrize("name", sorted(HOSTILE.keys() - {"huge_vp9"}))
def test_what_is_no_film(name: str, clips: Path, tmp_path: Path) -> None:
    film = make_damaged(name, clips)
    refused(farm_here("render", film, "-o", tmp_path / "out.mp4", *PLAIN), tmp_path, str(film))
    refused(farm_here("probe", film), tmp_path, str(film))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("render", "{film}.gone", "-o", "{folder}/out.mp4", *PLAIN), ("no such file",)),
        (("render", "{folder}", "-o", "{folder}/out.mp4", *PLAIN), ("directory",)),
        (("render", "{film}", "-o", "{folder}/none/out.mp4", *PLAIN), ("folder does not exist", "create it")),
        (("render", "{film}", "-o", "{folder}", *PLAIN), ("is a folder",)),
        (("render", "{film}", "-o", "{folder}/out.xyz", *PLAIN), ("out.xyz",)),
        (("render", "{film}", "-o", "{film}", *PLAIN), ("the output is the target itself",)),
        (("render", "{film}", "-o", "{folder}/out.mp4"), ("no source face", "--source")),
        (("render", "{film}", "-o", "{folder}/out.mp4", "--source", "{folder}/gone.png"), ("gone.png",)),
        (("render", "{film}", "-o", "{folder}/out.mp4", "--source", "{film}"), ("{film}",)),
        (("render", "{film}", "-o", "{folder}/out.mp4", "--crf", "999", *PLAIN), ("999",)),
        (("render", "{film}", "-o", "{folder}/out.mp4", "--crf", "good", *PLAIN), ("--crf",)),
        (("render", "{film}", "-o", "{folder}/out.mp4", "--codec", "h999", *PLAIN), ("h999",)),
        (("render", "{film}", "-o", "{folder}/out.mp4", *PLAIN[:3], "--preset", "warp"), ("warp",)),
        (("render", "{film}", "-o", "{folder}/out.mp4", "--segment-seconds", "x", *PLAIN), ("number of seconds",)),
        (("render", "{film}", "-o", "{folder}/out.mp4", "--segment-seconds", "-1", *PLAIN), ("shorter",)),
        (("render", "{film}", "-o", "{folder}/out.mp4", "--workers", "0", *PLAIN), ("--workers",)),
        (("render", "{film}", "-o", "{folder}/out.mp4", "--swapper", "magic", "--local"), ("magic",)),
        (("render", "{film}", "-o", "{folder}/out.mp4", "--address", "auto", *PLAIN), ("--local", "clusters")),
        (("render", "{film}"), ("--output",)),
        (("render",), ("Missing argument", "farm render --help")),
        (("rendre", "{film}"), ("rendre", "farm --help")),
        (("verify", "{film}", "{folder}/gone.mp4"), ("gone.mp4", "no such file")),
        (("models", "check", "--cache", "{folder}"), ("farm models pull",)),
    ],
    ids=lambda value: " ".join(value)[:70] if isinstance(value, tuple) else None,
)
def test_usage_and_paths(arguments: tuple[str, ...], words: tuple[str, ...], target: Path, tmp_path: Path) -> None:
    values = {"film": str(target), "folder": str(tmp_path)}
    ran = farm_here(*(argument.format(**values) for argument in arguments))
    ran = Ran(ran.code, "" if arguments[0] == "models" else ran.out, ran.err)
    refused(ran, tmp_path, *(word.format(**values) for word in words))


def test_output_that_is_the_target_under_another_name(target: Path, tmp_path: Path) -> None:
    film = shutil.copy(target, tmp_path / "film.mp4")
    before = Path(film).read_bytes()
    (tmp_path / "soft.mp4").symlink_to(film)
    (tmp_path / "hard.mp4").hardlink_to(film)
    for name in ("soft.mp4", "hard.mp4", "film.mp4", "../" + tmp_path.name + "/film.mp4"):
        ran = farm_here("render", film, "-o", tmp_path / name, *PLAIN)
        refused(ran, tmp_path, "target itself", known=("film.mp4", "soft.mp4", "hard.mp4"))
    assert Path(film).read_bytes() == before


def test_a_source_without_a_face_and_an_unreadable_one(target: Path, tmp_path: Path) -> None:
    Image.new("RGB", (320, 240), (90, 120, 60)).save(tmp_path / "meadow.png")
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 this is no picture")
    known = ("meadow.png", "broken.jpg")
    for name, word in (("meadow.png", "no face"), ("broken.jpg", "broken.jpg")):
        ran = farm_here("render", target, "--source", tmp_path / name, "-o", tmp_path / "out.mp4", "--local")
        refused(ran, tmp_path, word, known=known)


@pytest.mark.parametrize("name", KINDS)
def test_a_damaged_film_fails_by_name_or_keeps_its_timeline(name: str, clips: Path, tmp_path: Path) -> None:
    film = make_damaged(name, clips)
    output = tmp_path / f"out{film.suffix}"
    command = ("render", film, "-o", output, "--swapper", "none", "--local", "--segment-seconds", "1")
    ran = farm_here(*command)
    assert ran.code == 2, ran.err
    assert "frame" in ran.error_line
    assert " s" in ran.error_line
    assert "--on-damage keep" in ran.error_line
    assert not output.exists()
    kept = farm_here(*command, "--on-damage", "keep", "--json")
    report = kept.report
    assert output.stat().st_size == report.output_bytes
    assert leftovers(tmp_path, [output.name]) == []
    named = int(ran.error_line.split("frame ")[1].split()[0])
    assert named == report.damage[0].frame


def test_what_an_earlier_run_made_survives_a_failure(clips: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    output.write_bytes(b"the film of last week")
    ran = farm_here("render", make_damaged("cut_faststart_mp4", clips), "-o", output, *PLAIN)
    refused(ran, tmp_path, "is damaged", known=("out.mp4",))
    assert output.read_bytes() == b"the film of last week"


def test_a_full_disk_is_exit_code_4_and_the_next_run_goes_on(target: Path, tmp_path: Path) -> None:
    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))

    command = ("render", target, "-o", tmp_path / "out.mp4", *PLAIN[:3], "--crf", "1", "--json")
    ran = farm(*command, preexec_fn=small_files)
    assert ran.code == 4, ran.err
    assert "cannot write" in ran.error_line
    assert leftovers(tmp_path, ["out.mp4.farm"]) == []
    assert farm(*command).report.frames == 75


def test_a_cluster_that_is_not_there_is_one_line(target: Path, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # a port at which nobody listens
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ran = farm_here("render", target, "-o", tmp_path / "out.mp4", *PLAIN[:2], "--address", address)
    assert ran.code == 4, ran.err
    assert f"nobody answers at {address}" in ran.error_line
    assert leftovers(tmp_path, ["out.mp4.farm"]) == []


def test_two_drivers_never_work_on_one_store(target: Path, tmp_path: Path) -> None:
    from farm.artifacts import open_store  # noqa: PLC0415

    with open_store(tmp_path / "out.mp4.farm"):
        ran = farm_here("render", target, "-o", tmp_path / "out.mp4", *PLAIN)
        refused(ran, tmp_path, "another run", known=("out.mp4.farm",))


def test_a_folder_with_other_things_in_it_is_no_store(target: Path, tmp_path: Path) -> None:
    precious = tmp_path / "home"
    (precious / "tmp").mkdir(parents=True)
    (precious / "tmp" / "thesis.txt").write_text("years of work")
    ran = farm_here("render", target, "-o", tmp_path / "out.mp4", "--store", precious, *PLAIN)
    refused(ran, tmp_path, "not a store", known=("home",))
    assert (precious / "tmp" / "thesis.txt").read_text() == "years of work"
