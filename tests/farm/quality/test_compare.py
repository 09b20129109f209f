"""`farm compare` and the report of a job, on a film whose face was replaced by the embedded swapper."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core import codec
from core.errors import InputError
from core.records import JobSpec, PersonQuality, QualityReport, SourceSpec
from farm import stages
from farm.artifacts import open_store
from farm.castings import nobody
from farm.castjob import cast_film
from farm.desk import Clock, Desk, make_pool
from farm.driver import measure
from farm.progress import StderrProgress
from farm.quality.job import PAGE, REPORT, default_folder, doubts_of_job, quality_of_job
from farm.settings import RunOptions, load_settings
from farm.sources import Eyes
from farm.versions import code_hash
from tests.faces_assets import astronaut, carphone_clip, model_cache
from tests.media_clips import ffmpeg
from tests.system.runs import farm_here

FRAMES = 20


@dataclass(frozen=True)
class Pair:
    film: Path
    swapped: Path
    source: Path


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    model_cache()
    folder = tmp_path_factory.mktemp("pair")
    source = folder / "astronaut.png"
    Image.fromarray(astronaut()).save(source)
    film, swapped = carphone_clip(folder, frames=FRAMES), folder / "swapped.mp4"
    ran = farm_here("render", film, "-o", swapped, "--source", source, "--local", "--crf", "14", "--quality", "--json")
    page = default_folder(swapped) / PAGE
    assert (ran.report.quality, f"how good it is: {page}" in ran.err) == (str(page), True)
    made = codec.decode((page.parent / REPORT).read_bytes(), QualityReport)
    assert (made.people[0].replaced, made.people[0].wanted) == (FRAMES, FRAMES)
    return Pair(film, swapped, source)


@pytest.fixture(scope="session")
def compared(pair: Pair) -> QualityReport:
    ran = farm_here("compare", pair.film, pair.swapped, "--source", pair.source, "--json")
    assert ran.code == 0, ran.err
    folder = default_folder(pair.swapped)
    assert (folder / REPORT).read_bytes() == ran.out.strip().encode()
    assert sorted(entry.name for entry in folder.iterdir()) == sorted([PAGE, REPORT])
    assert f"replaced in {FRAMES} of {FRAMES} frames" in ran.err
    return codec.decode(ran.out.encode(), QualityReport)


def only(report: QualityReport) -> PersonQuality:
    assert len(report.people) == 1
    return report.people[0]


def test_a_replaced_face_looks_like_the_source(compared: QualityReport) -> None:
    one = only(compared)
    assert one.sources == ("astronaut.png",)
    assert (one.present, one.replaced, one.coverage) == (FRAMES, FRAMES, 1)
    assert one.to_source is not None
    assert one.before is not None
    assert one.to_original is not None
    assert one.to_source.mean < compared.same_person < one.before.mean
    assert one.to_original.mean > compared.same_person
    assert one.source_similarity is not None
    assert one.original_similarity is not None
    assert 0.5 < one.source_similarity < 0.8
    assert one.original_similarity < 0.5


def test_it_keeps_the_pose_and_the_expression_and_is_steady(compared: QualityReport) -> None:
    one = only(compared)
    for name, most in (("yaw_deg", 5), ("pitch_deg", 7), ("roll_deg", 2), ("shift", 0.03), ("growth", 0.04)):
        spread = getattr(one, name)
        assert spread.count == FRAMES
        assert 0 < spread.mean < most, name
    assert one.expression is not None
    assert one.expression < 0.02
    assert one.mouth is not None
    assert one.mouth.mean < 0.06
    assert one.flicker is not None
    assert 0.6 < one.flicker < 1.4


def test_nothing_else_was_changed(compared: QualityReport) -> None:
    outside = compared.outside
    assert outside.psnr_db is not None
    assert outside.psnr_db > 42
    assert outside.mean < 1
    assert "not replaced" not in {moment.reason for moment in compared.moments}


def test_the_page_shows_it(compared: QualityReport, pair: Pair) -> None:
    page = (default_folder(pair.swapped) / PAGE).read_text()
    assert "became astronaut.png" in page
    assert page.count("<polyline") > 8
    assert page.count("data:image/jpeg") == 1 + len(compared.moments)


def test_frames_given_back_are_found(pair: Pair, tmp_path: Path) -> None:
    """Five frames of the original in between: not replaced, and told with their time."""
    spoilt = tmp_path / "spoilt.mp4"
    mixed = "[1][0]overlay=enable='between(n,8,12)'"
    ffmpeg("-i", pair.film, "-i", pair.swapped, "-filter_complex", mixed, "-an", "-crf", "12", spoilt)
    ran = farm_here("compare", pair.film, spoilt, "-o", tmp_path / "report", "--json")
    report = codec.decode(ran.out.encode(), QualityReport)
    one = only(report)
    assert np.flatnonzero(~one.series.replaced).tolist() == [8, 9, 10, 11, 12]
    assert one.coverage == pytest.approx((FRAMES - 5) / FRAMES)
    assert one.to_source is None
    missed = [moment for moment in report.moments if moment.reason == "not replaced"]
    assert [moment.frame for moment in missed] == [8]
    assert f"../spoilt.mp4#t={missed[0].time_s:.3f}" in (tmp_path / "report" / PAGE).read_text()


def test_an_analysis_is_not_made_again(pair: Pair, compared: QualityReport, tmp_path: Path) -> None:
    analysed = farm_here("analyse", pair.film, "-o", tmp_path / "cast", "--local")
    assert analysed.code == 0, analysed.err
    arguments = ("--cast", tmp_path / "cast", "--source", pair.source, "-o", tmp_path / "report", "--json")
    ran = farm_here("compare", pair.film, pair.swapped, *arguments)
    assert "analyse" not in ran.err
    report = codec.decode(ran.out.encode(), QualityReport)
    assert codec.encode(report.people) == codec.encode(compared.people)


def test_a_job_is_measured_by_its_own_faces(pair: Pair, compared: QualityReport, tmp_path: Path) -> None:
    settings = load_settings()
    output = tmp_path / "made.mp4"
    output.hardlink_to(pair.swapped)
    spec = JobSpec(str(pair.film), str(output), SourceSpec(str(pair.source)))
    progress = StderrProgress((tmp_path / "progress").open("w"))
    with open_store(tmp_path / "store", "test") as store:
        pool = make_pool(RunOptions(local=True), settings)
        desk = Desk(store, pool, Clock(progress), code_hash(), stop_on_damage=True)
        film = stages.index_stage(store, pair.film, code=desk.code)
        eyes = Eyes(settings.model_cache, 1, spec.detector)
        casting = cast_film(spec, film, desk, settings, eyes)
        assert doubts_of_job(film, casting, store) == ()
        report = quality_of_job(film, spec, casting, store, settings)
        pool.close()
    one, other = only(report), only(compared)
    assert (one.present, one.wanted, one.replaced, one.coverage) == (FRAMES, FRAMES, FRAMES, 1)
    assert one.sources == other.sources
    assert one.to_source is not None
    assert other.to_source is not None
    assert one.to_source.mean == pytest.approx(other.to_source.mean, abs=1e-6)
    assert (default_folder(output) / PAGE).exists()


def test_where_the_report_fails_it_is_told_how_to_have_it(pair: Pair, tmp_path: Path) -> None:
    progress = StderrProgress((tmp_path / "progress").open("w"))
    output, cast = str(tmp_path / "my film.mp4"), str(tmp_path / "film.cast" / "cast.toml")
    run, settings = RunOptions(local=True), load_settings()
    with open_store(tmp_path / "store", "test") as store:
        desk = Desk(store, make_pool(run, settings), Clock(progress), code_hash(), stop_on_damage=True)
        film = stages.index_stage(store, pair.film, code=desk.code)
        for spec, known in (
            (JobSpec(str(pair.film), output, cast=cast), f" --cast {cast}"),
            (JobSpec(str(pair.film), output, SourceSpec(str(pair.source))), ""),
        ):
            with pytest.raises(InputError, match="finished and verified, but not its quality report") as caught:
                measure(spec, film, nobody(()), store, run, settings)
            assert caught.value.hint == f"run farm compare {pair.film} '{output}'{known}"
        desk.pool.close()


def test_films_that_cannot_be_compared(pair: Pair, tmp_path: Path) -> None:
    shorter, smaller, text = tmp_path / "shorter.mkv", tmp_path / "smaller.mkv", tmp_path / "text.mp4"
    ffmpeg("-i", pair.swapped, "-an", "-frames:v", "7", shorter)
    ffmpeg("-i", pair.swapped, "-an", "-vf", "scale=224:184", smaller)
    text.write_text("no film")
    for made, told in (
        (shorter, f"have {FRAMES} and 7 frames"),
        (smaller, "448x368 and 224x184 pixels"),
        (text, "text.mp4"),
        (tmp_path / "nothing.mp4", "nothing.mp4"),
    ):
        ran = farm_here("compare", pair.film, made, "-o", tmp_path / "report")
        assert ran.code == 2, ran.err
        assert told in ran.err.splitlines()[-1]
        assert not (tmp_path / "report").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--source-face", "1"), "--source-face needs --source"),
        (("--cast", "{tmp}/cast.toml"), "no analysis in this folder"),
        (("--cast", "{tmp}/nothing"), "no analysis in this folder"),
        (("-o", "{tmp}/full"), "not empty, and not the folder of a report"),
        (("-o", "{tmp}/full/note.txt"), "is a file, not a folder"),
        (("-o", "{tmp}/no/where"), "folder does not exist"),
        (("--source", "{tmp}/full/note.txt"), "note.txt"),
        (("--every", "0"), "--every"),
    ],
)
def test_options_that_cannot_be(pair: Pair, tmp_path: Path, arguments: tuple[str, ...], told: str) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note.txt").write_text("kept")
    named = [argument.format(tmp=tmp_path) for argument in arguments]
    where = [] if "-o" in named else ["-o", tmp_path / "report"]
    ran = farm_here("compare", pair.film, pair.swapped, *named, *where)
    assert ran.code == 2, ran.err
    assert told in ran.err.splitlines()[-1]
    assert (tmp_path / "full" / "note.txt").read_text() == "kept"
    assert not (tmp_path / "report").exists()


def test_a_film_without_faces(tmp_path: Path) -> None:
    film = tmp_path / "nobody.mkv"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=160x120:r=25:d=0.3", "-c:v", "ffv1", film)
    ran = farm_here("compare", film, film, "--json")
    report = codec.decode(ran.out.encode(), QualityReport)
    assert report.people == ()
    assert report.outside.psnr_db is None
    assert "no face was found in the original" in report.notes
    assert "No face was found" in (default_folder(film) / PAGE).read_text()
