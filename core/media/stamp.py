"""Whether a film is still the file that a job began with: by size, time of change and, on one machine, inode."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.errors import InputError, PlanError, StorageError, VerifyFailed
from core.media.far import FarPath
from core.media.guard import check_file
from core.records import FileStamp


def stamp_of(path: Path) -> FileStamp:
    """The stamp of the file at `path`, as this machine sees it; `InputError` where it is no file that can be read."""
    status = check_file(path).stat()
    machine = path.machine if isinstance(path, FarPath) else platform.node()
    return FileStamp(status.st_size, status.st_mtime_ns, status.st_ino, machine)


def check_stamp(path: Path, begun: FileStamp) -> FileStamp:
    """The stamp of `path` now; `InputError` when it is not the file of `begun` any more."""
    now = stamp_of(path)
    if not now.same_file(begun):
        raise InputError(
            "the film changed while it was rendered",
            where=str(path),
            hint="wait until it is complete, then run the same command again",
        )
    return now


@contextmanager
def unchanged(path: Path, begun: FileStamp | None = None) -> Iterator[FileStamp]:
    """Work on the film at `path`, which must be that of `begun` and stay it; gives its stamp on this machine.

    Also when the work fails: what a film that changed makes of it is no news, that it changed is.
    """
    here = stamp_of(path) if begun is None else check_stamp(path, begun)
    try:
        yield here
    except (InputError, PlanError, StorageError, VerifyFailed):
        check_stamp(path, here)
        raise
    check_stamp(path, here)
