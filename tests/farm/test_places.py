"""Places: what may never be a store or an output is refused, and publishing leaves one whole file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.errors import InputError
from core.records import JobSpec, SourceSpec
from farm.artifacts import lock_file
from farm.places import (
    absolute_spec,
    check_output_place,
    check_store_place,
    holds_film,
    part_of,
    publish_copy,
    publish_film,
    store_place,
)
from tests.media_clips import make_clip
from tests.system.runs import farm_here, leftovers

PLAIN = ("--swapper", "none", "--local", "--preset", "ultrafast")


def test_publishing_replaces_whole_files_and_leaves_none_beside(tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    for content in (b"old", b"new"):
        finished = tmp_path / "joined"
        finished.write_bytes(content)
        publish_film(finished, output)
        assert output.read_bytes() == content
        assert [entry.name for entry in tmp_path.iterdir()] == ["out.mp4"]


def test_which_film_an_output_holds(tmp_path: Path) -> None:
    output, sha256 = tmp_path / "out.mp4", hashlib.sha256(b"film").hexdigest()
    assert not holds_film(output, sha256, 4)
    for content, same in ((b"film", True), (b"filn", False), (b"films", False)):
        output.write_bytes(content)
        assert holds_film(output, sha256, 4) == same


def test_publishing_across_file_systems_is_a_copy_that_appears_whole(tmp_path: Path) -> None:
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        other = tmp_path
    finished = other / f"farm-test-{os.getpid()}"
    try:
        finished.write_bytes(b"film" * 1000)
        publish_film(finished, tmp_path / "out.mp4")
    finally:
        finished.unlink(missing_ok=True)
    assert (tmp_path / "out.mp4").read_bytes() == b"film" * 1000
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.mp4"]


def test_the_output_place_is_tried_and_left_as_it_was(tmp_path: Path) -> None:
    target = tmp_path / "film.mp4"
    target.touch()
    check_output_place(tmp_path / "out.mp4", target)
    assert [entry.name for entry in tmp_path.iterdir()] == ["film.mp4"]
    for output in (target, tmp_path, tmp_path / "none" / "out.mp4"):
        with pytest.raises(InputError):
            check_output_place(output, target)
    with pytest.raises(InputError, match="cannot be written"):
        check_output_place(Path("/proc/out.mp4"), target)


def test_a_part_that_a_killed_run_left_is_swept_and_one_being_written_is_not(tmp_path: Path) -> None:
    output, finished = tmp_path / "out.mp4", tmp_path / "joined"
    part_of(output).write_bytes(b"half a film, longer than the next")
    check_output_place(output, tmp_path / "film.mp4")
    assert list(tmp_path.iterdir()) == []
    part_of(output).write_bytes(b"half a film, longer than the next")
    finished.write_bytes(b"film")
    publish_copy(finished, output)
    assert output.read_bytes() == b"film"
    assert leftovers(tmp_path, ["joined", "out.mp4"]) == []
    handle = lock_file(part_of(output))
    assert handle is not None
    for attempt in (check_output_place, publish_copy):
        first, second = (output, finished) if attempt is check_output_place else (finished, output)
        with pytest.raises(InputError, match="another run writes this output"):
            attempt(first, second)
    assert part_of(output).exists()
    os.close(handle)


def test_names_that_no_file_can_have(tmp_path: Path) -> None:
    target = tmp_path / "film.mp4"
    with pytest.raises(InputError, match="too long"):
        check_output_place(tmp_path / ("o" * 300 + ".mp4"), target)
    (tmp_path / "loop.mp4").symlink_to("loop.mp4")
    check_output_place(tmp_path / "loop.mp4", target)
    check_output_place(tmp_path / "out.mp4", tmp_path / "loop.mp4")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """The working folder, so that paths can be relative."""
    before = Path.cwd()
    os.chdir(tmp_path)
    yield tmp_path
    os.chdir(before)


def test_a_store_never_holds_a_film_or_an_image(tmp_path: Path) -> None:
    film, output, face = tmp_path / "film.mp4", tmp_path / "made" / "out.mp4", tmp_path / "faces" / "a.png"
    for path in (film, output, face):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (tmp_path / "link").symlink_to("made")
    (tmp_path / "apart").mkdir()
    (tmp_path / "apart" / "out.mp4").symlink_to(output)
    for root, word in (
        (output.parent, "would hold the output"),
        (tmp_path, "would hold"),
        (tmp_path / "link", "would hold the output"),
        (output, "is the output itself"),
        (film, "is the target itself"),
        (film / "store", "would lie inside the target"),
        (output / "a" / "b", "would lie inside the output"),
        (face.parent, "would hold a source image"),
        (tmp_path / "apart" / ".." / "made", "would hold the output"),
    ):
        with pytest.raises(InputError, match=word):
            check_store_place(root, output, film, [face])
    with pytest.raises(InputError, match="would hold the output"):
        check_store_place(tmp_path / "apart", tmp_path / "apart" / "out.mp4", film, [])
    for root in (output.with_name("out.mp4.farm"), tmp_path / "store", output.parent / "store"):
        check_store_place(root, output, film, [face])


def test_the_command_refuses_a_store_around_its_films(folder: Path, clips: Path) -> None:
    film = make_clip("cfr_mp4", clips)
    (folder / "st").mkdir()
    for output, store in (("st/o.mp4", "st"), ("o.mp4", "."), ("o.mp4", "o.mp4"), ("o.mp4", "o.mp4/store")):
        ran = farm_here("render", film, "-o", output, "--store", store, *PLAIN)
        assert ran.code == 2, ran.err
        assert "the store" in ran.error_line
        assert "--store" in ran.error_line
        assert leftovers(folder, ["st"]) == []
        assert leftovers(folder / "st", []) == []


def test_relative_paths_with_colons_work(folder: Path, clips: Path) -> None:
    (folder / "in:put.mp4").write_bytes(make_clip("cfr_mp4", clips).read_bytes())
    ran = farm_here("render", "in:put.mp4", "-o", "out:put.mp4", "--store", "ab:cd", "--keep", "--json", *PLAIN)
    assert ran.report.output == str(folder / "out:put.mp4")
    assert leftovers(folder, ["in:put.mp4", "out:put.mp4", "ab:cd"]) == []


def test_every_path_is_absolute_behind_the_border(folder: Path) -> None:
    spec = absolute_spec(JobSpec("a.mp4", "b/o.mp4", source=SourceSpec("face.png", None, ("more.png", "/m.png"))))
    assert (spec.target, spec.output) == (str(folder / "a.mp4"), str(folder / "b/o.mp4"))
    assert spec.source == SourceSpec(str(folder / "face.png"), None, (str(folder / "more.png"), "/m.png"))
    assert store_place(None, folder / "o.mp4") == store_place(Path("o.mp4.farm"), folder / "o.mp4")
    root, owner = store_place(Path("shared"), folder / "o.mp4")
    assert root == folder / "shared"
    assert owner not in (store_place(Path("shared"), folder / "p.mp4")[1], store_place(None, folder / "o.mp4")[1])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--source", "{one}", "--source", "{two}", "-o", "{two}"), "the output is a source image"),
        (("--source", "{one}", "-o", "{link}"), "the output is a source image"),
        (("--source", "{one}", "--select", "reference:{two}", "-o", "{two}"), "the output is the reference image"),
        (("--cast", "{cast}", "-o", "{cast}"), "the output is the cast"),
    ],
)
def test_no_file_that_the_job_reads_is_written_over(
    words: tuple[str, ...], told: str, clips: Path, tmp_path: Path
) -> None:
    film = make_clip("cfr_mp4", clips)
    names = {name: tmp_path / f"{name}.mp4" for name in ("one", "two", "link", "cast")}
    for name in ("one", "two", "cast"):
        names[name].write_bytes(b"not to be lost")
    names["link"].symlink_to(names["one"])
    done = farm_here("render", film, "--local", *(word.format(**names) for word in words))
    assert (done.code, told in done.error_line) == (2, True), done.err
    assert all(names[name].read_bytes() == b"not to be lost" for name in ("one", "two", "cast"))
    assert leftovers(tmp_path, [path.name for path in names.values()]) == []
