"""What `farm render` makes of its words about faces, and what it refuses before any work."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from PIL import Image

from core.records import JobSpec, SourceSpec
from farm.cli.parse import check_cast, selection, source_spec
from farm.places import absolute_spec
from tests.faces_assets import astronaut
from tests.media_clips import make_clip
from tests.system.runs import farm_here, leftovers


def test_selection() -> None:
    assert selection(None) == ("largest", None)
    assert selection("largest") == ("largest", None)
    assert selection("all") == ("all", None)
    assert selection("reference:a b/who.png") == ("reference", "a b/who.png")
    assert selection("reference:a:b.png") == ("reference", "a:b.png")
    for wrong in ("", "reference", "reference:", "All", "all:x", "who.png"):
        if wrong:
            with pytest.raises(typer.BadParameter, match="--select"):
                selection(wrong)


def test_sources() -> None:
    assert source_spec([], None) is None
    assert source_spec([Path("a"), Path("b")], 2) == SourceSpec("a", 2, ("b",))
    with pytest.raises(typer.BadParameter, match="--source-face needs --source"):
        source_spec([], 1)


def test_a_cast_says_who_becomes_whom() -> None:
    check_cast(None, "none", {"--source": [Path("a")], "--source-face": 1, "--select": "all"}, {"--detect-every": 2})
    check_cast(Path("cast.toml"), "mesh", {"--source": [], "--select": None}, {"--detect-every": None})


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--cast", "c", "--source", "s"], "--cast and --source exclude each other"),
        (["--cast", "c", "--source-face", "1"], "--cast and --source-face exclude each other"),
        (["--cast", "c", "--select", "largest"], "--cast and --select exclude each other"),
        (["--cast", "c", "--detect-every", "7"], "--cast and --detect-every exclude each other: the film is analysed"),
        (["--cast", "c", "--detect-every", "1"], "--cast and --detect-every exclude each other"),
        (["--cast", "c", "--recogniser", "nosuch"], "--cast and --recogniser exclude each other"),
        (["--cast", "c", "--recogniser", "dlib_resnet"], "--cast and --recogniser exclude each other"),
        (["--cast", "c", "--swapper", "none"], "--cast and --swapper none exclude each other"),
        (["--select", "reference"], "--select reference needs an image"),
        (["--select", "some"], "write largest, all or reference:IMAGE"),
        (["--min-face", "-1"], "--min-face"),
        (["--min-face", "inf"], "--min-face"),
        (["--min-face", "nan"], "--min-face"),
        (["--detect-every", "0"], "--detect-every"),
        (["--detect-every", "1.5"], "--detect-every"),
    ],
)
def test_what_is_refused_before_any_work(tmp_path: Path, words: list[str], told: str) -> None:
    ran = farm_here("render", tmp_path / "film.mp4", "-o", tmp_path / "out.mp4", "--local", *words)
    assert ran.code == 2
    assert told in ran.error_line
    assert leftovers(tmp_path, []) == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--cast", "people/cast.toml"], "people/cast.toml"),
        (["--source", "face.png", "--select", "reference:who.png"], "who.png"),
        (["--source", "face.png", "--recogniser", "nobody"], "no embedder called 'nobody'"),
        (["--source", "face.png", "--detector", "nobody"], "no detector called 'nobody'"),
    ],
)
def test_the_words_reach_the_job(
    tmp_path: Path, clips: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], told: str
) -> None:
    film = make_clip("cfr_mp4", clips)
    Image.fromarray(astronaut()).save(tmp_path / "face.png")
    monkeypatch.chdir(tmp_path)
    ran = farm_here("render", film, "-o", "out.mp4", "--local", *words)
    assert ran.code == 2
    assert told in ran.error_line
    assert leftovers(tmp_path, ["face.png"]) == []


def test_the_paths_are_absolute_behind_the_border(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    spec = absolute_spec(JobSpec("film.mp4", "out.mp4", reference="who.png", cast="people/cast.toml"))
    assert spec.reference == str(tmp_path / "who.png")
    assert spec.cast == str(tmp_path / "people" / "cast.toml")
    assert absolute_spec(JobSpec("film.mp4", "out.mp4")).cast is None
