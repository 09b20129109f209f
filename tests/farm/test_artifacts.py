"""The store: names appear whole or not at all, the first writer wins, listing is the state, one driver at a time."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest

from core import codec
from core.errors import InputError, StorageError
from core.records import AnalysisReceipt
from farm.artifacts import DiskStore, check_output_place, open_store, publish_film

CONTEXT = multiprocessing.get_context("spawn")


@pytest.fixture
def store(tmp_path: Path) -> DiskStore:
    return DiskStore(str(tmp_path / "store"))


def receipt(file: str, size_bytes: int) -> AnalysisReceipt:
    return AnalysisReceipt("abc", 0, file, "0" * 64, size_bytes, 10, 2, {}, "none", "cpu", 1)


def test_the_first_writer_wins_and_nothing_changes_after_it(store: DiskStore) -> None:
    assert store.write("plan/a.json", b"first") is True
    assert store.write("plan/a.json", b"second") is False
    assert store.read("plan/a.json") == b"first"
    assert list(store.path("tmp").iterdir()) == []


def test_adopt_moves_a_finished_file_and_drops_a_late_one(store: DiskStore) -> None:
    for content, first in ((b"one", True), (b"two", False)):
        scratch = store.scratch(".mp4")
        scratch.write_bytes(content)
        assert store.adopt(scratch, "segments/x/film.mp4") is first
        assert not scratch.exists()
    assert store.read("segments/x/film.mp4") == b"one"


def race(root: str, number: int) -> bool:
    return DiskStore(root).write("segments/x/DONE.json", f"writer {number}".encode() * 1000)


def test_of_many_processes_one_publishes(store: DiskStore) -> None:
    with CONTEXT.Pool(4) as pool:
        won = pool.starmap(race, [(store.root, number) for number in range(16)])
    assert won.count(True) == 1
    assert store.read("segments/x/DONE.json") == f"writer {won.index(True)}".encode() * 1000


def test_a_receipt_counts_only_with_its_whole_file(store: DiskStore) -> None:
    assert store.receipt(AnalysisReceipt, "analysis", "abc") is None
    kept = receipt("analysis/abc/1.parquet", 5)
    store.write("analysis/abc/DONE.json", codec.encode(kept))
    assert store.receipt(AnalysisReceipt, "analysis", "abc") is None, "there is no file"
    assert not store.exists("analysis/abc/DONE.json"), "the order is open again"
    store.write("analysis/abc/1.parquet", b"12345")
    store.write("analysis/abc/DONE.json", codec.encode(kept))
    assert store.receipt(AnalysisReceipt, "analysis", "abc") == kept
    assert store.holds_work()
    os.truncate(store.path(kept.file), 3)
    assert store.receipt(AnalysisReceipt, "analysis", "abc") is None
    assert not store.holds_work()


def test_a_record_of_another_version_is_told_in_one_line(store: DiskStore) -> None:
    store.write("analysis/abc/DONE.json", b'{"order_id": 7}')
    with pytest.raises(InputError, match="another version or altered"):
        store.receipt(AnalysisReceipt, "analysis", "abc")


def test_what_is_missing_is_a_storage_error(store: DiskStore) -> None:
    with pytest.raises(StorageError, match=r"plan/none\.json"):
        store.read("plan/none.json")


def try_to_open(root: str) -> str:
    try:
        with open_store(Path(root)):
            return "opened"
    except InputError as error:
        return error.what


def test_one_driver_a_store_and_the_lock_goes_with_its_holder(tmp_path: Path) -> None:
    root = tmp_path / "job.farm"
    with CONTEXT.Pool(1) as other:
        with open_store(root) as store:
            store.scratch(".mp4").write_bytes(b"left behind")
            assert other.apply(try_to_open, (str(root),)) == "another run works on this job"
            assert list(store.path("tmp").iterdir()), "the other driver must not sweep what is being written"
        assert other.apply(try_to_open, (str(root),)) == "opened"
    assert not (root / "tmp").exists(), "the next driver sweeps"


def test_a_store_never_settles_in_a_folder_of_other_things(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(InputError, match="not empty"), open_store(tmp_path):
        raise AssertionError
    with pytest.raises(InputError, match="cannot be made"), open_store(tmp_path / "letter.txt"):
        raise AssertionError


def test_publishing_replaces_whole_files_and_leaves_none_beside(tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    for content in (b"old", b"new"):
        finished = tmp_path / "joined"
        finished.write_bytes(content)
        publish_film(finished, output)
        assert output.read_bytes() == content
        assert [entry.name for entry in tmp_path.iterdir()] == ["out.mp4"]


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
