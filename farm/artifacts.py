"""The job's store on disk: names, atomic publish, resume scan, one driver at a time.

    OUT.farm/
      lock                          held (flock) by the driver that works here
      jobs/<owner>/<hash>.json      names that a job uses: removing one job leaves what another one claims
      index/<key>.<sha256>.json     the film's table, keyed by the file's identity and the code
      plan/<key>.json               segments
      identity/<sha256>.json        the source face
      analysis/<order>/             <attempt>-<token>.parquet, .shots.parquet and DONE.json, one folder a segment
      cast/<key>.parquet .json      the film's cast; <sha256>.parquet: one segment's rows of it
      segments/<order>/             <attempt>-<token>.mp4 and DONE.json, one folder a segment
      tmp/                          what is being written

A name appears only when its content is whole: written under tmp/, flushed to the disk, then linked. A link to
a name that exists fails, so the first writer wins and what is published never changes. Progress is what the
listing says; what cannot be read, or is not what its hash says, counts as absent and is made again.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from core.codec import decode, digest, encode
from core.errors import DISK_FULL, InputError, StorageError
from core.records import AnalysisReceipt, SegmentReceipt

T = TypeVar("T")
ReceiptT = TypeVar("ReceiptT", AnalysisReceipt, SegmentReceipt)

ORDERS = ("analysis", "segments")  # a folder an order
CONTENT = ("jobs", "index", "plan", "identity", "cast", *ORDERS)
THE_OUTPUT = "output"  # the owner of OUT.farm: all in there was made for OUT, wherever both were moved to
SCRATCH_DIGITS = 16

NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS}


def storage_error(error: OSError, where: Path | str) -> StorageError:
    """An operating system's refusal as one line."""
    if error.errno in DISK_FULL:
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
    """A folder that holds the state of jobs. Names are relative, with forward slashes.

    `owner` is whose work is done here: in OUT.farm the job of OUT, in a folder that jobs share one of them.
    """

    root: str
    owner: str = THE_OUTPUT

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
        return folder / f"{secrets.token_hex(SCRATCH_DIGITS // 2)}{suffix}"

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

    def discard(self, name: str) -> None:
        try:
            self.path(name).unlink(missing_ok=True)
        except OSError as error:
            raise storage_error(error, self.path(name)) from error

    def load(self, name: str, kind: type[T]) -> T | None:
        """The record at `name`. None where there is none, and where it cannot be read: then it is removed."""
        if not self.exists(name):
            return None
        try:
            return decode(self.read(name), kind)
        except InputError:
            self.discard(name)
            return None

    def named(self, start: str) -> list[str]:
        """The files whose names begin with `start`, up to a full stop."""
        return sorted(path.relative_to(self.root).as_posix() for path in Path(self.root).glob(f"{start}.*"))

    def intact(self, name: str, sha256: str) -> bool:
        """Whether the file `name` is there and holds what its hash says; it is read once from end to end."""
        try:
            with self.path(name).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == sha256
        except OSError:
            return False

    def receipt(self, kind: type[ReceiptT], folder: str, order_id: str) -> ReceiptT | None:
        """The receipt of a finished order whose files are there and have their hashes; None when it must be done."""
        name = f"{folder}/{order_id}/DONE.json"
        receipt = self.load(name, kind)
        if receipt is None:
            return None
        files = {receipt.file: receipt.sha256}
        if isinstance(receipt, AnalysisReceipt) and receipt.shots:
            files[receipt.shots] = receipt.shots_sha256
        if all(self.intact(file, sha256) for file, sha256 in files.items()):
            return receipt
        # Somebody removed or changed a file behind the receipt: the order is open again.
        self.discard(name)
        for file in files:
            self.discard(file)
        return None

    # ------------------------------------------------------------ whose work it is, and how it goes

    def claim(self, names: Iterable[str]) -> None:
        """Say, before they are made, that this job uses the files and order folders `names`."""
        listed = tuple(sorted(set(names)))
        self.write(f"jobs/{self.owner}/{digest(listed)[:32]}.json", encode(listed))

    def holds_work(self) -> bool:
        """True when finished work would be lost by removing this job's state."""
        return any(self.exists(f"{name}/DONE.json") for name in self._removable() if name.startswith(ORDERS))

    def sweep(self) -> None:
        """Remove what attempts that nobody finished left behind. Only the holder of the lock may call it."""
        folder = self.path("tmp")
        for entry in folder.glob("[0-9a-f]" * SCRATCH_DIGITS + "*"):
            _delete(entry)
        _delete_empty(folder)
        for name in self._entries(ORDERS):
            if not self.exists(f"{name}/DONE.json"):
                _delete(self.path(name))

    def remove(self) -> None:
        """Remove all that no other job claims, and the folder where nothing of others is left in it.

        The lock goes last, so a store that is half removed is a store. Only the holder of the lock may call it.
        """
        self.sweep()
        for name in self._removable():
            _delete(self.path(name))
        _delete(self.path(f"jobs/{self.owner}"))
        for kind in CONTENT:
            _delete_empty(self.path(kind))
        root = Path(self.root)
        with suppress(OSError):
            if [entry.name for entry in root.iterdir()] == ["lock"]:
                (root / "lock").unlink()
                root.rmdir()  # fails where the next driver is in already

    def _removable(self) -> list[str]:
        claimed: set[str] = set()
        for record in Path(self.root).glob("jobs/*/*.json"):
            if record.parent.name != self.owner:
                claimed.update(self.load(record.relative_to(self.root).as_posix(), tuple[str, ...]) or ())
        return [
            name for name in self._entries(tuple(kind for kind in CONTENT if kind != "jobs")) if name not in claimed
        ]

    def _entries(self, kinds: Sequence[str]) -> list[str]:
        return [f"{kind}/{entry.name}" for kind in kinds for entry in self.path(kind).glob("*")]


