"""The store: names appear whole or not at all, the first writer wins, listing is the state, one driver at a time."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
from pathlib import Path

import pytest

from core import codec
from core.errors import InputError, StorageError
from core.records import AnalysisReceipt
from farm.artifacts import DiskStore, lock_file, open_store

CONTEXT = multiprocessing.get_context("spawn")


@pytest.fixture
def store(tmp_path: Path) -> DiskStore:
    return DiskStore(str(tmp_path / "store"))


def receipt(file: str, data: bytes) -> AnalysisReceipt:
    sha256 = hashlib.sha256(data).hexdigest()
    return AnalysisReceipt("abc", 0, file, sha256, len(data), 10, 2, {}, "none", "cpu", 1)


def finish(store: DiskStore, order: str) -> str:
    """A finished order in `store`; its folder's name."""
    kept = receipt(f"segments/{order}/1.mp4", order.encode())
    store.write(kept.file, order.encode())
    store.write(f"segments/{order}/DONE.json", codec.encode(kept))
    return f"segments/{order}"


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
    kept = receipt("analysis/abc/1.parquet", b"12345")
    store.write("analysis/abc/DONE.json", codec.encode(kept))
    assert store.receipt(AnalysisReceipt, "analysis", "abc") is None, "there is no file"
    assert not store.exists("analysis/abc/DONE.json"), "the order is open again"
    store.write("analysis/abc/1.parquet", b"12345")
    store.write("analysis/abc/DONE.json", codec.encode(kept))
    assert store.receipt(AnalysisReceipt, "analysis", "abc") == kept
    assert store.holds_work()
    for wrong in (b"123", b"12340"):
        store.path(kept.file).write_bytes(wrong)
        assert store.receipt(AnalysisReceipt, "analysis", "abc") is None, "cut, or of the same size and altered"
        assert not store.holds_work()
        assert not store.exists(kept.file), "so that another attempt can have the name"
        store.write(kept.file, b"12345")
        store.write("analysis/abc/DONE.json", codec.encode(kept))
        assert store.receipt(AnalysisReceipt, "analysis", "abc") == kept


def test_a_record_that_cannot_be_read_counts_as_absent(store: DiskStore) -> None:
    whole = codec.encode(receipt("analysis/abc/1.parquet", b"12345"))
    store.write("analysis/abc/1.parquet", b"12345")
    for torn in (
        b"",
        b"\0" * 40,
        b'{"order_id": 7}',
        whole[:-1],
        whole[: len(whole) // 2],
        whole.replace(b"{", b"\xff"),
    ):
        store.write("analysis/abc/DONE.json", torn)
        assert store.receipt(AnalysisReceipt, "analysis", "abc") is None
        assert store.write("analysis/abc/DONE.json", whole), "the name is free for the next attempt"
        assert store.receipt(AnalysisReceipt, "analysis", "abc") is not None
        store.discard("analysis/abc/DONE.json")


def test_a_job_takes_away_only_what_no_other_job_uses(tmp_path: Path) -> None:
    root = tmp_path / "shared"
    with open_store(root, "b") as of_b:
        of_b.claim(["index/film.json", "segments/b1", "segments/both"])
        of_b.write("index/film.json", b"{}")
        kept = [finish(of_b, order) for order in ("b1", "both")]
    with open_store(root, "a") as of_a:
        of_a.claim(["index/film.json", "segments/a1", "segments/both", "cast/x.json"])
        assert not of_a.holds_work(), "what b claims is not lost with a"
        finish(of_a, "a1")
        assert of_a.holds_work()
        of_a.write("cast/x.json", b"[]")
        of_a.remove()
        assert not of_a.holds_work()
    left = sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.name != "lock")
    assert [name for name in left if name.startswith("segments/") and name.count("/") == 1] == kept
    assert "index/film.json" in left
    assert not any("cast" in name or "a1" in name for name in left)
    with open_store(root, "b") as of_b:
        assert of_b.holds_work()
        of_b.remove()
    assert not root.exists()


def test_a_folder_that_holds_something_of_others_stays(tmp_path: Path) -> None:
    with open_store(tmp_path / "job.farm") as store:
        finish(store, "a1")
        store.path("letter.txt").write_text("dear")
        store.path("tmp").mkdir(exist_ok=True)
        store.path("tmp/notes.txt").write_text("dear")
        store.remove()
    assert sorted(path.name for path in (tmp_path / "job.farm").rglob("*")) == [
        "letter.txt",
        "lock",
        "notes.txt",
        "tmp",
    ]


def test_a_store_that_lost_its_lock_is_still_a_store(tmp_path: Path) -> None:
    root = tmp_path / "job.farm"
    with open_store(root) as store:
        store.claim(["segments/a1"])
        finish(store, "a1")
    (root / "lock").unlink()
    with open_store(root) as store:
        assert store.holds_work()
        store.remove()
    assert not root.exists()


def test_a_store_removed_by_its_last_driver_is_made_anew(tmp_path: Path) -> None:
    """The next driver may come while the last one still has its handle on the lock that it removed."""
    root = tmp_path / "job.farm"
    with open_store(root) as first:
        first.remove()
        assert not root.exists()
        with open_store(root) as second:
            assert second.write("plan/a.json", b"{}")
            assert (root / "lock").exists()


def test_a_lock_whose_name_is_gone_is_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    first = lock_file(path)
    assert first is not None
    assert lock_file(path) is None
    path.unlink()
    second = lock_file(path)
    assert second is not None
    assert os.path.samestat(os.fstat(second), path.stat())
    assert not os.path.samestat(os.fstat(first), path.stat())
    os.close(first)
    os.close(second)


def test_the_sweep_takes_results_that_nobody_vouches_for(tmp_path: Path) -> None:
    root = tmp_path / "job.farm"
    with open_store(root) as store:
        finish(store, "a1")
        store.write("segments/b1/1-dead.mp4", b"film")
        store.write("analysis/c1/1-dead.parquet", b"faces")
    with open_store(root) as store:
        assert store.exists("segments/a1/1.mp4")
        assert not store.path("segments/b1").exists()
        assert not store.path("analysis/c1").exists()


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
