"""A folder of this machine for what a bucket holds: files by their content, and what is being written.

<temporary folder>/farm-<user>/<bucket and prefix>/
  content/<hash><ending>     never changed; touched when used
  tmp/                       what is being written
  held                       locked (flock) by each driver of this machine that works on the place

Each process that has the cache open holds a shared lock (flock) on the folder itself, and only who gets that lock for
itself alone may remove the folder.

What is made here for the place is kept only where a driver of this machine will read it. A cache that no driver of this
machine holds loses what nobody touched for a while, and most of all what is too much for the disk, whenever any cache
of this user is opened.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
import stat
import tempfile
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from core.codec import digest
from core.errors import StorageError
from farm.store.disk import storage_error

KEPT_S = 7 * 86400.0  # what nobody used for so long goes
MADE_AGAIN = 8  # tries
WRITING_S = 86400.0  # what is being written for so long is not
USED_S = 3600.0  # what was touched so lately may be in use
DISK_SHARE = 0.1  # of the disk, for all that nobody holds
HELD = "held"


def cache_of(place: str) -> Path:
    """The folder for `place`; TMPDIR decides on which disk, as for every program."""
    return Path(tempfile.gettempdir()) / f"farm-{os.getuid()}" / digest(place)[:16]


class Cache:
    """The files of one place. Made where it is not there, for this user alone. Safe between threads."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._making = threading.Lock()
        self._holding: int | None = None
        self._open: tuple[int, weakref.finalize[..., Cache]] | None = None
        try:
            _again(self._make)
        except OSError as error:
            raise storage_error(error, root) from error
        prune_all(self._root.parent)

    def _make(self) -> None:
        shared = self._root.parent
        shared.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = shared.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
            raise StorageError("is somebody else's", where=str(shared), hint="set TMPDIR to a folder of yours")
        self._root.mkdir(mode=0o700, exist_ok=True)
        with self._making:
            self._stay()
        for folder in (self._content, self._tmp):
            folder.mkdir(mode=0o700, exist_ok=True)

    def _stay(self) -> None:
        """Lock the folder against those that remove it, as long as this cache is used. `FileNotFoundError` where it is
        gone already. Where the file system has no such locks nobody gets one to remove it. With `_making` held: another
        thread would close the handle that is looked at here."""
        if self._open is not None and os.path.samestat(os.fstat(self._open[0]), self._root.stat()):
            return
        self._leave()
        handle = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
        self._open = handle, weakref.finalize(self, os.close, handle)
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_SH)
        if not os.path.samestat(os.fstat(handle), self._root.stat()):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self._root))
        os.utime(self._root)  # opened lately

    def _leave(self) -> None:
        if self._open is not None:
            self._open[1]()
            self._open = None

    @property
    def _content(self) -> Path:
        return self._root / "content"

    @property
    def _tmp(self) -> Path:
        return self._root / "tmp"

    def scratch(self, suffix: str) -> Path:
        try:
            _again(self._make)
        except OSError as error:
            raise storage_error(error, self._tmp) from error
        return self._tmp / f"{secrets.token_hex(8)}{suffix}"

    def absent(self, name: str) -> Path:
        """A path at which nothing is."""
        return self._root / "absent" / name

    def file(self, key: str, name: str, size: int, fetch: Callable[[Path], object]) -> Path:
        """The file with the content `key` of `size` bytes and the ending of `name`; fetched where it is not there."""
        final = self._place(key, name)
        try:
            if final.stat().st_size == size:
                os.utime(final)
                return final
        except OSError:
            pass
        temporary = self.scratch(".part")
        try:
            fetch(temporary)
            self.take(temporary, key, name)
        finally:
            temporary.unlink(missing_ok=True)
        return final

    def take(self, temporary: Path, key: str, name: str) -> None:
        """Keep the finished file `temporary`, which holds the content `key`."""
        final = self._place(key, name)
        try:
            _again(self._make)
            temporary.replace(final)
        except OSError as error:
            raise storage_error(error, final) from error

    def drop(self, key: str, name: str) -> None:
        self._place(key, name).unlink(missing_ok=True)

    def hold(self) -> None:
        """Keep all that is here, and what this machine makes for the place, until `release` or this process's end."""
        try:
            _again(self._hold)
        except OSError as error:
            raise storage_error(error, self._root) from error

    def _hold(self) -> None:
        self._make()
        self.release()
        self._holding = os.open(self._root / HELD, os.O_RDWR | os.O_CREAT, 0o600)
        with suppress(OSError):  # a file system without such locks: `_is_held` then takes it for held
            fcntl.flock(self._holding, fcntl.LOCK_SH)

    def release(self) -> None:
        if self._holding is not None:
            os.close(self._holding)
            self._holding = None

    @property
    def is_held(self) -> bool:
        """Whether a driver of this machine works on the place."""
        return _is_held(self._root)

    def sweep(self) -> None:
        """Remove what is being written; only for who knows that nobody writes."""
        _prune(self._tmp, 0)

    def remove(self) -> None:
        self.release()
        with self._making:
            self._leave()
        shutil.rmtree(self._root, ignore_errors=True)
        with suppress(OSError):
            self._root.parent.rmdir()

    def _place(self, key: str, name: str) -> Path:
        return self._content / f"{key}{Path(name).suffix}"


