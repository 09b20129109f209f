"""The job's store on disk: names, atomic publish, resume scan, one driver at a time.

    OUT.farm/
      lock                          held (flock) by the driver that works here
      index/<key>.json              the film's table, keyed by the file's identity
      plan/<key>.json               segments
      identity/<key>.json           the source face
      analysis/<order>/             <attempt>-<token>.parquet and DONE.json, one folder a segment
      cast/<key>.parquet .json      the film's cast; <sha256>.parquet: one segment's rows of it
      segments/<order>/             <attempt>-<token>.mp4 and DONE.json, one folder a segment
      tmp/                          what is being written

A name appears only when its content is whole: written under tmp/, flushed to the disk, then linked. A link to
a name that exists fails, so the first writer wins and what is published never changes. Progress is what the
listing says.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from core.codec import decode
from core.errors import InputError, StorageError
from core.records import AnalysisReceipt, SegmentReceipt

ReceiptT = TypeVar("ReceiptT", AnalysisReceipt, SegmentReceipt)

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS}


def storage_error(error: OSError, where: Path | str) -> StorageError:
    """An operating system's refusal as one line."""
    if error.errno in FULL:
        return StorageError("the disk is full", where=str(where), hint="free some space and run the same command again")
    return StorageError(
        error.strerror or str(error), where=str(where), hint="check the folder, then run the same command again"
    )


def sync_folder(folder: Path) -> None:
    """Make a new name in `folder` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@dataclass(frozen=True)
class DiskStore:
    """A folder that holds one job's state. Names are relative, with forward slashes."""

    root: str

    def path(self, name: str) -> Path:
        return Path(self.root) / name

    def exists(self, name: str) -> bool:
        return self.path(name).is_file()

    def read(self, name: str) -> bytes:
        try:
            return self.path(name).read_bytes()
        except OSError as error:
            raise storage_error(error, self.path(name)) from error

    def scratch(self, suffix: str) -> Path:
        """A new name under tmp/ that nobody else uses; nothing is created."""
        folder = self.path("tmp")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error(error, folder) from error
        return folder / f"{secrets.token_hex(8)}{suffix}"

    def write(self, name: str, data: bytes) -> bool:
        """Publish `data` as `name`; False, and nothing changed, where the name exists."""
        temporary = self.scratch(".part")
        try:
            with temporary.open("wb") as file:
                file.write(data)
            return self.adopt(temporary, name)
        except OSError as error:
            raise storage_error(error, self.path(name)) from error
        finally:
            temporary.unlink(missing_ok=True)

    def adopt(self, temporary: Path, name: str) -> bool:
        """Publish the finished file `temporary` as `name` and remove it; False where the name exists already."""
        final = self.path(name)
        try:
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            final.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(temporary, final)
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in NO_LINKS:
                    raise
                # A file system without links: the last writer wins instead, with equal content.
                temporary.replace(final)
            sync_folder(final.parent)
            return True
        except OSError as error:
            raise storage_error(error, final) from error
        finally:
            temporary.unlink(missing_ok=True)

    def receipt(self, kind: type[ReceiptT], folder: str, order_id: str) -> ReceiptT | None:
        """The receipt of a finished order whose file is there and whole in size; None when it must be done."""
        name = f"{folder}/{order_id}/DONE.json"
        if not self.exists(name):
            return None
        receipt = decode(self.read(name), kind)
        try:
            whole = self.path(receipt.file).stat().st_size == receipt.size_bytes
        except OSError:
            whole = False
        if whole:
            return receipt
        # Somebody removed or cut the file behind the receipt: the order is open again.
        self.path(name).unlink(missing_ok=True)
        return None

    def holds_work(self) -> bool:
        """True when finished work would be lost by removing the store."""
        folder = Path(self.root)
        return any(folder.glob("segments/*/DONE.json")) or any(folder.glob("analysis/*/DONE.json"))

    def sweep(self) -> None:
        """Remove what attempts that nobody finished left behind. Only the holder of the lock may call it."""
        shutil.rmtree(self.path("tmp"), ignore_errors=True)

    def remove(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)


@contextmanager
def open_store(root: Path) -> Iterator[DiskStore]:
    """The store at `root`, made if need be and locked for this driver. `InputError` when another driver has it."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        # Stores are removed on success, so a folder that somebody keeps other things in must never become one.
        if not (root / "lock").exists() and any(root.iterdir()):
            raise InputError("not a store and not empty", where=str(root), hint="give a new folder with --store")
        handle = os.open(root / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        if error.errno in FULL:
            raise storage_error(error, root) from error
        raise InputError(
            f"the store cannot be made here: {error.strerror}", where=str(root), hint="choose another with --store"
        ) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(
                "another run works on this job", where=str(root), hint="wait for it, or choose another --store"
            ) from error
        store = DiskStore(str(root))
        store.sweep()
        yield store
    finally:
        os.close(handle)


def publish_film(finished: Path, output: Path) -> None:
    """Give `finished` its final name: atomic on one file system, else copied beside it first."""
    near = output.with_name(f".{output.name}.{secrets.token_hex(4)}.part")
    try:
        with finished.open("rb") as file:
            os.fsync(file.fileno())
        try:
            finished.replace(output)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            shutil.copyfile(finished, near)
            with near.open("rb") as file:
                os.fsync(file.fileno())
            near.replace(output)
        sync_folder(output.parent)
    except OSError as error:
        raise storage_error(error, output) from error
    finally:
        near.unlink(missing_ok=True)


def check_output_place(output: Path, target: Path) -> None:
    """`InputError` unless a film can be written to `output` without touching `target`."""
    folder = output.parent
    if output.is_dir():
        raise InputError("the output is a folder", where=str(output), hint="give the file's name with -o")
    if not folder.is_dir():
        raise InputError("the output's folder does not exist", where=str(folder), hint="create it first")
    same = output.resolve() == target.resolve()
    if not same and output.exists() and target.exists():
        same = output.samefile(target)
    if same:
        raise InputError("the output is the target itself", where=str(output), hint="give another name with -o")
    probe = folder / f".{output.name[:64]}.{secrets.token_hex(4)}.part"
    try:
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        if error.errno in FULL:
            raise storage_error(error, folder) from error
        raise InputError(
            f"the output's folder cannot be written: {error.strerror}", where=str(folder), hint="choose another with -o"
        ) from error
