"""A folder whose locks count on one machine alone: its drivers find each other by what stands in the lock."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import InputError, StorageError
from farm.places import lock_part
from farm.published import announce
from farm.stages import publish_stage
from farm.store import beat, mounts
from farm.store.beat import Beat, lives_elsewhere, named
from farm.store.disk import LOCK, open_disk
from farm.store.holder import boot_id, this_process, write_holder
from farm.store.mounts import kind_of

FAR = replace(this_process("b" * 32, 0), node="elsewhere", boot="another start")


@pytest.fixture
def kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Says what kind of file system tmp_path is, as the kernel does."""
    table = tmp_path / "mountinfo"
    monkeypatch.setattr(mounts, "MOUNTS", table)

    def mounted(name: str) -> None:
        table.write_text(f"22 1 8:1 / / rw - ext4 /dev/sda rw\n30 22 0:40 / {tmp_path} rw shared:9 - {name} far rw\n")

    mounted("nfs4")
    return mounted


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


@pytest.mark.usefixtures("kind")
def test_a_driver_of_another_machine_that_lives_is_found(tmp_path: Path) -> None:
    root = tmp_path / "o.mp4.farm"
    said: list[str] = []
    with beating(root / LOCK), pytest.raises(InputError, match="another run works on this job, on another machine"):
        open_disk(root, say=said.append).__enter__()
    assert said == ["looking for 12 s whether the driver on elsewhere that had the lock still runs"]


@pytest.mark.usefixtures("kind")
def test_one_that_is_gone_is_not_waited_for_longer_than_a_watch(tmp_path: Path) -> None:
    lock = tmp_path / LOCK
    said: list[str] = []
    lock.write_bytes(write_holder(FAR))
    assert not lives_elsewhere(lock, said.append, watch_s=0.1, poll_s=0.01)
    assert len(said) == 1
    lock.write_bytes(write_holder(replace(FAR, token="")))
    assert not lives_elsewhere(lock, said.append), "what was given back is free at once"
    assert len(said) == 1


def test_nobody_watches_where_flock_tells(tmp_path: Path, kind: Callable[[str], None]) -> None:
    lock = tmp_path / LOCK
    near = replace(FAR, boot=f"{boot_id().split('/')[0]}/pid:[1]")  # a container beside ours
    for name, holder, watched in (
        ("nfs4", FAR, True),
        ("nfs4", near, False),
        ("lustre", FAR, True),
        ("a kind of 2040", FAR, True),
        ("fuse.s3fs", near, True),
        ("ext4", FAR, False),
        ("overlay", near, False),
    ):
        kind(name)
        lock.write_bytes(write_holder(holder))
        said: list[str] = []
        assert not lives_elsewhere(lock, said.append, watch_s=0.0)
        assert bool(said) is watched, name


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_folder_that_cannot_be_locked_is_no_other_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """As the system answers on a share whose server is gone, or that has no locks."""
    root, output = tmp_path / "o.mp4.farm", tmp_path / "o.mp4"

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(fcntl, "flock", refuse)
        for take, folder in ((lambda: open_disk(root).__enter__(), root), (lambda: lock_part(output), tmp_path)):
            with pytest.raises(StorageError) as refused:
                take()
            told = str(refused.value)
            assert told.startswith(f"{folder}: the folder cannot be locked: {os.strerror(number)}; see that"), told
    opened = [os.path.realpath(handle) for handle in Path("/proc/self/fd").iterdir()]
    assert not any(name.startswith(str(tmp_path)) for name in opened)
    with open_disk(root):
        pass


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.EACCES])
def test_what_a_lock_says_that_another_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """EACCES is what NFS may say in place of EAGAIN."""

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(InputError, match="another run works on this job"):
        open_disk(tmp_path / "o.mp4.farm").__enter__()


@pytest.mark.usefixtures("kind")
@pytest.mark.parametrize("begun", [False, True])
def test_a_lock_that_cannot_be_read_is_no_other_run(tmp_path: Path, begun: bool) -> None:
    """Reading where a process has no memory is EIO, as it is on a share whose server is gone."""
    lock = tmp_path / LOCK
    broken = tmp_path / "broken"
    broken.symlink_to("/proc/self/mem")
    lock.write_bytes(write_holder(FAR))

    def fail(_: str) -> None:
        broken.replace(lock)

    if not begun:
        fail("")
    with pytest.raises(StorageError, match=r"the folder cannot be locked: Input/output error; see that it is mounted"):
        lives_elsewhere(lock, fail, watch_s=10.0, poll_s=0.01)


def test_the_kind_is_that_of_the_mount_next_above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "a b" / "job"
    folder.mkdir(parents=True)
    table = tmp_path / "table"
    escaped = str(folder.parent).replace(" ", "\\040")
    table.write_text(
        f"1 0 8:1 / / rw - ext4 /dev/sda rw\n2 1 0:4 / {escaped} rw shared:1 master:2 - nfs far:/x rw\n"
        f"3 2 0:5 / {escaped} rw - lustre far rw\n4 1 0:6 / {escaped}c rw - cifs far rw\nnot a row\n"
    )
    monkeypatch.setattr(mounts, "MOUNTS", table)
    assert kind_of(folder / LOCK) == "lustre", "the last one covers the others"
    assert kind_of(tmp_path) == "ext4"
    monkeypatch.setattr(mounts, "MOUNTS", tmp_path / "absent")
    assert kind_of(folder) == ""


def test_a_driver_that_lost_the_place_takes_nothing_away(tmp_path: Path) -> None:
    root = tmp_path / "o.mp4.farm"
    with open_disk(root) as store:
        store.write("plan/a.json", b"first")
        store.check_held()
        announce(store, "the other one's film", tmp_path / "o.mp4")
        (root / LOCK).write_bytes(write_holder(FAR))
        joined = tmp_path / "joined"
        joined.write_bytes(b"film")
        for step in (
            store.check_held,
            store.sweep,
            store.remove,
            lambda: publish_stage(store, joined, tmp_path / "o.mp4"),
        ):
            with pytest.raises(StorageError, match="another run took this job over"):
                step()
        assert announce(store, "the other one's film", tmp_path / "o.mp4"), "what it was about to publish is still told"
    assert not (tmp_path / "o.mp4").exists()
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