def _delete(path: Path) -> None:
    """Remove a file or folder as far as it can be: what stays is met again by the next run."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _delete_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def lock_file(path: Path) -> int | None:
    """A handle on the file `path`, made if need be, that holds its lock; None when somebody else holds it.

    The lock counts only where the name still means the locked file: its last holder may have removed it meanwhile.
    """
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(handle), path.stat()):
                return handle
        except BlockingIOError:
            os.close(handle)
            return None
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def looks_like_store(names: set[str]) -> bool:
    """Whether a folder with the entries `names` is empty, a store, or a store that lost its lock."""
    return not names or "lock" in names or ("jobs" in names and names <= {"tmp", *CONTENT})


def lock_store(root: Path, option: str = "--store") -> int | None:
    """The lock of the store at `root`, which is made if need be; `InputError` for a folder of other things."""
    while True:
        root.mkdir(parents=True, exist_ok=True)
        # What a store holds is removed on success, so a folder that somebody keeps other things in never becomes one.
        if not looks_like_store({entry.name for entry in root.iterdir()}):
            raise InputError("not a store and not empty", where=str(root), hint=f"give a new folder with {option}")
        with suppress(FileNotFoundError):  # a driver that is done removed the folder just now
            return lock_file(root / "lock")


@contextmanager
def open_store(root: Path, owner: str = THE_OUTPUT, *, option: str = "--store") -> Iterator[DiskStore]:
    """The store at `root`, made if need be and locked for this driver. `InputError` when another driver has it.

    `option` is the command's name for the place, for its hints.
    """
    try:
        handle = lock_store(root, option)
    except OSError as error:
        if error.errno in DISK_FULL:
            raise storage_error(error, root) from error
        raise InputError(
            f"the store cannot be made here: {error.strerror}", where=str(root), hint=f"choose another with {option}"
        ) from error
    if handle is None:
        raise InputError(
            "another run works on this job", where=str(root), hint=f"wait for it, or choose another {option}"
        )
    try:
        store = DiskStore(str(root), owner)
        store.sweep()
        yield store
    finally:
        os.close(handle)
