"""What is kept in stores is told job by job, and what nobody needs goes: in folders and in buckets."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import boto3
import pytest

from core import codec
from core.errors import InputError
from core.records import AnalysisReceipt
from farm.cli.store import bytes_text, span_s, span_text
from farm.store.base import Store
from farm.store.manage import Expired, expire, find_stores, kept, would_expire
from farm.store.opening import open_store, store_at
from farm.store.s3path import place_of
from tests.system.runs import farm_here

FILM = b"film" * 100


@dataclass(frozen=True)
class Home:
    """A place for stores, and all the files that are there."""

    root: Path
    names: Callable[[], set[str]]


@pytest.fixture(params=["disk", "s3"])
def home(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    if request.param == "disk":
        root = tmp_path / "films"
        root.mkdir()
        return Home(root, lambda: {one.relative_to(root).as_posix() for one in root.rglob("*") if one.is_file()})
    request.getfixturevalue("s3")
    (tmp_path / "local").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "local"))
    bucket = boto3.resource("s3").Bucket(f"kept-{tmp_path.name.replace('_', '-')[-20:].strip('-').lower()}")
    bucket.create()
    return Home(place_of(f"s3://{bucket.name}"), lambda: {entry.key for entry in bucket.objects.all()})


def fill(store: Store, *orders: str, finished: bool) -> None:
    """Finished segments that the store's owner claims."""
    store.claim([*(f"segments/{order}" for order in orders), "index/film.json"])
    store.write("index/film.json", b"{}")
    for order in orders:
        file = f"segments/{order}/1.mp4"
        receipt = AnalysisReceipt(order, 0, file, "", len(FILM), 1, 0, {}, "none", "cpu", 1)
        store.write(file, FILM)
        store.write(f"segments/{order}/DONE.json", codec.encode(receipt))
    if finished:
        store.finish()


def test_what_is_kept_is_told_job_by_job(home: Home) -> None:
    with open_store(home.root / "a" / "o.mp4.farm", "done") as store:
        fill(store, "1", "both", finished=True)
    with open_store(home.root / "a" / "o.mp4.farm", "open") as store:
        fill(store, "2", "both", finished=False)
        store.write("plan/loose.json", b"1234567")
    with open_store(home.root / "b.farm") as store:
        fill(store, "3", finished=False)
    (one, two) = (kept(found) for found in find_stores(home.root))
    assert (one.place, two.place) == (str(home.root / "a" / "o.mp4.farm"), str(home.root / "b.farm"))
    assert [(job.owner, job.state, job.orders) for job in one.jobs] == [("done", "finished", 2), ("open", "open", 2)]
    assert [(job.owner, job.state, job.orders) for job in two.jobs] == [("output", "open", 1)]
    assert one.unclaimed_bytes == 7
    sizes = {job.owner: job.size_bytes for job in one.jobs}
    assert min(sizes.values()) > 2 * len(FILM)
    assert one.size_bytes > max(sizes.values()) + len(FILM)
    (alone,) = find_stores(home.root / "b.farm")
    assert kept(alone).size_bytes == two.size_bytes

    said = farm_here("store", "list", str(home.root))
    assert said.code == 0, said.err
    assert "done  finished, 2 segments done" in said.out
    listed = farm_here("store", "list", str(home.root), "--json").json
    assert [[job["orders"] for job in one["jobs"]] for one in listed["stores"]] == [[2, 2], [1]]


def test_what_finished_jobs_alone_used_goes(home: Home) -> None:
    place = home.root / "jobs" / "st"
    with open_store(place, "done") as store:
        fill(store, "1", "both", finished=True)
    with open_store(place, "open") as store:
        fill(store, "2", "both", finished=False)
    before = home.names()
    command = ("store", "expire", str(home.root), "--json")
    assert farm_here(*command).json["stores"][0]["owners"] == [], "a week is the default"
    would = farm_here(*command, "--older", "0", "--dry-run").json["stores"]
    assert home.names() - before == {"jobs/st/lock"} - before, "only looked"
    assert (
        farm_here(*command, "--older", "0").json["stores"]
        == would
        == [{"place": str(place), "owners": ["done"], "freed_bytes": would[0]["freed_bytes"], "busy": False}]
    )
    assert store_at(place).done("segments") == {"2", "both"}
    assert store_at(place).exists("index/film.json")
    assert would[0]["freed_bytes"] > len(FILM)

    (found,) = find_stores(place)
    assert expire(found, 0).owners == ()
    assert would_expire(found, 0, unfinished=True).owners == ("open",)
    assert expire(found, 3600, unfinished=True).owners == (), "it changed just now"
    assert expire(found, 0, unfinished=True).owners == ("open",)
    assert home.names() == set(), "and the store with it"


