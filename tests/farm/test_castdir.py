"""The folder of a cast: made, locked, given up again; never somebody else's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from core import codec
from core.errors import InputError, StorageError
from core.records import Analysis, AnalysisReceipt, Segment
from farm.analysis import save_analysis
from farm.castdir import check_folder, default_folder, open_folder, refuse_other_film
from farm.store.holder import this_process, write_holder

RECEIPT = AnalysisReceipt("o", 0, "analysis/o/1-a.parquet", "0", 1, 5, 0, {}, "none", "cpu", 1)
ANALYSIS = Analysis("f" * 64, 5, "centerface", "dlib_resnet", 1, (Segment(0, 0, 5, 0, 0, 5, 0),), (RECEIPT,))


def finish_an_order(folder: Path) -> None:
    with open_folder(folder) as store:
        store.write("analysis/o/1-a.parquet", b"1")
        store.write("analysis/o/DONE.json", codec.encode(RECEIPT))


@pytest.mark.parametrize(
    ("target", "folder"),
    [
        ("film.mp4", "film.cast"),
        ("a/film.v2.mkv", "a/film.v2.cast"),
        ("film", "film.cast"),
        (".mp4", ".mp4.cast"),
        ("../a b.ts", "../a b.cast"),
    ],
)
def test_a_cast_lies_beside_its_film(target: str, folder: str) -> None:
    assert default_folder(Path(target)) == Path(folder)


def test_where_nothing_was_finished_nothing_is_left(tmp_path: Path) -> None:
    folder = tmp_path / "film.cast"

    def fail() -> None:
        with open_folder(folder) as store:
            store.write("index/a.json", b"{}")
            raise InputError("broken")

    with pytest.raises(InputError, match="broken"):
        fail()
    assert list(tmp_path.iterdir()) == []
    folder.mkdir()
    with open_folder(folder):
        pass
    assert list(folder.iterdir()) == [], "a folder that was there stays"


def test_what_was_finished_stays_also_after_a_failure(tmp_path: Path) -> None:
    folder = tmp_path / "film.cast"
    finish_an_order(folder)

    def fail() -> None:
        with open_folder(folder) as store:
            store.scratch(".parquet").write_bytes(b"half")
            store.write("analysis/p/1-b.parquet", b"no record of it")
            raise StorageError("full")

    with pytest.raises(StorageError, match="full"):
        fail()
    assert sorted(path.name for path in (folder / "store" / "analysis").iterdir()) == ["o"]
    assert not (folder / "store" / "tmp").exists()


def test_an_error_on_its_way_is_not_covered_by_a_place_that_another_run_took(tmp_path: Path) -> None:
    folder = tmp_path / "film.cast"
    other = write_holder(replace(this_process("b" * 32, 0), node="elsewhere", boot="another start"))

    def taken(error: Exception | None) -> None:
        with open_folder(folder):
            (folder / "store" / "lock").write_bytes(other)
            if error is not None:
                raise error

    with pytest.raises(InputError, match="the film is broken"):
        taken(InputError("the film is broken"))
    (folder / "store" / "lock").unlink()
    with pytest.raises(StorageError, match="another run took this job over"):
        taken(None)


def test_one_run_at_a_time(tmp_path: Path) -> None:
    folder = tmp_path / "film.cast"
    with open_folder(folder) as store:
        store.write("analysis/o/DONE.json", codec.encode(RECEIPT))
        told = "another run works on this job; wait for it, or choose another -o"
        with pytest.raises(InputError, match=told), open_folder(folder):
            raise AssertionError("two runs in one folder")
        assert store.exists("analysis/o/DONE.json")


@pytest.mark.parametrize("name", ["analysis.json", "cast.toml", "store"])
def test_the_folder_of_a_cast_is_known_by_what_is_in_it(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "any name"
    folder.mkdir()
    (folder / "thumbnails").mkdir()
    with pytest.raises(InputError, match="not empty, and not the folder of a cast; name another folder with -o"):
        check_folder(folder)
    (folder / name).mkdir()
    assert check_folder(folder) is False


def test_places_that_cannot_be_a_folder(tmp_path: Path) -> None:
    (tmp_path / "film.mp4").write_bytes(b"a film")
    finish_an_order(tmp_path / "a.cast")
    foreign = tmp_path / "b.cast"
    (foreign / "store").mkdir(parents=True)
    (foreign / "store" / "thesis.txt").write_text("years of work")
    cases = {
        tmp_path / "film.mp4": "is a file, not a folder",
        tmp_path / "film.mp4" / "cast": "the output's folder does not exist",
        tmp_path / "none" / "cast": "the output's folder does not exist; create it first",
        tmp_path / ("x" * 300): "too long; shorten it",
        tmp_path: "not empty, and not the folder of a cast",
        foreign: "not a store and not empty; give a new folder with -o",
    }
    for place, what in cases.items():
        with pytest.raises(InputError, match=what) as caught, open_folder(place):
            raise AssertionError(f"{place} was taken")
        assert "\n" not in str(caught.value)
    assert (foreign / "store" / "thesis.txt").read_text() == "years of work"
    assert (tmp_path / "film.mp4").read_bytes() == b"a film"
    assert len(list(tmp_path.iterdir())) == 3


def test_the_cast_of_another_film_is_refused(tmp_path: Path) -> None:
    refuse_other_film(tmp_path, "f" * 64)
    save_analysis(tmp_path, ANALYSIS)
    refuse_other_film(tmp_path, "f" * 64)
    with pytest.raises(InputError, match="this folder is the cast of another film; name another folder with -o"):
        refuse_other_film(tmp_path, "e" * 64)
    (tmp_path / "analysis.json").write_bytes(b"{")
    refuse_other_film(tmp_path, "e" * 64)
