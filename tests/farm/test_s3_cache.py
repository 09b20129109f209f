"""What machines keep of stores in buckets, and what goes of it."""

from __future__ import annotations

import errno
import fcntl
import os
import pickle
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from farm.store.cache import DISK_SHARE, HELD, KEPT_S, USED_S, WRITING_S, Cache, prune_all
from farm.store.opening import open_store
from farm.store.s3path import place_of


def kept(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and path.name != HELD)


@pytest.mark.parametrize("together", [True, False])
def test_a_segment_stays_only_on_the_machine_of_the_driver(
    films: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, together: bool
) -> None:
    here, there = tmp_path / "here", tmp_path / "here" if together else tmp_path / "there"
    for folder in (here, there):
        folder.mkdir(exist_ok=True)
    name = f"segments/{'a' * 64}/1-0123abcd.mp4"
    monkeypatch.setattr("tempfile.tempdir", str(here))
    with open_store(place_of("s3://films/job.farm")) as store:
        monkeypatch.setattr("tempfile.tempdir", str(there))
        renderer = pickle.loads(pickle.dumps(store))
        made = renderer.scratch(".mp4")
        made.write_bytes(b"segment")
        assert renderer.adopt(made, name)
        assert len(kept(there)) == int(together)
        assert store.path(name).read_bytes() == b"segment"
        assert len(kept(here)) == 1
        store.remove()
    assert kept(tmp_path) == []


def filled(shared: Path, name: str, sizes_by_age: dict[float, int]) -> Cache:
    """A cache with a file of so many bytes that was not touched for so many seconds, each named by its age."""
    cache = Cache(shared / name)
    for age_s, size in sizes_by_age.items():
        cache.file(f"{age_s:.0f}", "f.bin", size, lambda file, size=size: file.write_bytes(bytes(size)))  # type: ignore[misc]
        then_s = time.time() - age_s
        os.utime(shared / name / "content" / f"{age_s:.0f}.bin", (then_s, then_s))
    return cache


def test_what_nobody_uses_goes_from_all_caches_and_what_a_driver_holds_does_not(tmp_path: Path) -> None:
    old = KEPT_S + 60
    filled(tmp_path, "idle", {old: 1, 60: 1})
    held = filled(tmp_path, "held", {old: 1})
    held.hold()
    Cache(tmp_path / "new")
    assert kept(tmp_path) == sorted([f"{old:.0f}.bin", "60.bin"])
    held.release()
    Cache(tmp_path / "new")
    assert kept(tmp_path) == ["60.bin"]


def test_the_longest_unused_goes_first_where_it_is_too_much_for_the_disk(tmp_path: Path) -> None:
    ages = [USED_S * step for step in (0.5, 2, 3, 4)]
    filled(tmp_path, "a", dict.fromkeys(ages[::2], 1000))
    filled(tmp_path, "b", dict.fromkeys(ages[1::2], 1000))
    disk = shutil.disk_usage(tmp_path).total
    prune_all(tmp_path, DISK_SHARE)
    assert len(kept(tmp_path)) == 4
    prune_all(tmp_path, 2500 / disk)
    assert kept(tmp_path) == sorted(f"{age:.0f}.bin" for age in ages[:2])
    prune_all(tmp_path, 0)
    assert kept(tmp_path) == [f"{ages[0]:.0f}.bin"], "what was touched within the hour may be in use"


def aged(root: Path) -> None:
    then_s = time.time() - 2 * WRITING_S
    os.utime(root, (then_s, then_s))


def test_an_empty_cache_goes_when_it_is_old_and_nobody_has_it_open(tmp_path: Path) -> None:
    root = tmp_path / "job"
    mine = Cache(root)
    mine.hold()
    mine.release()
    scratch = mine.scratch(".mp4")
    aged(root)
    Cache(tmp_path / "new")
    scratch.write_bytes(b"what a renderer writes, which never held it")
    scratch.unlink()
    del mine
    aged(root)
    Cache(tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_a_job_goes_on_in_a_cache_that_is_old_and_empty(tmp_path: Path) -> None:
    root = tmp_path / "job"
    Cache(root)
    aged(root)
    again = Cache(root)
    again.hold()
    assert again.is_held
    shutil.rmtree(root)
    again.hold()
    assert again.is_held, "the folders are made again"


def test_threads_of_one_cache_go_on_while_its_folder_is_removed_again_and_again(tmp_path: Path) -> None:
    root = tmp_path / "farm" / "job"
    cache, over = Cache(root), threading.Event()

    def remove() -> None:
        while not over.wait(0.002):
            shutil.rmtree(root, ignore_errors=True)

    remover = threading.Thread(target=remove, daemon=True)
    remover.start()
    try:
        with ThreadPoolExecutor(8) as pool:
            made = list(pool.map(lambda _: cache.scratch(".part"), range(3000)))
    finally:
        over.set()
        remover.join()
    assert len(set(made)) == 3000
    assert cache.scratch(".part").parent.is_dir()


def test_a_driver_works_where_the_file_system_has_no_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    cache = filled(tmp_path, "job", {KEPT_S + 60: 1})
    cache.hold()
    assert cache.is_held
    Cache(tmp_path / "new")
    assert len(kept(tmp_path)) == 1, "nobody can tell that no driver holds it"
