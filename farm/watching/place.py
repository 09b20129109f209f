"""Where a job tells how far it is, found by what a person knows of it: its output, its store, or a folder of faces."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core import codec
from core.errors import InputError, StorageError
from core.media.far import FarPath
from core.records import FileStamp, JobStatus
from farm.artifacts import DiskStore, Store
from farm.paths import place
from farm.places import absolute, store_place
from farm.store.base import STATUS, THE_OUTPUT

if TYPE_CHECKING:
    from farm.store.bucket import Bucket

ANALYSIS_STORE = "store"  # of the folder that `farm analyse` makes, see farm.analysis


@dataclass(frozen=True)
class Told:
    """Where one job's JobStatus is: the store is looked at, neither made nor locked."""

    store: Store
    far: bool  # every question is a request

    def read(self) -> JobStatus | None:
        """What is told now; None where nothing is."""
        try:
            if not self.store.exists(self.store.status_name):
                return None
            return codec.decode(self.store.read(self.store.status_name), JobStatus)
        except InputError:  # cut off by a power cut; the next run writes it anew
            return None
        except StorageError:
            if not self.store.exists(self.store.status_name):  # taken away between the two questions
                return None
            raise

    def run_here(self) -> str:
        """The name of the run that holds the place; "" where none is known to."""
        holder = self.store.holder()
        return holder.run if holder is not None else ""

    def age_s(self) -> float:
        """Seconds since it was told, by the clock that dated it; 0 where it is not there."""
        return self.store.age_s(self.store.status_name) or 0.0


def find_job(job: str, store: Path | None = None) -> Told:
    """The job that `job` means: an output (with `store`, where its state is), a store, or a folder of faces.

    `InputError` where it is a store of several jobs.
    """
    looking = _Looking()
    named = place(absolute(job))
    if store is not None:
        return looking.told(*store_place(place(absolute(str(store))), named))
    for root in (named, named / ANALYSIS_STORE):
        owners = looking.owners(root)
        if len(owners) > 1:
            words = [looking.told(root, owner).read() for owner in owners]
            raise InputError(
                f"{len(owners)} jobs work here: {', '.join(sorted(word.output for word in words if word is not None))}",
                where=str(root),
                hint="name the output of one of them, and this with --store",
            )
        if owners:
            return looking.told(root, owners[0])
    if not isinstance(named, FarPath) and (named / ANALYSIS_STORE).is_dir():
        return looking.told(named / ANALYSIS_STORE, THE_OUTPUT)
    is_store = named.name.endswith(".farm")
    return looking.told(named, THE_OUTPUT) if is_store else looking.told(*store_place(None, named))


class _Looking:
    """Looks at stores; those in one bucket through one client, which takes a second to make."""

    def __init__(self) -> None:
        self._buckets: dict[str, Bucket] = {}

    def told(self, root: Path, owner: str) -> Told:
        if not isinstance(root, FarPath):
            return Told(DiskStore(str(root), owner), far=False)
        from farm.store.bucket import Bucket  # noqa: PLC0415 - loads boto3
        from farm.store.s3 import LOOK, S3Store, s3_place  # noqa: PLC0415

        name, prefix = s3_place(str(root))
        bucket = self._buckets.setdefault(name, Bucket(name, patience=LOOK))
        return Told(S3Store(bucket, prefix, owner), far=True)

    def owners(self, root: Path) -> list[str]:
        """Whose jobs tell how far they are at `root`."""
        if not isinstance(root, FarPath) and not root.is_dir():
            return []
        names = self.told(root, THE_OUTPUT).store.listed("jobs")
        return [name.split("/")[1] for name in names if name.endswith(f"/{STATUS}")]


def stamp_there(output: Path) -> FileStamp | None:
    """Which file is at `output` now; None where none is, or it cannot be asked."""
    try:
        status = output.stat()
    except (OSError, StorageError):
        return None
    machine = output.machine if isinstance(output, FarPath) else platform.node()
    return FileStamp(status.st_size, status.st_mtime_ns, status.st_ino, machine)


def is_made(status: JobStatus) -> bool:
    """Whether a film is at the job's output that was not there when the run began."""
    now = stamp_there(place(status.output))
    return now is not None and (status.before is None or not now.same_file(status.before))
