"""Where the farm's machines share what takes long to make: a port, and the folder that all of them see.

A bucket has the same surface (farm.shelves); nothing here knows of it.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from core.errors import StorageError


class Shelf(Protocol):
    """Files by names with forward slashes; a file appears whole or not at all. `StorageError` where it cannot be
    reached or refuses. A shelf travels between processes."""

    @property
    def where(self) -> str:
        """The place, for messages."""
        ...

    def fetch(self, name: str, file: Path) -> bool:
        """Write what is there as `name` to the new `file`; False where there is nothing."""
        ...

    def put(self, file: Path, name: str) -> None:
        """Place a copy of `file` as `name`, instead of what is there."""
        ...

    def lock(self, name: str, waiting: Callable[[], None]) -> AbstractContextManager[None]:
        """Alone with `name` among all who use the shelf; `waiting` is called once if somebody else is at it."""
        ...


@dataclass(frozen=True)
class FolderShelf:
    """A folder that all machines see."""

    folder: Path

    @property
    def where(self) -> str:
        return str(self.folder)

    def fetch(self, name: str, file: Path) -> bool:
        with _refusals(self.where):
            try:
                shutil.copyfile(self.folder / name, file)
            except FileNotFoundError:
                if file.parent.is_dir():
                    return False
                raise
            return True

    def put(self, file: Path, name: str) -> None:
        final = self.folder / name
        with _refusals(self.where):
            final.parent.mkdir(parents=True, exist_ok=True)
            part = final.with_name(f"{final.name}.part-{secrets.token_hex(6)}")
            try:
                shutil.copyfile(file, part)
                part.replace(final)
            finally:
                part.unlink(missing_ok=True)

    @contextmanager
    def lock(self, name: str, waiting: Callable[[], None]) -> Iterator[None]:
        """A lock of the file system. One that has none for other machines lets two do the same work, without harm."""
        with _refusals(self.where):
            self.folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.folder / f"{name}.lock", os.O_RDWR | os.O_CREAT, 0o666)
        try:
            with suppress(OSError):
                lock_handle(handle, waiting)
            yield
        finally:
            os.close(handle)


def lock_handle(handle: int, waiting: Callable[[], None]) -> None:
    """Lock an open file, which its closing undoes; `waiting` is called if another has it. OSError without locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        waiting()
        fcntl.flock(handle, fcntl.LOCK_EX)


@contextmanager
def _refusals(where: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"the shared folder cannot be used: {error.strerror or error}", where=where, hint="name another folder"
        ) from error
