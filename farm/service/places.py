"""Where the service's files lie: below one root, a folder or a prefix of a bucket, in folders named by ids that the
service made.

uploads/<tenant>/<upload>          a file as it was sent
jobs/<job>/cast/                   after the analysis: cast.toml, index.html, people/ and what they need
jobs/<job>/store/, cast/store/     what was done of it so far, kept until the job has succeeded or is erased
jobs/<job>/out/<name>              the finished film
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from core.errors import InputError, StorageError
from core.media.far import FarPath
from farm.paths import place

ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,79}")
PRIVATE = 0o600
REMOVALS = 10  # of a folder in which files come and go
STORES = ("store", "cast/store")  # of a job, below its folder


@dataclass(frozen=True)
class ServicePlaces:
    """`root` is a folder of this machine, or one that all machines of the farm see under this name, or s3://..."""

    root: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", place(str(self.root)).absolute())

    @property
    def far(self) -> bool:
        """Whether the files lie in a bucket."""
        return isinstance(self.root, FarPath)

    def make(self) -> None:
        """Make the folders, or see that objects can be put; `InputError` or `StorageError` where they cannot be."""
        if self.far:
            from farm.store.output import check_output_object  # noqa: PLC0415 - loads boto3
            from farm.store.s3path import as_object  # noqa: PLC0415

            try:
                check_output_object(as_object(self.root / "uploads" / f"try-{secrets.token_hex(4)}"))
            except InputError as error:
                raise InputError(error.what, where=str(self.root), hint="mend it, or choose another --data") from error
            return
        try:
            for name in ("uploads", "jobs"):
                (self.root / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"cannot be made: {error.strerror}", where=str(error.filename)) from error

    def secret(self, name: str) -> str | None:
        """What was kept under `name`, None where nothing was."""
        try:
            return (self.root / name).read_bytes().decode().strip()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"cannot be read: {error.strerror}", where=str(self.root / name)) from error

    def keep_secret(self, name: str, text: str) -> str:
        """Keep `text` under `name` where nothing is kept there yet; what is there then: of those that begin at once,
        one wins. Only the owner of the root can read it."""
        file = self.root / name
        if self.far:
            from farm.store.s3path import as_object  # noqa: PLC0415 - loads boto3

            far = as_object(file)
            far.bucket.create(far.key, text.encode())
        else:
            with self._fresh(file, text) as fresh:
                try:
                    file.hardlink_to(fresh)
                except FileExistsError:
                    if not self.secret(name):  # power went before a file had its content
                        fresh.replace(file)
        return self.secret(name) or text

    def put_secret(self, name: str, text: str) -> None:
        """Keep `text` under `name`, in the place of what is there."""
        file = self.root / name
        if self.far:
            file.write_bytes(text.encode())
        else:
            with self._fresh(file, text) as fresh:
                fresh.replace(file)

    def drop_secret(self, name: str) -> None:
        """Nothing is kept under `name` any more. `StorageError` where it cannot be removed."""
        file = self.root / name
        if self.far:
            from farm.store.s3path import as_object  # noqa: PLC0415 - loads boto3

            as_object(file).unlink(missing_ok=True)
            return
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"cannot be removed: {error.strerror}", where=str(file)) from error

    @contextmanager
    def _fresh(self, file: Path, text: str) -> Iterator[Path]:
        """A file beside `file` with a line, for its owner's eyes. What becomes of it stays when the power goes."""
        fresh = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
        try:
            fresh.touch(PRIVATE)
            with fresh.open("w") as line:
                line.write(f"{text}\n")
                line.flush()
                os.fsync(line.fileno())
            yield fresh
            sync_folder(file.parent)
        except OSError as error:
            raise StorageError(f"cannot be kept: {error.strerror}", where=str(file)) from error
        finally:
            fresh.unlink(missing_ok=True)

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
        self._remove(self.job(job_id))

    def remove_stores(self, job_id: str) -> None:
        """Remove what a job goes on with: nothing is left to be done of one that has succeeded. `StorageError` as
        above."""
        for name in STORES:
            self._remove(self.job(job_id) / name)

    def _remove(self, folder: Path) -> None:
        if self.far:
            remove_below(folder)
            return
        for _ in range(REMOVALS):
            try:
                shutil.rmtree(folder)
            except FileNotFoundError:  # of the folder, or of a file in it that somebody else removed meanwhile
                pass
            except OSError as error:
                raise StorageError(f"cannot be removed: {error.strerror}", where=str(error.filename)) from error
            if not os.path.lexists(folder):
                return
        raise StorageError("cannot be removed: somebody works in it", where=str(folder))


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk, where its file system can say so."""
    with suppress(OSError):
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def remove_below(folder: Path) -> None:
    """Remove all objects of a prefix, uploads to it that nobody finished, and what this machine keeps of it."""
    from farm.store.cache import cache_of  # noqa: PLC0415 - loads boto3
    from farm.store.s3path import as_object  # noqa: PLC0415

    far = as_object(folder)
    below = f"{far.key}/"
    far.bucket.abort_uploads(below)
    far.bucket.delete(entry.key for entry in far.bucket.list(below))
    for kept in (folder, *(folder / name for name in STORES)):
        shutil.rmtree(cache_of(str(kept)), ignore_errors=True)


def remove_object(path: Path) -> None:
    """Remove an object, uploads to it that nobody finished, and what this machine keeps of it."""
    from farm.store.output import forget_near  # noqa: PLC0415 - loads boto3
    from farm.store.s3path import as_object  # noqa: PLC0415

    far = as_object(path)
    far.bucket.abort_uploads(far.key, whole=True)
    forget_near(far)
    far.unlink(missing_ok=True)


def _id(name: str) -> str:
    """`name` where it is an id of the service's: no path can be made of one."""
    if ID.fullmatch(name) is None:
        raise InputError("not an id of this service", where=repr(name)[:80])
    return name
