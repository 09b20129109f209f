"""A folder whose locks count on one machine alone: its drivers find each other by what stands in the lock."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import InputError, StorageError
from farm.store import beat
from farm.store.beat import Beat, lives_elsewhere, named
from farm.store.disk import LOCK, open_disk
from farm.store.holder import this_process, write_holder

FAR = replace(this_process("b" * 32, 0), node="elsewhere", boot="another start")


@contextmanager
def beating(lock: Path) -> Iterator[None]:
    """Another machine's driver: its name in the lock is written anew again and again, and flock knows nothing of it."""
    over = threading.Event()

    def go_on() -> None:
        nonce = 0
        while not over.wait(0.02):
            nonce += 1
            os.pwrite(handle, write_holder(FAR, nonce), 0)

    lock.parent.mkdir(exist_ok=True)
    lock.write_bytes(write_holder(FAR))
    handle = os.open(lock, os.O_RDWR)
    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        os.close(handle)


def test_a_driver_of_another_machine_that_lives_is_found(tmp_path: Path) -> None:
    root = tmp_path / "o.mp4.farm"
    with beating(root / LOCK), pytest.raises(InputError, match="another run works on this job, on another machine"):
        open_disk(root).__enter__()


def test_one_that_is_gone_is_not_waited_for_longer_than_a_watch(tmp_path: Path) -> None:
    lock = tmp_path / LOCK
    lock.write_bytes(write_holder(FAR))
    assert not lives_elsewhere(lock, watch_s=0.1, poll_s=0.01)
    lock.write_bytes(write_holder(replace(FAR, token="")))
    assert not lives_elsewhere(lock), "what was given back is free at once"


def test_a_driver_that_lost_the_place_takes_nothing_away(tmp_path: Path) -> None:
    root = tmp_path / "o.mp4.farm"
    with open_disk(root) as store:
        store.write("plan/a.json", b"first")
        store.check_held()
        (root / LOCK).write_bytes(write_holder(FAR))
        for step in (store.check_held, store.sweep, store.remove):
            with pytest.raises(StorageError, match="another run took this job over"):
                step()
    assert store.read("plan/a.json") == b"first"
    assert named(root / LOCK) == FAR, "and leaves the other one's name"


def test_a_beat_changes_what_stands_there_and_ends_with_its_driver(tmp_path: Path) -> None:
    lock = tmp_path / LOCK
    handle = os.open(lock, os.O_RDWR | os.O_CREAT)
    try:
        mine = Beat(lock, handle, "a" * 32, beat_s=0.01)
        first = lock.read_bytes()
        for _ in range(1000):
            if lock.read_bytes() != first:
                break
            time.sleep(0.01)
        assert lock.read_bytes() != first
        holder = named(lock)
        assert holder is not None
        assert holder.token == "a" * 32
        mine.stop()
        assert lock.read_bytes() == b""
    finally:
        os.close(handle)
    assert beat.BEAT_S * 3 < beat.WATCH_S
