"""Where the service's files lie: below one root, in folders named by ids that the service made.

uploads/<tenant>/<upload>          a file as it was sent
jobs/<job>/cast/                   after the analysis: cast.toml, index.html, people/ and what they need
jobs/<job>/store/                  the state of its rendering, kept until the job is erased
jobs/<job>/out/<name>              the finished film
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from core.errors import InputError, StorageError
from core.media.far import FarPath
from farm.paths import place

ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,79}")


@dataclass(frozen=True)
class ServicePlaces:
    """`root` is a folder of this machine, or one that all machines of the farm see under this name."""

    root: Path

    def __post_init__(self) -> None:
        if isinstance(place(str(self.root)), FarPath):
            raise InputError("the service keeps its files in a folder", where=str(self.root), hint="name a folder")
        object.__setattr__(self, "root", self.root.absolute())

    def make(self) -> None:
        """Make the folders; `StorageError` where they cannot be."""
        try:
            for name in ("uploads", "jobs"):
                (self.root / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"cannot be made: {error.strerror}", where=str(error.filename)) from error

    def upload(self, tenant: str, upload_id: str) -> Path:
        return self.root / "uploads" / _id(tenant) / _id(upload_id)

    def job(self, job_id: str) -> Path:
        return self.root / "jobs" / _id(job_id)

    def cast_folder(self, job_id: str) -> Path:
        return self.job(job_id) / "cast"

    def store(self, job_id: str) -> Path:
        return self.job(job_id) / "store"

    def result(self, job_id: str, name: str) -> Path:
        """Where the film `name` of a job lies; `InputError` for a name that is none."""
        if not name or name in {".", ".."} or "/" in name or "\0" in name:
            raise InputError("not a file name", where=repr(name)[:80])
        return self.job(job_id) / "out" / name

    def remove_job(self, job_id: str) -> None:
        """Remove all files of a job; nothing where there are none. `StorageError` where one cannot be removed."""
        folder = self.job(job_id)
        try:
            shutil.rmtree(folder)
        except FileNotFoundError:
            return
        except OSError as error:
            raise StorageError(f"cannot be removed: {error.strerror}", where=str(error.filename)) from error


def _id(name: str) -> str:
    """`name` where it is an id of the service's: no path can be made of one."""
    if ID.fullmatch(name) is None:
        raise InputError("not an id of this service", where=repr(name)[:80])
    return name