def test_a_store_in_which_a_run_works_is_left_alone(home: Home) -> None:
    place = home.root / "a.farm"
    with open_store(place, "done") as store:
        fill(store, "1", finished=True)
        names = home.names()
        (found,) = find_stores(home.root)
        with pytest.raises(InputError, match="another run works on this job"):
            expire(found, 0)
        ran = farm_here("store", "expire", str(home.root), "--older", "0")
        assert (ran.code, f"{place}: a run works there" in ran.out) == (0, True)
        assert farm_here("store", "expire", str(place), "--older", "0").code == 2
        assert home.names() == names
    assert expire(found, 0).owners == ("done",)
    assert home.names() == set()


def test_the_store_of_a_cast_stays(home: Home) -> None:
    with open_store(home.root / "film.cast" / "store") as store:
        fill(store, "1", finished=True)
    (home.root / "film.cast" / "analysis.json").write_bytes(b"{}")
    names = home.names()
    for place in (home.root, home.root / "film.cast", home.root / "film.cast" / "store"):
        (found,) = find_stores(place)
        assert kept(found).jobs[0].state == "cast"
        assert expire(found, 0, unfinished=True) == would_expire(found, 0, unfinished=True) == Expired(str(found.place))
    assert home.names() == names


def test_places_without_stores(home: Home) -> None:
    for command in ("list", "expire"):
        ran = farm_here("store", command, str(home.root / "none"))
        assert ran.code == 2
        assert "no such folder" in ran.error_line or "nothing is there" in ran.error_line
    (home.root / "letters" / "jobs").mkdir(parents=True)
    (home.root / "letters" / "jobs" / "dear.txt").write_bytes(b"dear")
    (home.root / "letters" / "other.txt").write_bytes(b"dear")
    assert list(find_stores(home.root)) == []
    assert "no store" in farm_here("store", "list", str(home.root)).out
    assert "nothing to remove" in farm_here("store", "expire", str(home.root), "--older", "0").out


def test_age_counts_from_the_last_change(tmp_path: Path) -> None:
    with open_store(tmp_path / "st", "old") as store:
        fill(store, "1", finished=False)
    long_ago = time.time() - 10 * 86400
    for file in (tmp_path / "st").rglob("*"):
        os.utime(file, (long_ago, long_ago))
    (found,) = find_stores(tmp_path)
    assert would_expire(found, 9 * 86400).owners == ()
    assert would_expire(found, 9 * 86400, unfinished=True).owners == ("old",)
    assert would_expire(found, 11 * 86400, unfinished=True).owners == ()
    with store_at(tmp_path / "st").path("segments/1/DONE.json").open("ab") as file:
        file.write(b" ")
    assert would_expire(found, 9 * 86400, unfinished=True).owners == ()


def test_spans_and_sizes() -> None:
    assert [span_s(text) for text in ("7d", "12h", "30m", "90s", "0", "1.5h", "2w")] == [
        604800, 43200, 1800, 90, 0, 5400, 1209600
    ]  # fmt: skip
    assert [span_text(seconds) for seconds in (9, 120, 18000, 259200)] == ["9 s", "2 min", "5 h", "3 d"]
    assert [bytes_text(size) for size in (7, 20_000, 1_500_000_000)] == ["7 B", "20.0 kB", "1.5 GB"]
    ran = farm_here("store", "expire", ".", "--older", "soon")
    assert (ran.code, "write a span such as 7d" in ran.error_line) == (2, True)
