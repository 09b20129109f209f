"""What every store of a job must do: one suite, run against each implementation."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import boto3
import pytest

from core import codec
from core.errors import InputError, StorageError
from core.records import AnalysisReceipt
from farm.store.base import FINISHED, Store
from farm.store.opening import open_store, store_at
from farm.store.s3path import place_of


@dataclass(frozen=True)
class Kind:
    """A place for one store, how somebody else changes a file there, and all names that are there."""

    place: Path
    tamper: Callable[[str, bytes], None]
    names: Callable[[], list[str]]

    def open(self, owner: str = "output") -> AbstractContextManager[Store]:
        return open_store(self.place, owner)


@pytest.fixture(params=["disk", "s3", pytest.param("swift", marks=pytest.mark.heavy)])
def kind(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kind:
    if request.param == "disk":
        root = tmp_path / "job.farm"

        def tamper(name: str, data: bytes) -> None:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(data)

        return Kind(
            root,
            tamper,
            lambda: sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()),
        )
    request.getfixturevalue("s3")
    if request.param == "swift":
        for name, value in request.getfixturevalue("swift_server").environment("admin").items():
            monkeypatch.setenv(name, value)
    (tmp_path / "local").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "local"))
    bucket = boto3.resource("s3").Bucket(f"jobs-{hashlib.sha256(str(tmp_path).encode()).hexdigest()[:8]}")
    bucket.create()
    return Kind(
        place_of(f"s3://{bucket.name}/of mine/job.farm"),
        lambda name, data: bucket.put_object(Key=f"of mine/job.farm/{name}", Body=data) and None,
        lambda: sorted(entry.key.removeprefix("of mine/job.farm/") for entry in bucket.objects.all()),
    )


def receipt(file: str, data: bytes) -> AnalysisReceipt:
    return AnalysisReceipt("abc", 0, file, hashlib.sha256(data).hexdigest(), len(data), 10, 2, {}, "none", "cpu", 1)


def finish(store: Store, order: str) -> str:
    kept = receipt(f"segments/{order}/1.mp4", order.encode())
    store.write(kept.file, order.encode())
    store.write(f"segments/{order}/DONE.json", codec.encode(kept))
    return f"segments/{order}"


def test_the_first_writer_wins_and_nothing_changes_after_it(kind: Kind) -> None:
    with kind.open() as store:
        assert not store.exists("plan/a.json")
        assert store.write("plan/a.json", b"first") is True
        assert store.write("plan/a.json", b"second") is False
        assert store.read("plan/a.json") == b"first"
        assert store.size("plan/a.json") == 5
        assert store.path("plan/a.json").read_bytes() == b"first"
        store.discard("plan/a.json")
        store.discard("plan/a.json")
        assert not store.exists("plan/a.json")
        assert not store.path("plan/a.json").exists()
        assert store.write("plan/a.json", b"third") is True
        assert store.path("plan/a.json").read_bytes() == b"third"


def test_adopt_publishes_a_finished_file_and_drops_a_late_one(kind: Kind) -> None:
    with kind.open() as store:
        for content, first in ((b"one", True), (b"two", False)):
            scratch = store.scratch(".mp4")
            assert not scratch.exists()
            scratch.write_bytes(content)
            assert store.adopt(scratch, "segments/x/film.mp4") is first
            assert not scratch.exists()
        assert store.read("segments/x/film.mp4") == b"one"
        assert store.path("segments/x/film.mp4").suffix == ".mp4"


def test_of_many_writers_one_publishes(kind: Kind) -> None:
    """With each writer's answer: who is told that it won did."""
    with kind.open() as store, ThreadPoolExecutor(3) as pool:
        stores = [pickle.loads(pickle.dumps(store)) for _ in range(4)]
        for name in ("segments/x/DONE.json", "segments/y/DONE.json"):
            assert stores[0].write(name, b"writer 0" * 1000)
            won = list(pool.map(lambda n, name=name: stores[n].write(name, f"writer {n}".encode() * 1000), range(1, 4)))
            assert not any(won)
            assert store.read(name) == b"writer 0" * 1000


def test_a_store_travels_without_its_lock_and_without_keys(kind: Kind) -> None:
    with kind.open() as store:
        store.write("plan/a.json", b"{}")
        data = pickle.dumps(store)
        assert b"secret" not in data
        other = pickle.loads(data)
        assert other.read("plan/a.json") == b"{}"
        assert other.write("plan/b.json", b"{}")
        assert store.exists("plan/b.json")


def test_a_receipt_counts_only_with_its_whole_file(kind: Kind) -> None:
    with kind.open() as store:
        assert store.receipt(AnalysisReceipt, "analysis", "abc") is None
        kept = receipt("analysis/abc/1.parquet", b"12345")
        store.write("analysis/abc/DONE.json", codec.encode(kept))
        assert store.receipt(AnalysisReceipt, "analysis", "abc") is None, "there is no file"
        assert not store.exists("analysis/abc/DONE.json"), "the order is open again"
        for wrong in (b"123", b"12340"):
            store.write("analysis/abc/1.parquet", b"12345")
            store.write("analysis/abc/DONE.json", codec.encode(kept))
            assert store.receipts(AnalysisReceipt, "analysis", ["abc", "none"]) == {"abc": kept}
            assert store.done("analysis") == {"abc"}
            assert store.intact(kept.file, kept.sha256)
            kind.tamper(kept.file, wrong)
            assert not store.intact(kept.file, kept.sha256)
            assert store.receipts(AnalysisReceipt, "analysis", ["abc"]) == {}, "cut, or of the same size and altered"
            assert not store.exists(kept.file), "so that another attempt can have the name"


