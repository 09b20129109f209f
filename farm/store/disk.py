"""A job's store in a local folder, or one that machines share.

    OUT.farm/
      lock         held (flock) by the driver that works here, and names it
      tmp/         what is being written
      ...          what farm.store.base names

A name appears only when its content is whole: written under tmp/, flushed to the disk, then linked. A link to
a name that exists fails, so the first writer wins.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from core.errors import DISK_FULL, InputError, StorageError
from farm.store.base import CONTENT, DONE, ORDERS, THE_OUTPUT, USUAL, Entry, Store, looks_like_store
from farm.store.beat import Beat, lives_elsewhere, named, no_lock, unheard
from farm.store.holder import RUN_DIGITS, Holder, is_free, read_holder, run_of

SCRATCH_DIGITS = 16
LOCK = "lock"
TAKEN = {errno.EAGAIN, errno.EACCES}  # what a lock says that another has
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
class DiskStore(Store):
    """A folder that holds the state of jobs. Names are relative, with forward slashes.

    `owner` is whose work is done here: in OUT.farm the job of OUT, in a folder that jobs share one of them. Where a
    driver has it `opened`, the folder itself is not made anew: a renderer that outlives its job leaves nothing behind.
    """

    root: str
    owner: str = THE_OUTPUT
    opened: bool = False
    run: str = ""

    def holder(self) -> Holder | None:
        """On a folder that machines share, a lock that a dead driver of another machine left is not told from its."""
        try:
            holder = read_holder((Path(self.root) / LOCK).read_bytes())
        except OSError:
            return None
        return None if is_free(holder) else holder

    def path(self, name: str) -> Path:
        return Path(self.root) / name

    def check_held(self) -> None:
        """The lock is on an open file of the driver: nobody else has it while that lives, but where locks count on one
        machine alone. There the file's content tells."""
        holder = named(self.path(LOCK)) if self.run else None
        if holder is not None and holder.token and holder.run != self.run:
            raise StorageError(
                "another run took this job over",
                where=str(self.path(LOCK)),
                hint="the folder's locks do not reach other machines; let the other one finish",
            )

    def size(self, name: str) -> int | None:
        try:
            status = self.path(name).stat()
        except OSError:
            return None
        return status.st_size if stat.S_ISREG(status.st_mode) else None

    def read(self, name: str) -> bytes:
        try:
            return self.path(name).read_bytes()
        except OSError as error:
            raise storage_error(error, self.path(name)) from error

    def scratch(self, suffix: str) -> Path:
        """A new name under tmp/ that nobody else uses; nothing is created."""
        folder = self.path("tmp")
        try:
            self._make(folder)
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
            self._make(final.parent)
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

    def replace(self, name: str, data: bytes) -> None:
        temporary, final = self.scratch(".part"), self.path(name)
        try:
            temporary.write_bytes(data)
            self._make(final.parent)
            temporary.replace(final)
        except OSError as error:
            raise storage_error(error, final) from error
        finally:
            temporary.unlink(missing_ok=True)

    def _make(self, folder: Path) -> None:
        root = Path(self.root)
        if not self.opened:
            root.mkdir(parents=True, exist_ok=True)
        for level in (*reversed(folder.relative_to(root).parents), folder.relative_to(root)):
            if level.name:
                (root / level).mkdir(exist_ok=True)

    def discard(self, name: str) -> None:
        try:
            self.path(name).unlink(missing_ok=True)
        except OSError as error:
            raise storage_error(error, self.path(name)) from error

    def named(self, start: str) -> list[str]:
        return sorted(path.relative_to(self.root).as_posix() for path in Path(self.root).glob(f"{start}.*"))

    def intact(self, name: str, sha256: str) -> bool:
        """The file is read once from end to end."""
        try:
            with self.path(name).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == sha256
        except OSError:
            return False

    def listed(self, kind: str) -> list[str]:
        return sorted(name for name, _ in _files(self.path(kind), kind))

    def entries(self, kind: str) -> Iterator[Entry]:
        for name, entry in _files(self.path(kind), kind):
            with suppress(OSError):  # gone meanwhile
                status = entry.stat()
                yield Entry(name, status.st_size, max(0.0, time.time() - status.st_mtime))

    def age_s(self, name: str) -> float | None:
        try:
            return max(0.0, time.time() - self.path(name).stat().st_mtime)
        except OSError:
            return None

    def sweep(self) -> None:
        self.check_held()
        folder = self.path("tmp")
        for entry in folder.glob("[0-9a-f]" * SCRATCH_DIGITS + "*"):
            _delete(entry)
        _delete_empty(folder)
        for kind in ORDERS:
            for entry in self.path(kind).glob("*"):
                names = {inner.name for inner in entry.iterdir()} if entry.is_dir() else set()
                if DONE not in names:
                    _delete(entry)
                elif len(names) > USUAL[kind]:
                    for stray in self._strays(f"{kind}/{entry.name}/{name}" for name in names):
                        _delete(self.path(stray))

    def _remove_all(self, names: Iterable[str]) -> None:
        self.check_held()
        for name in names:
            _delete(self.path(name))

    def close_down(self) -> None:
        for kind in CONTENT:
            _delete_empty(self.path(kind))
        root = Path(self.root)
        with suppress(OSError):
            if [entry.name for entry in root.iterdir()] == [LOCK]:
                (root / LOCK).unlink()
                root.rmdir()  # fails where the next driver is in already


