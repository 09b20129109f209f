"""Smart render from the command line: a film in which somebody is seen for a part of the time."""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path

import pytest
from PIL import Image

from core.media.compare import frame_hashes
from core.media.index import index_film
from core.media.smart import Copies
from core.media.stamp import stamp_of
from core.records import EncodeSpec, JobReport, JobSpec
from farm import stages
from farm.artifacts import open_store
from farm.assemble import assemble
from farm.castings import nobody
from farm.desk import Clock, Desk, make_pool
from farm.progress import StderrProgress
from farm.settings import RunOptions, load_settings
from tests.faces_assets import astronaut
from tests.media_clips import ffmpeg, make_clip, picture
from tests.system.runs import farm_here

SEEN = range(25, 50)  # the frames with a face
FRAMES = 75


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`film.mp4`: a second without a face, one with, one without; a keyframe a second. `face.png`, `other.png`."""
    made = tmp_path_factory.mktemp("smart")
    Image.fromarray(astronaut()).save(made / "face.png")
    ffmpeg("-i", made / "face.png", "-vf", "hflip", made / "other.png")
    still = ["-loop", "1", "-framerate", "25", "-t", "1", "-i", made / "face.png"]
    plain = [*picture(1, "256x256"), *picture(1, "256x256")]
    joined = "[1:v]scale=256:256,setsar=1,format=yuv420p[f];[0:v][f][2:v]concat=n=3:v=1,format=yuv420p"
    encoder = ["-c:v", "libx264", "-preset", "veryfast", "-x264-params", "keyint=25:min-keyint=25:scenecut=0"]
    ffmpeg(*plain[:4], *still, *plain[4:], "-filter_complex", joined, *encoder, made / "film.mp4")
    return made


def render(folder: Path, output: Path, *more: str | Path) -> JobReport:
    film = folder / "film.mp4"
    command = ("render", film, "--local", "--json", "--segment-seconds", "1", "-o", output)
    if "--source" not in more:
        more = ("--source", folder / "face.png", *more)
    return farm_here(*command, *more).report


def test_segments_without_faces_are_copied(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    report = render(folder, output, "--keep")
    assert (report.frames, report.segments, report.segments_copied) == (FRAMES, 3, 2)
    assert report.frames_replaced == len(SEEN)
    assert {"copied packets", "copied frames"} <= {check.name for check in report.checks if check.ok}
    film = folder / "film.mp4"
    before, after = (frame_hashes(path, index_film(path)) for path in (film, output))
    assert [a == b for a, b in zip(before, after, strict=True)] == [number not in SEEN for number in range(FRAMES)]
    again = render(folder, output, "--keep", "--source", folder / "other.png")
    assert (again.segments_rendered, again.segments_reused, again.segments_copied) == (1, 2, 2)
    assert again.segments_analysed == 0


@pytest.mark.heavy
def test_without_it_every_segment_is_encoded(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    report = render(folder, output, "--no-smart", "--crf", "40")
    assert (report.segments, report.segments_copied) == (3, 0)
    film = folder / "film.mp4"
    before, after = (frame_hashes(path, index_film(path)) for path in (film, output))
    assert not any(a == b for a, b in zip(before, after, strict=True))


@pytest.mark.heavy
def test_another_codec_is_told(folder: Path, tmp_path: Path) -> None:
    report = render(folder, tmp_path / "out.mp4", "--codec", "hevc", "--preset", "ultrafast")
    assert report.segments_copied == 0
    told = "2 of 2 segments in which nobody is replaced are encoded, not copied: the picture becomes hevc"
    assert told in report.notes


def test_the_whole_path_is_taken_where_nobody_is_to_be_replaced(folder: Path, tmp_path: Path) -> None:
    film = folder / "film.mp4"
    done = farm_here("render", film, "--local", "--json", "--swapper", "none", "-o", tmp_path / "out.mp4")
    assert done.report.segments_copied == 0


def test_copies_that_do_not_verify_are_encoded(clips: Path, tmp_path: Path) -> None:
    """Copies of an open GOP, which core.media.smart would not choose: frames lie beyond the next segment's first."""
    film_path = make_clip("open_gop_mp4", clips)
    output = tmp_path / "out.mp4"
    spec = JobSpec(str(film_path), str(output), encode=EncodeSpec(None, 30, "ultrafast"), segment_s=Fraction(0))
    run, settings, progress = RunOptions(local=True), load_settings(), StderrProgress(sys.stderr)
    with open_store(tmp_path / "store") as store:
        pool = make_pool(run, settings)
        desk = Desk(store, pool, Clock(progress), "code", stop_on_damage=True)
        film = stages.index_stage(store, film_path, code="code")
        assert film.stamp == stamp_of(film_path)
        plan = stages.plan_stage(store, film, spec)
        made = assemble(film, plan, nobody(plan.segments), desk, Copies(frozenset({1, 2})))
        assert len(made.notes) == 1
        assert "did not verify with copied packets" in made.notes[0]
        assert not any(receipt.copied for receipt in made.receipts)
        assert made.checks.ok
        assert made.reused == 0
        assert index_film(made.joined).frames == film.index.frames
        pool.close()
