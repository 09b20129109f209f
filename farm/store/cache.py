"""A folder of this machine for what a bucket holds: files by their content, and what is being written.

<temporary folder>/farm-<user>/<bucket and prefix>/
  content/<hash><ending>     never changed; touched when used
  tmp/                       what is being written
"""

from __future__ import annotations

import os
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from core.codec import digest
from core.errors import StorageError
from farm.store.disk import storage_error

KEPT_S = 7 * 86400.0  # what nobody used for so long goes
MADE_AGAIN = 8  # tries
WRITING_S = 86400.0  # what is being written for so long is not


def cache_of(place: str) -> Path:
    """The folder for `place`; TMPDIR decides on which disk, as for every program."""
    return Path(tempfile.gettempdir()) / f"farm-{os.getuid()}" / digest(place)[:16]


class Cache:
    """The files of one place. Made where it is not there, for this user alone."""

    def __init__(self, root: Path) -> None:
        self._root = root
        try:
            _again(self._make)
        except OSError as error:
            raise storage_error(error, root) from error
        _prune(self._content, KEPT_S)
        _prune(self._tmp, WRITING_S)

    def _make(self) -> None:
        shared = self._root.parent
        shared.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = shared.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
            raise StorageError("is somebody else's", where=str(shared), hint="set TMPDIR to a folder of yours")
        for folder in (self._root, self._content, self._tmp):
            folder.mkdir(mode=0o700, exist_ok=True)

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

    def sweep(self) -> None:
        """Remove what is being written; only for who knows that nobody writes."""
        _prune(self._tmp, 0)

    def remove(self) -> None:
        shutil.rmtree(self._root, ignore_errors=True)
        with suppress(OSError):
            self._root.parent.rmdir()

    def _place(self, key: str, name: str) -> Path:
        return self._content / f"{key}{Path(name).suffix}"


def _again(make: Callable[[], None]) -> None:
    """Make folders that another run, which has just ended, may be removing from below."""
    for _ in range(MADE_AGAIN):
        with suppress(FileNotFoundError):
            return make()
    return make()


def _prune(folder: Path, older_s: float) -> None:
    """Remove the files of `folder` that were not touched for `older_s` seconds."""
    with suppress(OSError):
        for entry in list(os.scandir(folder)):
            with suppress(OSError):
                if time.time() - entry.stat().st_mtime >= older_s:
                    Path(entry.path).unlink()
