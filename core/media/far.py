"""Films that are not in the file system: a path that knows by itself how to be asked and read."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import ClassVar


class FarPath(type(Path())):  # type: ignore[misc]
    """A path whose `stat` and `open("rb")` reach something else than this machine's file system.

    `machine` stands in a film's stamp where the name of the machine does: all machines see one and the same. `opener`
    ("module:function") makes such a path of its text in another process, which inherits nothing but the import path.
    `wait_s`: who asks there has an answer, or is told that there is none, within so many seconds.
    """

    machine: ClassVar[str]
    opener: ClassVar[str]
    wait_s: ClassVar[float]

    def look(self) -> None:
        """`InputError` where nothing can be asked there: before any work."""
        raise NotImplementedError

    def hashed(self) -> AbstractContextManager[Callable[[], str]]:
        """While it is entered, what is read through this path is hashed as it comes; calling what it gives reads what
        nobody read, and gives the SHA-256 of all in hexadecimal. So a film that is read anyway comes over the line
        once."""
        raise NotImplementedError


def as_path(path: Path | str) -> Path:
    """`path` as it is, or of the text the path of a file."""
    return path if isinstance(path, Path) else Path(path)