@pytest.mark.parametrize(
    "torn", [b"", b"\0" * 40, b'{"order_id": 7}', b"\xff{}"], ids=["empty", "zeros", "other", "no text"]
)
def test_a_record_that_cannot_be_read_counts_as_absent(kind: Kind, torn: bytes) -> None:
    with kind.open() as store:
        store.write("analysis/abc/DONE.json", torn)
        assert store.load("analysis/abc/DONE.json", AnalysisReceipt) is None
        assert store.write("analysis/abc/DONE.json", b"{}"), "the name is free for the next attempt"


def test_a_job_takes_away_only_what_no_other_job_uses(kind: Kind) -> None:
    with kind.open("b") as of_b:
        of_b.claim(["index/film.json", "segments/b1", "segments/both"])
        of_b.write("index/film.json", b"{}")
        kept = [finish(of_b, order) for order in ("b1", "both")]
    with kind.open("a") as of_a:
        of_a.claim(["index/film.json", "segments/a1", "segments/both", "cast/x.json"])
        assert not of_a.holds_work(), "what b claims is not lost with a"
        finish(of_a, "a1")
        assert of_a.holds_work()
        of_a.write("cast/x.json", b"[]")
        of_a.remove()
    left = kind.names()
    assert [name for name in left if name.startswith("segments/")] == sorted(
        f"{name}/{file}" for name in kept for file in ("1.mp4", "DONE.json")
    )
    assert "index/film.json" in left
    assert not any("cast" in name or "a1" in name or "jobs/a" in name for name in left)
    with kind.open("b") as of_b:
        assert of_b.holds_work()
        of_b.remove()
    assert kind.names() == []


def test_the_sweep_takes_results_that_nobody_vouches_for(kind: Kind) -> None:
    with kind.open() as store:
        finish(store, "a1")
        store.write("segments/b1/1-dead.mp4", b"film")
        store.write("analysis/c1/1-dead.parquet", b"faces")
        kept = receipt("analysis/d1/2-first.parquet", b"faces")
        store.write(kept.file, b"faces")
        store.write("analysis/d1/DONE.json", codec.encode(kept))
        for name in ("1-dead.parquet", "1-dead.shots.parquet"):  # of an attempt that died before it could take them
            store.write(f"analysis/d1/{name}", b"faces")
        scratch = store.scratch(".mp4")
        scratch.write_bytes(b"half")
    with kind.open() as store:
        assert store.listed("segments") == ["segments/a1/1.mp4", "segments/a1/DONE.json"]
        assert store.listed("analysis") == ["analysis/d1/2-first.parquet", "analysis/d1/DONE.json"]
        assert not scratch.exists()


def test_names_are_listed(kind: Kind) -> None:
    with kind.open() as store:
        for name in ("index/a.1.json", "index/a.2.json", "index/ab.1.json", "index/b.json"):
            store.write(name, b"{}")
        assert store.named("index/a") == ["index/a.1.json", "index/a.2.json"]
        assert store.listed("index") == ["index/a.1.json", "index/a.2.json", "index/ab.1.json", "index/b.json"]
        assert store.listed("plan") == []


def test_one_driver_at_a_time_and_the_next_one_after_it(kind: Kind) -> None:
    with kind.open("a") as store:
        store.write("plan/a.json", b"{}")
        with pytest.raises(InputError, match="another run works on this job"), kind.open("b"):
            raise AssertionError
        holder = store_at(kind.place).holder()
        assert holder is not None
        assert holder.run == store.run != ""
    assert store_at(kind.place).holder() is None
    with kind.open("b") as store:
        assert store.exists("plan/a.json")
        assert store.run != holder.run


def test_a_place_of_other_things_never_becomes_a_store(kind: Kind) -> None:
    kind.tamper("letter.txt", b"dear")
    with pytest.raises(InputError, match="not a store and not empty"), kind.open():
        raise AssertionError
    assert kind.names() == ["letter.txt"]


def test_what_somebody_out_of_reach_put_where_a_store_was_does_not_bar_the_place(kind: Kind) -> None:
    order = "a1" * 32
    kind.tamper(f"segments/{order}/DONE.json", b"{}")
    kind.tamper(f"analysis/{order}/1-0123abcd.shots.parquet", b"cuts")
    kind.tamper(f"cast/{order[:32]}.json", b"{}")
    with kind.open() as store:
        store.remove()
    assert kind.names() == []
    kind.tamper("segments/mine.txt", b"dear")
    with pytest.raises(InputError, match="not a store and not empty"), kind.open():
        raise AssertionError


def test_what_is_missing_is_a_storage_error(kind: Kind) -> None:
    with kind.open() as store, pytest.raises(StorageError, match=r"plan/none\.json"):
        store.read("plan/none.json")


def test_what_only_finished_jobs_use_expires(kind: Kind) -> None:
    with kind.open("old") as store:
        store.claim(["segments/o1", "segments/both", "index/film.json"])
        store.write("index/film.json", b"{}")
        for order in ("o1", "both"):
            finish(store, order)
        store.finish()
        assert store.expire(3600) == (), "finished just now"
    with kind.open("open") as store:
        store.claim(["segments/both", "segments/p1"])
        finish(store, "p1")
        assert store.expire(0) == ("old",)
        assert store.done("segments") == {"both", "p1"}
        assert store.listed("index") == []
        assert [name for name in store.listed("jobs") if name.startswith("jobs/old")] == []
        store.finish()
    with kind.open("open") as store:
        assert not store.exists(f"jobs/open/{FINISHED}"), "it is worked on again"
        assert store.expire(0) == ()
        assert store.done("segments") == {"both", "p1"}