def _files(folder: Path, name: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """The files below `folder`, which is called `name`; what cannot be read holds none."""
    try:
        found = list(os.scandir(folder))
    except OSError:
        return
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            yield from _files(Path(entry.path), f"{name}/{entry.name}")
        elif entry.is_file():
            yield f"{name}/{entry.name}", entry


def _delete(path: Path) -> None:
    """Remove a file or folder as far as it can be: what stays is met again by the next run."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _names_below(root: Path) -> Iterator[str]:
    """The names of all that is no folder."""
    return (path.relative_to(root).as_posix() for path in root.rglob("*") if not path.is_dir() or path.is_symlink())


def _delete_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def take_lock(handle: int, kind: int = fcntl.LOCK_EX) -> bool:
    """Lock an open file, which its closing undoes; False where another has it, OSError where it has no locks."""
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in TAKEN:
            raise
        return False
    return True


def lock_file(path: Path) -> int | None:
    """A handle on the file `path`, made if need be, that holds its lock; None when somebody else holds it;
    `StorageError` where it has none, as on a share that is gone.

    The lock counts only where the name still means the locked file: its last holder may have removed it meanwhile.
    """
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if not take_lock(handle):
                os.close(handle)
                return None
            if os.path.samestat(os.fstat(handle), path.stat()):
                return handle
        except FileNotFoundError:
            pass
        except OSError as error:
            os.close(handle)
            raise no_lock(error, path) from error
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def lock_store(root: Path, option: str = "--store") -> int | None:
    """The lock of the store at `root`, which is made if need be; `InputError` for a folder of other things."""
    while True:
        root.mkdir(parents=True, exist_ok=True)
        # What a store holds is removed on success, so a folder that somebody keeps other things in never becomes one.
        if not looks_like_store({entry.name for entry in root.iterdir()}, lambda: _names_below(root)):
            raise InputError("not a store and not empty", where=str(root), hint=f"give a new folder with {option}")
        with suppress(FileNotFoundError):  # a driver that is done removed the folder just now
            return lock_file(root / LOCK)


@contextmanager
def open_disk(
    root: Path,
    owner: str = THE_OUTPUT,
    *,
    option: str = "--store",
    begin: bool = True,
    say: Callable[[str], None] = unheard,
) -> Iterator[DiskStore]:
    """The store at `root`, made if need be and locked for this driver. `InputError` when another driver has it.

    `option` is the command's name for the place, for its hints; not to `begin` leaves all as it is; `say` hears why
    opening takes long.
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
        if lives_elsewhere(root / LOCK, say):
            told = "another run works on this job, on another machine, which the folder's locks do not reach"
            raise InputError(told, where=str(root), hint=f"wait for it, or choose another {option}")
        token = secrets.token_hex(RUN_DIGITS)
        beat = Beat(root / LOCK, handle, token)
        try:
            store = DiskStore(str(root), owner, opened=True, run=run_of(token))
            if begin:
                store.sweep()
                store.begin()
            yield store
        finally:
            beat.stop()
    finally:
        os.close(handle)