def _again(make: Callable[[], None]) -> None:
    """Make folders that another run, which has just ended, may be removing from below."""
    for _ in range(MADE_AGAIN):
        with suppress(FileNotFoundError, FileExistsError):  # the latter where one goes as mkdir looks what it is
            return make()
    return make()


def prune_all(shared: Path, disk_share: float = DISK_SHARE) -> None:
    """Of the caches below `shared` that no driver of this machine holds: remove what nobody used for `KEPT_S`, and then
    the longest unused of the rest until it takes no more than `disk_share` of the disk."""
    idle: list[tuple[float, int, str]] = []
    for root in _folders(shared):
        _prune(root / "tmp", WRITING_S)
        if not _is_held(root):
            _prune(root / "content", KEPT_S)
            idle += [(status.st_mtime, status.st_size, path) for path, status in _files(root / "content")]
            _drop_empty(root)
    with suppress(OSError):
        disk = os.statvfs(shared)
        excess = sum(size for _, size, _ in idle) - disk_share * disk.f_blocks * disk.f_frsize
        for touched_s, size, path in sorted(idle):
            if excess <= 0 or time.time() - touched_s < USED_S:
                return
            with suppress(OSError):
                Path(path).unlink()
                excess -= size


def _is_held(root: Path) -> bool:
    try:
        handle = os.open(root / HELD, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False


def _drop_empty(root: Path) -> None:
    """Remove a cache in which nothing is, that nobody opened lately, and that nobody has open."""
    with suppress(OSError):
        if time.time() - root.stat().st_mtime < WRITING_S:
            return
        handle = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if any(_files(root / "content")):
                return
            for name in ("content", "tmp"):
                with suppress(FileNotFoundError):
                    (root / name).rmdir()
            (root / HELD).unlink(missing_ok=True)
            root.rmdir()
        finally:
            os.close(handle)


def _prune(folder: Path, older_s: float) -> None:
    """Remove the files of `folder` that were not touched for `older_s` seconds."""
    for path, status in _files(folder):
        with suppress(OSError):
            if time.time() - status.st_mtime >= older_s:
                Path(path).unlink()


def _files(folder: Path) -> list[tuple[str, os.stat_result]]:
    found = []
    with suppress(OSError):
        for entry in list(os.scandir(folder)):
            with suppress(OSError):
                found.append((entry.path, entry.stat(follow_symlinks=False)))
    return found


def _folders(shared: Path) -> list[Path]:
    with suppress(OSError):
        return [Path(entry.path) for entry in os.scandir(shared) if entry.is_dir(follow_symlinks=False)]
    return []
